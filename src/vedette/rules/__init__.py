"""Alerting and recording rules: files, evaluation, state."""
