"""Tests of vedette.forward."""
