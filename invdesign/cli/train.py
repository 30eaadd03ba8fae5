"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import Json, app, panel, passed_on, print_json
from invdesign.io.progress import shown_progress

few_option = panel("A few examples")


@app.command("train")
def train_command(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="Recipe, such as those in configs/.", show_default=False),
    ] = None,
    base: Annotated[str | None, few_option("--from", help="Start from this released property model.")] = None,
    data: Annotated[Path | None, few_option(help="Crystals or formulas with the property.")] = None,
    column: Annotated[
        str | None, few_option("--property", help="Column of the property, if ambiguous.")
    ] = None,
    unit: Annotated[str, few_option(help="Unit of the property.")] = "",
    log10: Annotated[bool, few_option("--log", help="Learn the logarithm.")] = False,
    out: Annotated[Path | None, few_option(help="Folder of the model.")] = None,
    seed: Annotated[int, few_option(help="Seed of the cross-validation.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a model or build a reference table from a recipe; or train a model on a few examples.

    Each artifact in models/ and validators/ comes from a recipe in configs/, and keeps a copy of it.

    **Examples**

    invdesign train configs/predictors/band-gap.yaml

    invdesign train --from models/elasticity --data mine.csv --property hardness --unit GPa --log --out mine
    """
    options = passed_on(locals(), "config", "base", "as_json")
    from invdesign.api import train

    with shown_progress() as progress:
        model = train(config, from_=base, progress=progress, **options)
    if as_json:
        print_json(model.summary)
    else:
        typer.echo(model.text)
