"""Tests of vedette.demo."""
