"""Measurements beside the peers: printed as ratios and medians, never asserted as times."""
