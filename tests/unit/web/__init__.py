"""Tests of vedette.web."""
