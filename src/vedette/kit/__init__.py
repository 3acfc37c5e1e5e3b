"""Small tools that every room uses: clock, durations, identifiers, errors."""
