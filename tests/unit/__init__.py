"""Unit tests; the folders mirror src/vedette."""
