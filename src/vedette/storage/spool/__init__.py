"""What was acknowledged, on disk until the column store has it."""
