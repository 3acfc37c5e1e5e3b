"""Tests of vedette.model."""
