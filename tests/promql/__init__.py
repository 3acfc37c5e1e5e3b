"""Text cases of PromQL."""
