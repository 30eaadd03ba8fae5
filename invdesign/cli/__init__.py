"""The command line: each command parses its options, calls the function of its name, and prints."""

from invdesign.cli import (  # noqa: F401 - each module registers its command
    design,
    dft,
    evaluate,
    explain,
    generate,
    hull,
    latent,
    map,  # noqa: A004 - named as the command
    predict,
    predict_structure,
    relax,
    screen,
    train,
)
from invdesign.cli.app import app, main

__all__ = ["app", "main"]
