"""One suite for every engine of the column store."""
