"""Masked diffusion over genes."""
