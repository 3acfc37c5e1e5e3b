"""Tests of vedette.alerting."""
