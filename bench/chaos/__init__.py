"""``make chaos``: what a store survives, counted sample by sample."""
