"""Runs text cases of PromQL in the format of Prometheus' ``promqltest``."""
