"""Elk: inputs written and outputs read."""
