"""Tests of vedette.dashboards."""
