"""Tests of vedette.scrape."""
