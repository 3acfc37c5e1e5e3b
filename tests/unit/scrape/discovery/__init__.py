"""Discovery of scrape targets."""
