"""Unit tests of rules, in the format of promtool: reading, running, and saying what differs."""
