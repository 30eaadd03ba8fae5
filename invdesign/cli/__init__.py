"""The command line: each command parses its arguments, calls one function, and prints."""

from invdesign.cli import (
    design,
    dft,
    explain,
    generate,
    hull,
    latent,
    screen,
)
from invdesign.cli import (
    evaluate as judge,
)
from invdesign.cli import (
    map as mapping,
)
from invdesign.cli import (
    predict as predict_property,
)
from invdesign.cli import (
    predict_structure as predict,
)
from invdesign.cli import (
    train as hand_off,
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
