"""Baselines: ion exchange and prototype filling."""
