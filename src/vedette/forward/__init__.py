"""Sends stored samples on to other Prometheus-compatible stores: remote write, outwards.

The queue is the spool itself: whatever was acknowledged is on disk already, and a cursor per
destination says how far it got. The way: backlog → labels → request → destination → cursor.
"""
