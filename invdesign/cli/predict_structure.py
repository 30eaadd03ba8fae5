"""The command ``predict-structure``: from formulas to their likely crystals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from invdesign.cli.app import Json, Potential, Seed, Workers, app, print_json, shown_progress
from invdesign.errors import InputError

if TYPE_CHECKING:
    from invdesign.analysis.structure_prediction.run import Polymorph, Prediction

Formulas = Annotated[
    list[str] | None,
    typer.Argument(metavar="FORMULAS…", help="Such as Li2FeSiO4 NiAl.", show_default=False),
]
NAtoms = Annotated[str | None, typer.Option(help="Atoms in the primitive cell of the starts: 5..20.")]
SpaceGroup = Annotated[
    str | None, typer.Option(help="Of the starts: numbers, symbols, ranges: 225,Pnma,195..206.")
]
Calibration = Annotated[
    str | None, typer.Option(help="The potential's calibration: name or folder; default: its own.")
]
Generators = Annotated[
    list[str] | None,
    typer.Option(
        help="structure-types, or a generator's name or folder; may be repeated.",
        show_default="structure-types and gene-diffusion",
    ),
]


@app.command("predict-structure")
def predict_structure_command(
    formulas: Formulas = None,
    file: Annotated[Path | None, typer.Option(help="Text file of formulas.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("prediction"),
    n_candidates: Annotated[
        int, typer.Option(help="Starting structures relaxed per formula.", rich_help_panel="Effort")
    ] = 64,
    polymorphs: Annotated[int, typer.Option(help="Most crystals shown per formula.")] = 10,
    n_atoms: NAtoms = None,
    space_group: SpaceGroup = None,
    seed: Seed = None,
    potential: Potential = "chgnet",
    calibration: Calibration = None,
    hull: Annotated[str, typer.Option(help="Reference hull: name, folder or CSV.")] = "mp-hull",
    generator: Generators = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Predict the crystals that a formula forms, from known prototypes and generated genes, by energy.

    Leaves polymorphs.csv, cifs/ and run.json in the output folder. Stop it at any moment: the same command
    resumes. Ends with 1 if no formula has a polymorph.

    **Examples**

    invdesign predict-structure Li2FeSiO4 --out prediction

    invdesign predict-structure NiAl Nb3Sn --n-candidates 200 --polymorphs 5

    invdesign predict-structure TiO2 --space-group 136,141 --n-atoms 6 --json
    """
    from invdesign.analysis.structure_prediction.run import GENERATORS, predict_structures

    given = [*(formulas or []), *(_formulas_of(file) if file else [])]
    options: dict[str, Any] = {"n_candidates": n_candidates, "polymorphs": polymorphs}
    options |= {"seed": seed or 0, "workers": workers, "notice": partial(typer.echo, err=True)}
    options |= {"n_atoms": n_atoms, "space_group": space_group, "generators": generator or GENERATORS}
    options |= {"potential": potential, "calibration": calibration, "hull": hull}
    with shown_progress() as progress:
        prediction = predict_structures(given, out, progress=progress, **options)
    _show(prediction, out, as_json=as_json)
    if not prediction.polymorphs:
        raise typer.Exit(1)


def _formulas_of(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"file: {str(file)!r} cannot be read as text; give formulas, one a line.") from error


def _show(prediction: Prediction, out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json([polymorph.row() for polymorph in prediction.polymorphs])
    else:
        _show_table(prediction.polymorphs, out)
    for sentence in prediction.without.values():
        typer.secho(sentence, err=True, fg="red")


def _show_table(found: list[Polymorph], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from invdesign.io.console import print_whole

    words = {"formula", "novelty", "from"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("formula", "", "group", "meV/atom", "E above hull", "kept", "novelty", "from"):
        table.add_column(
            heading,
            justify="left" if heading in words else "right",
            no_wrap=heading not in words,
            overflow="fold",
            min_width=len("composition") if heading in {"novelty", "from"} else None,
        )
    for polymorph in found:
        kept = {True: "yes", False: "no", None: ""}[polymorph.symmetry_kept]
        table.add_row(
            polymorph.formula,
            str(polymorph.rank),
            str(polymorph.space_group),
            f"{1000 * polymorph.relative:.0f}",
            f"{polymorph.e_above_hull:.3f} ± {polymorph.sigma:.3f}",
            kept,
            polymorph.novelty,
            polymorph.origin,
        )
    console = Console(highlight=False)
    if found:
        print_whole(table, console)
    if any(polymorph.novelty == "known" for polymorph in found):
        console.print(
            "\nKnown crystals are placed as the others are, on one scale: `invdesign hull` puts them lower.",
            soft_wrap=True,
        )
    console.print(f"\n{out}: polymorphs.csv, cifs/, run.json", soft_wrap=True)
