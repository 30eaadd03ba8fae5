"""The command ``map``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invdesign.cli.app import Json, Workers, app, budget_option, passed_on, print_json
from invdesign.io.progress import shown_progress

if TYPE_CHECKING:
    from invdesign.analysis.materials_map import MapResult


@app.command("map")
def map_command(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Crystals (CSV with a cif column, extxyz, CIF, ASE database, output of a command, folder of "
            "CIFs), or CSV with a formula column.",
        ),
    ],
    over: Annotated[
        list[Path] | None, typer.Option(help="Place these candidates on the map; repeatable.")
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option("--color", "--colour", help="Column for the color. Default: the first known property."),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="chgnet, composition or crystal-vae. Default: chgnet for crystals, composition for formulas."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="umap or pca. Default: umap where umap-learn is installed.")
    ] = None,
    clusters: Annotated[
        str | None, typer.Option(help="hdbscan or kmeans. Default: hdbscan with umap, kmeans with pca.")
    ] = None,
    n_clusters: Annotated[
        int | None, typer.Option(help="Number of clusters of kmeans. Default: 8.", min=1)
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for map.png, map.html, map.csv and clusters.csv; it keeps the embeddings."),
    ] = Path("map"),
    limit: Annotated[
        int | None, budget_option(help="Take only this many of the data, drawn at random.", min=1)
    ] = None,
    seed: Annotated[int, budget_option(help="Random seed; the same seed gives the same map.", min=0)] = 0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Map materials on a plane, similar ones close together, with clusters, outliers and candidates.

    **Examples**

    invdesign map mp20.csv.gz --color band_gap --out map

    invdesign map mp20.csv.gz --over run --method pca --clusters kmeans --out map

    invdesign map formulas.csv --color band_gap_expt --json
    """
    options = passed_on(locals(), "data", "as_json")
    from invdesign.api import materials_map

    with shown_progress(show=not as_json) as progress:
        result = materials_map(data, progress=progress, **options)
    if as_json:
        print_json(result.as_json())
        return
    _print(result)


def _print(mapped: MapResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from invdesign.io.console import print_whole

    result = mapped.as_json()
    clusters = result["clusters"]
    if clusters:
        table = Table(*(name.replace("_", " ") for name in clusters[0]), box=None, header_style="bold")
        for row in clusters[:12]:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        print_whole(table, Console())
    outside = f", {result['in_no_cluster']} of {result['n']} in none" if result["in_no_cluster"] else ""
    typer.echo(f"{len(clusters)} clusters{outside}")
    isolated = result["most_isolated"][:5]
    names = ", ".join(f"{row['formula']} {row['id']} ({row['outlier_score']:g})" for row in isolated)
    typer.echo(f"most isolated: {names}")
    if result["n_over"]:
        typer.echo(f"{result['candidates_outside']} of {result['n_over']} candidates lie outside the data")
    if result["n_left_out"]:
        typer.echo(f"{result['n_left_out']} could not be embedded: {result['out']}/left_out.csv", err=True)
    typer.echo(
        f"{result['out']}: {result['n']} materials by {result['embedding']}, {result['method']}, "
        f"{result['clusters_by']}: map.html, map.png, map.csv, clusters.csv",
        err=True,
    )
