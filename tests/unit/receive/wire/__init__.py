"""Tests of vedette.receive.wire."""
