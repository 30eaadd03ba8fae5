"""The command line: each command parses its arguments, calls one function, and prints."""

from invdesign.cli import design, generate, hand_off, hull, judge, latent, predict
from invdesign.cli.app import app, main

__all__ = ["app", "design", "generate", "hand_off", "hull", "judge", "latent", "main", "predict"]
