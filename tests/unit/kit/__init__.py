"""Tests of vedette.kit."""
