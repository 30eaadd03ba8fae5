"""The command ``predict-structure``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invdesign.cli.app import (
    Calibration,
    Json,
    Potential,
    Seed,
    Workers,
    app,
    budget_option,
    passed_on,
    pieces,
    print_json,
)
from invdesign.errors import InputError, quoted
from invdesign.io.progress import shown_progress

if TYPE_CHECKING:
    from invdesign.analysis.structure_prediction.run import Polymorph, PolymorphResults

Formulas = Annotated[
    list[str] | None, typer.Argument(metavar="FORMULAS…", help="Such as Li2FeSiO4 NiAl.", show_default=False)
]
NAtoms = Annotated[
    str | None, typer.Option(help="Atoms in the primitive cell of the starting structures: 5..20.")
]
SpaceGroup = Annotated[
    list[str] | None, typer.Option(help="Space groups of the starting structures: 225,Pnma,195..206.")
]
Generators = Annotated[
    list[str] | None,
    typer.Option(
        help="Generators of starting structures: structure-types, or a name or folder; repeatable.",
        show_default="structure-types and gene-diffusion",
    ),
]


@app.command("predict-structure")
def predict_structure_command(
    formulas: Formulas = None,
    file: Annotated[Path | None, typer.Option(help="Read formulas from a text file.")] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("prediction"),
    n_candidates: Annotated[int, budget_option(help="Number of starting structures per formula.")] = 64,
    polymorphs: Annotated[int, typer.Option(help="Maximum number of crystals reported per formula.")] = 10,
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
    """Predict the crystals of a formula, ranked by energy, from known prototypes and generated genes.

    The output folder gets polymorphs.csv, cifs/ and run.json. You can stop at any time: the same command
    resumes. The exit code is 1 if no formula has a polymorph.

    **Examples**

    invdesign predict-structure Li2FeSiO4 --out prediction

    invdesign predict-structure NiAl Nb3Sn --n-candidates 200 --polymorphs 5

    invdesign predict-structure TiO2 --space-group 136,141 --n-atoms 6 --json
    """
    options = passed_on(locals(), "formulas", "file", "generator", "space_group", "as_json")
    from invdesign.api import predict_structure

    given = [*(formulas or []), *(_formulas_of(file) if file else [])]
    options |= {"generators": pieces(generator)} if generator else {}
    options |= {"space_group": ",".join(space_group)} if space_group else {}
    with shown_progress() as progress:
        prediction = predict_structure(
            given, progress=progress, notice=partial(typer.echo, err=True), **options
        )
    _show(prediction, out, as_json=as_json)
    if not prediction.polymorphs:
        raise typer.Exit(1)


def _formulas_of(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
        return [line for line in lines if line and line[0] != "#"]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"file: {quoted(str(file))} cannot be read as text; give formulas, one a line."
        ) from error


def _show(prediction: PolymorphResults, out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(prediction.rows())
    else:
        _show_table(prediction.polymorphs, out)
    for sentence in prediction.without.values():
        typer.secho(sentence, err=True, fg="red")


def _show_table(found: list[Polymorph], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from invdesign.core.candidate import Z90
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
            f"{polymorph.e_above_hull:.3f} ± {Z90 * polymorph.sigma:.3f}",
            kept,
            polymorph.novelty,
            polymorph.origin,
        )
    console = Console(highlight=False)
    if found:
        print_whole(table, console)
    console.print(f"\n{out}: polymorphs.csv, cifs/, run.json", soft_wrap=True)
