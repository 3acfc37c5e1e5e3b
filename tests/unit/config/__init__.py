"""Tests of vedette.config."""
