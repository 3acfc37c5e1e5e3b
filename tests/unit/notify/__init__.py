"""Tests of vedette.notify."""
