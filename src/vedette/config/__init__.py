"""vedette.yml: reading, checking, and saying what is wrong where."""
