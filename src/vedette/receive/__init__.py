"""What is pushed to Vedette: remote write and events."""
