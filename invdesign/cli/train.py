"""The command ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import Json, app, print_json
from invdesign.io.progress import shown_progress

FEW = "A few examples"


@app.command("train")
def train_command(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="Recipe, such as those in configs/.", show_default=False),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--from", help="Start from this released property model.", rich_help_panel=FEW),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Crystals or formulas with the property.", rich_help_panel=FEW)
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--property", help="Column of the property, if ambiguous.", rich_help_panel=FEW),
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the property.", rich_help_panel=FEW)] = "",
    log10: Annotated[bool, typer.Option("--log", help="Learn the logarithm.", rich_help_panel=FEW)] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the model.", rich_help_panel=FEW)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the cross-validation.", rich_help_panel=FEW)] = 0,
    as_json: Json = False,
) -> None:
    """Train a model or build a reference table from a recipe; or train a model on a few examples.

    Each artifact in models/ and validators/ comes from a recipe in configs/, and keeps a copy of it.

    **Examples**

    invdesign train configs/predictors/band-gap.yaml

    invdesign train --from models/elasticity --data mine.csv --property hardness --unit GPa --log --out mine
    """
    from invdesign.api import train

    with shown_progress() as progress:
        model = train(
            config,
            from_=base,
            data=data,
            column=column,
            unit=unit,
            log10=log10,
            out=out,
            seed=seed,
            progress=progress,
        )
    if as_json:
        print_json(model.summary)
    else:
        typer.echo(model.text)
