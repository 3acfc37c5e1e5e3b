"""Tests of Vedette."""
