"""Vedette: production monitoring for web applications and AI chatbots."""
