"""Commands that hand on: ``dft write`` to codes, ``train`` to the released artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import app, print_json, shown_progress

dft = typer.Typer(help="Hand a shortlist to DFT codes.", no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(dft, name="dft")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dft.command("write")
def write_command(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHORTLIST…",
            help="A campaign's folder or shortlist.csv, or structure files.",
            show_default=False,
        ),
    ],
    code: Annotated[str, typer.Option(help="vasp or espresso.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("dft"),
    task: Annotated[
        str, typer.Option(help="relax (cell and positions) or static (energy and gap).")
    ] = "relax",
    pseudos: Annotated[
        Path | None, typer.Option(help="Folder of PBE pseudopotentials; Quantum ESPRESSO only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a folder of inputs per crystal, and manifest.json, which ties them to what was predicted.

    **Examples**

    invdesign dft write run/shortlist.csv --code vasp --out run/dft

    invdesign dft write run --code espresso --task static --pseudos ~/pseudos
    """
    from invdesign.dft.write import write_inputs

    manifest = write_inputs(source, code, out, task=task, pseudos=pseudos)
    if as_json:
        print_json({"manifest": str(manifest)})
    else:
        typer.echo(f"Inputs for {code} in {manifest.parent}; what is what: {manifest}")


@app.command("train")
def train_command(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Recipe, such as those in configs/.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Train a model or build a reference table, as its recipe says.

    Every artifact in models/ and validators/ came from one of the recipes in configs/, and keeps it.

    **Example**

    invdesign train configs/predictors/band-gap.yaml
    """
    from invdesign.recipes import train

    with shown_progress() as progress:
        folder = train(config, progress=progress)
    if as_json:
        print_json({"folder": str(folder)})
    else:
        typer.echo(f"Built {folder}.")
