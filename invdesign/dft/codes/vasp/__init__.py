"""VASP: inputs written and outputs read."""
