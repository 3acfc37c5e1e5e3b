"""What an example application watches: rules and settings, one folder a profile."""
