"""Remote read: another Prometheus asks for raw samples.

``messages`` and ``chunks`` are the protocol, pure; ``endpoint`` answers requests.
"""
