"""``train``: the command that rebuilds the released artifacts, or builds on one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import app, print_json, shown_progress
from invdesign.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command("train")
def train_command(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="Recipe, such as those in configs/.", show_default=False),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--from", help="Released property model to build on.", rich_help_panel="A few examples"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Crystals or formulas with the property.", rich_help_panel="A few examples"),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            "--property", help="Its column, if several may be meant.", rich_help_panel="A few examples"
        ),
    ] = None,
    unit: Annotated[str, typer.Option(help="Its unit.", rich_help_panel="A few examples")] = "",
    log10: Annotated[
        bool, typer.Option("--log", help="Learn its logarithm.", rich_help_panel="A few examples")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the model.", rich_help_panel="A few examples")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of cross-validation.", rich_help_panel="A few examples")] = 0,
    as_json: Json = False,
) -> None:
    """Train a model or build a reference table, as its recipe says; or a model from a few examples.

    Every artifact in models/ and validators/ came from one of the recipes in configs/, and keeps it.

    **Examples**

    invdesign train configs/predictors/band-gap.yaml

    invdesign train --from models/elasticity --data mine.csv --property hardness --unit GPa --log --out mine
    """
    from invdesign.training.registry import train

    if base is not None or data is not None:
        if config is not None or base is None or data is None or out is None:
            raise InputError(
                "train: give a recipe, or all of --from MODEL, --data FILE and --out FOLDER and no recipe."
            )
        _from_examples(base, data, out, column=column, unit=unit, log10=log10, seed=seed, as_json=as_json)
        return
    if config is None:
        raise InputError(
            "train: nothing given; name a recipe of configs/, or --from MODEL --data FILE --out FOLDER."
        )
    with shown_progress() as progress:
        folder = train(config, progress=progress)
    if as_json:
        print_json({"folder": str(folder)})
    else:
        typer.echo(f"Built {folder}.")


def _from_examples(
    base: str,
    data: Path,
    out: Path,
    *,
    column: str | None,
    unit: str,
    log10: bool,
    seed: int,
    as_json: bool,
) -> None:
    from invdesign.training.predictors.transfer import printed, summary
    from invdesign.training.registry import train_from

    with shown_progress() as progress:
        outcome = train_from(
            base, data, out, column=column, unit=unit, log10=log10, seed=seed, progress=progress
        )
    if as_json:
        print_json(summary(outcome))
    else:
        typer.echo(printed(outcome))
