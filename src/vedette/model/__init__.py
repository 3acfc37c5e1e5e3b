"""The nouns: labels, samples, blocks, events, alerts. Frozen and free of behaviour beyond themselves."""
