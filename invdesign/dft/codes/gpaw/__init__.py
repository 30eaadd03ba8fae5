"""GPAW: inputs written and outputs read."""
