"""Channels that tell people: one module each, and the registry."""
