"""The command line: each command parses its arguments, calls one function, and prints."""

from invdesign.cli import design, hand_off, hull, judge
from invdesign.cli.app import app, main

__all__ = ["app", "design", "hand_off", "hull", "judge", "main"]
