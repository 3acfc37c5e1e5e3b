"""Tests of vedette.rules."""
