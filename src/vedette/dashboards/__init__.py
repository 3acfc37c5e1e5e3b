"""What the pages show: panels, their queries and thresholds."""
