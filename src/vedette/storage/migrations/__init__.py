"""Schemas of the stores, as forward-only numbered steps."""
