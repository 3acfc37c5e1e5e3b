"""Tests of vedette.receive."""
