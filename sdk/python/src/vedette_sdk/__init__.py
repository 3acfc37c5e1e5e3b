"""Instrument a Python web application or AI chatbot for Vedette."""
