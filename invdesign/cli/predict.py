"""The command ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invdesign.cli.app import Json, app, pieces, print_json

if TYPE_CHECKING:
    from invdesign.analysis.predict_files import Prediction
    from invdesign.core.candidate import Estimate
    from invdesign.io.tables import Results

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
        list[str] | None,
        typer.Option(
            "--property",
            help="Properties: band_gap (by PBE), bulk_modulus_gpa, …; repeatable. "
            "Default: band_gap,band_gap_experimental.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Custom model, by folder; all its properties are predicted.")
    ] = None,
    from_composition: Annotated[
        bool, typer.Option("--from-composition", help="Use only the composition of crystals.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write a table (CSV).")] = None,
    as_json: Json = False,
) -> None:
    """Predict properties of relaxed crystals or of formulas, with 90 % intervals and applicability domain.

    A classifier gives the likelier class and the probability of the second.

    **Examples**

    invdesign predict relaxed/*.cif --property band_gap,bulk_modulus_gpa

    invdesign predict CuInS2 GaN --property band_gap,band_gap_experimental --json

    invdesign predict crystals.csv.gz --model my-models/hardness --out hardness.csv
    """
    from invdesign.api import predict
    from invdesign.core.properties import MEASURED_GAP, PBE_GAP

    asked = pieces(properties) or (PBE_GAP, MEASURED_GAP)
    found = predict(given, asked, model=model, from_composition=from_composition, out=out)
    if as_json:
        print_json(found.rows())
    elif out is None:
        _show(found)
    if out is not None:
        typer.echo(f"{out} written", err=True)
    if not any(prediction.estimates for prediction in found):
        raise typer.Exit(2)


def _show(found: Results[Prediction]) -> None:
    for row in found:
        head = f"{row.label:20s} " + (f"{row.formula:14s} " if row.formula != row.label else "")
        if row.reason:
            typer.echo(f"{head}{row.reason}")
            continue
        for name, estimate in row.estimates.items():
            shown = _class(estimate, row.classes) if row.classes else _value(name, estimate)
            outside = "" if estimate.in_domain else "  outside the applicability domain"
            typer.echo(f"{head}{name:26s} {shown}{outside}")


def _class(estimate: Estimate, classes: tuple[str, ...]) -> str:
    """Return the likelier class, and the probability of class 1."""
    return f"{classes[estimate.p_zero <= 0.5]}  (P({classes[1]}) {1 - estimate.p_zero:.0%})"


def _value(name: str, estimate: Estimate) -> str:
    """Return a value with its interval."""
    from invdesign.core.properties import PROPERTIES

    share = "P(metal)" if name.startswith("band_gap") else "P(0)"
    zero = f"  {share} {estimate.p_zero:.0%}" if estimate.p_zero > 0 else ""
    unit = f" {PROPERTIES[name].unit}" if name in PROPERTIES else ""
    return f"{estimate.value:8.4g}{unit}  (90 %: {estimate.low:.4g} to {estimate.high:.4g}){zero}"
