"""The command ``predict``: properties of crystals and formulas, with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invdesign.cli.app import Json, app, print_json
from invdesign.errors import InputError

if TYPE_CHECKING:
    from invdesign.analysis.predict_files import Predicted
    from invdesign.core.candidate import Estimate

Given = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|FORMULA…",
        help="CIF, POSCAR, extxyz, CSV with a cif or formula column, ASE database, folders; or formulas. "
        "An existing path is a file.",
        show_default=False,
    ),
]


@app.command("predict")
def predict_command(
    given: Given,
    properties: Annotated[
        str, typer.Option("--property", help="Names, separated by commas: band_gap,bulk_modulus_gpa.")
    ] = "band_gap",
    model: Annotated[
        str | None, typer.Option(help="A model of one's own, by folder: all its properties.")
    ] = None,
    from_composition: Annotated[
        bool, typer.Option("--from-composition", help="Of crystals, see the composition alone.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Table to write (CSV).")] = None,
    as_json: Json = False,
) -> None:
    """Predict properties of relaxed crystals, or of formulas: value, 90 % interval, P(metal), in domain.

    Of a model of two classes: the likelier one, and the probability of the second.

    **Examples**

    invdesign predict relaxed/*.cif --property band_gap,bulk_modulus_gpa

    invdesign predict CuInS2 GaN --property band_gap,band_gap_experimental --json

    invdesign predict crystals.csv.gz --model my-models/hardness --out hardness.csv
    """
    from invdesign.analysis.predict_files import predict_given

    names = [name.strip() for name in properties.split(",") if name.strip()]
    if not names:
        raise InputError("property: none was named; give one or more, such as band_gap,bulk_modulus_gpa.")
    found = predict_given(given, names, model=model, from_composition=from_composition)
    if out is not None:
        _write(found, out)
    if as_json:
        print_json([row.row() for row in found])
    elif out is None:
        _show(found)
    if out is not None:
        typer.echo(f"{out} written", err=True)
    if not any(row.estimates for row in found):
        raise typer.Exit(2)


def _write(found: list[Predicted], out: Path) -> None:
    import csv

    rows = [row.row() for row in found]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def _show(found: list[Predicted]) -> None:
    for row in found:
        head = f"{row.label:20s} " + (f"{row.formula:14s} " if row.formula != row.label else "")
        if row.reason:
            typer.echo(f"{head}{row.reason}")
            continue
        for name, estimate in row.estimates.items():
            told = _of_class(estimate, row.classes) if row.classes else _figure(name, estimate)
            outside = "" if estimate.in_domain else "  outside the training domain"
            typer.echo(f"{head}{name:26s} {told}{outside}")


def _of_class(estimate: Estimate, classes: tuple[str, ...]) -> str:
    """The likelier class, and the probability of class 1."""
    return f"{classes[estimate.p_zero <= 0.5]}  (P({classes[1]}) {1 - estimate.p_zero:.0%})"


def _figure(name: str, estimate: Estimate) -> str:
    """A value with its interval."""
    from invdesign.core.properties import PROPERTIES

    share = "P(metal)" if name.startswith("band_gap") else "P(0)"
    zero = f"  {share} {estimate.p_zero:.0%}" if estimate.p_zero > 0 else ""
    unit = f" {PROPERTIES[name].unit}" if name in PROPERTIES else ""
    return f"{estimate.value:8.4g}{unit}  (90 %: {estimate.low:.4g} to {estimate.high:.4g}){zero}"
