"""Quantum ESPRESSO: inputs written and outputs read."""
