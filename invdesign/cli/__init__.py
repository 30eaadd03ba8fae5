"""The command line: each command parses its arguments, calls one function, and prints."""

from invdesign.cli import (
    design,
    dft,
    explain,
    generate,
    hand_off,
    hull,
    judge,
    latent,
    mapping,
    predict,
    predict_property,
    screen,
)
from invdesign.cli.app import app, main

__all__ = [
    "app",
    "design",
    "dft",
    "explain",
    "generate",
    "hand_off",
    "hull",
    "judge",
    "latent",
    "main",
    "mapping",
    "predict",
    "predict_property",
    "screen",
]
