"""Interatomic potentials behind one batched interface."""
