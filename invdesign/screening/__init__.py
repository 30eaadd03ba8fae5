"""Compositions by the million, before any structure."""
