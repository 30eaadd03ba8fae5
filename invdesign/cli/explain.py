"""The command ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from invdesign.cli.app import Files, Json, app, print_json
from invdesign.io.progress import shown_progress

NEGLIGIBLE = 0.005  # rounds to 0.01


@app.command("explain")
def explain_command(
    files: Files,
    name: Annotated[
        str | None, typer.Option("--property", help="Property to explain. Default: band_gap.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Custom model, by folder, in place of the released one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for explanations.json and a bar chart per crystal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain predictions by elements, bonds, sites and volume, and by the nearest known materials.

    For a graph network, such as band-gap-evaluator: the contribution of each atom.

    **Examples**

    invdesign explain LaOCl.cif

    invdesign explain run --out why

    invdesign explain cifs/ --model band-gap-evaluator --json
    """
    from invdesign.api import explain

    with shown_progress(show=not as_json) as progress:
        rows = explain(files, name=name, model=model, out=out, progress=progress)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _print(row)
    if out is not None:
        typer.echo(f"{out}: explanations.json and a bar chart per crystal", err=True)


def _print(row: dict[str, Any]) -> None:
    if "reason" in row:
        typer.echo(f"{row['label']}: {row['reason']}\n", err=True)
        return
    words, unit = row["words"], row["unit"]
    lines = [
        f"{row['label']} ({row['formula']}): {words} {row['value']:.4g} {unit} "
        f"({row['low']:.4g} to {row['high']:.4g})"
        + ("" if row["in_domain"] else ", outside the applicability domain"),
        f"  {row['baseline']:z8.2f}  {row['start']}",
    ]
    lines += [
        f"  {driver['contribution']:+z8.2f}  {driver['name']}{_aside(driver, row['sites'])}"
        for driver in row["drivers"]
    ]
    if abs(row["residual"]) >= NEGLIGIBLE:
        lines.append(f"  {row['residual']:+8.2f}  remainder")
    lines.append(f"  {row['expected']:z8.2f}  expected value")
    lines += [
        f"  {'nearest known:' if i == 0 else '':14s} {near['formula']} ({near['id']}, {near['space_group']}) "
        + (f"{near[row['property']]:.4g} {unit}, " if row["property"] in near else "")
        + f"distance {near['distance']:.1f}"
        for i, near in enumerate(row["neighbors"])
    ]
    typer.echo("\n".join(lines) + "\n")


def _aside(driver: dict[str, Any], sites: list[dict[str, Any]]) -> str:
    """Return how an element's atoms share its contribution."""
    if driver["local_environment"]:
        return f" (local environment of its atoms {driver['local_environment']:+.2f})"
    sites_of = [site["contribution"] for site in sites if site["element"] == driver["name"]]
    if not any(sites_of):
        return ""
    least, most = f"{min(sites_of):+z.2f}", f"{max(sites_of):+z.2f}"
    return f" ({len(sites_of)} atoms, {least if least == most else f'{least} to {most}'} each)"
