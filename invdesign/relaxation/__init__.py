"""Batched, symmetry-constrained relaxation."""
