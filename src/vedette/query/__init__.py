"""Questions to the data: PromQL over blocks, and events."""
