"""The command ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from invdesign.cli.app import Json, app, print_json, shown_progress

WORTH_A_LINE = 0.005  # rounds to 0.01


@app.command("explain")
def explain_command(
    files: Annotated[
        list[Path], typer.Argument(metavar="CIF…", help="Crystals: CIF, extxyz, CSV, a folder, a campaign.")
    ],
    name: Annotated[
        str | None, typer.Option("--property", help="Whose prediction; default: band_gap.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model of one's own, by folder, in place of the released one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for a bar chart (PNG) each and explanations.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What drove a prediction: elements, bonds, sites, volume; and the nearest known materials' values.

    Of a graph network, such as band-gap-evaluator: what each atom adds.

    **Examples**

    invdesign explain LaOCl.cif

    invdesign explain run --out why

    invdesign explain cifs/ --model band-gap-evaluator --json
    """
    from invdesign.analysis.explain_files import explain_files

    with shown_progress(show=not as_json) as progress:
        rows = explain_files(files, name=name, model=model, out=out, progress=progress)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _print(row)
    if out is not None:
        typer.echo(f"{out}: explanations.json and a picture each", err=True)


def _print(row: dict[str, Any]) -> None:
    if "reason" in row:
        typer.echo(f"{row['label']}: {row['reason']}\n", err=True)
        return
    words, unit = row["words"], row["unit"]
    told = [
        f"{row['label']} ({row['formula']}): {words} {row['value']:.4g} {unit} "
        f"({row['low']:.4g} to {row['high']:.4g})"
        + ("" if row["in_domain"] else ", outside the training data"),
        f"  {row['baseline']:z8.2f}  {row['start']}",
    ]
    told += [
        f"  {driver['contribution']:+z8.2f}  {driver['name']}{_aside(driver, row['sites'])}"
        for driver in row["drivers"]
    ]
    if abs(row["residual"]) >= WORTH_A_LINE:
        told.append(f"  {row['residual']:+8.2f}  left over")
    told.append(f"  {row['expected']:z8.2f}  expected value")
    told += [
        f"  {'nearest known:' if i == 0 else '':14s} {near['formula']} ({near['id']}, {near['space_group']}) "
        + (f"{near[row['property']]:.4g} {unit}, " if row["property"] in near else "")
        + f"distance {near['distance']:.1f}"
        for i, near in enumerate(row["neighbors"])
    ]
    typer.echo("\n".join(told) + "\n")


def _aside(driver: dict[str, Any], sites: list[dict[str, Any]]) -> str:
    """What an element's atoms have to do with its contribution."""
    if driver["local_environment"]:
        return f" (local environment of its atoms {driver['local_environment']:+.2f})"
    own = [site["contribution"] for site in sites if site["element"] == driver["name"]]
    if not any(own):
        return ""
    least, most = f"{min(own):+z.2f}", f"{max(own):+z.2f}"
    return f" ({len(own)} atoms, {least if least == most else f'{least} to {most}'} each)"
