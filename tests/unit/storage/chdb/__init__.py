"""Tests of the column store."""
