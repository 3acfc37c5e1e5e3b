"""Metrics that Vedette fetches: targets, scrape loops, the exposition parser."""
