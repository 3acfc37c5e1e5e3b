"""The nouns: labels, samples, blocks, events, results, alerts; frozen."""
