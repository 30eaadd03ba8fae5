"""The command ``map``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from invdesign.cli.app import Json, app, print_json, shown_progress

if TYPE_CHECKING:
    from invdesign.analysis.embeddings import Kind
    from invdesign.analysis.materials_map import Clusters, Method


@app.command("map")
def map_command(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="CSV with a cif or formula column, extxyz, CIF, ASE database; a folder of CIFs or of ours.",
        ),
    ],
    over: Annotated[
        list[Path] | None,
        typer.Option(help="Candidates to draw over the data: the same kinds of files; may be repeated."),
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option("--color", "--colour", help="Column to colour by; default: the first known property."),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="chgnet, composition or crystal-vae; default: chgnet for crystals, composition for formulas."
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="umap or pca; default: umap where umap-learn is installed.")
    ] = None,
    clusters: Annotated[
        str | None, typer.Option(help="hdbscan or kmeans; default: hdbscan with umap, kmeans with pca.")
    ] = None,
    n_clusters: Annotated[int | None, typer.Option(help="Of k-means; default: 8.", min=1)] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for map.png, map.html, map.csv, clusters.csv; embeddings stay there.")
    ] = Path("map"),
    limit: Annotated[int | None, typer.Option(help="So many of the data, drawn at random.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same map.", min=0)] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Materials on a plane, near each other where alike; their clusters and outliers; candidates among them.

    **Examples**

    invdesign map mp20.csv.gz --color band_gap --out map

    invdesign map mp20.csv.gz --over run --method pca --clusters kmeans --out map

    invdesign map formulas.csv --color band_gap_expt --json
    """
    from invdesign.analysis.materials_map import draw_map

    with shown_progress(show=not as_json) as progress:
        result = draw_map(
            data,
            out,
            over=over or (),
            colour=colour,
            embedding=cast("Kind | None", embedding),
            method=cast("Method | None", method),
            clusters=cast("Clusters | None", clusters),
            n_clusters=n_clusters,
            limit=limit,
            seed=seed,
            workers=workers,
            progress=progress,
        )
    if as_json:
        print_json(result)
        return
    _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from invdesign.io.console import print_whole

    clusters = result["clusters"]
    if clusters:
        table = Table(*(name.replace("_", " ") for name in clusters[0]), box=None, header_style="bold")
        for row in clusters[:12]:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        print_whole(table, Console())
    told = [f"{len(clusters)} clusters"]
    if result["in_no_cluster"]:
        told.append(f"{result['in_no_cluster']} of {result['n']} in none")
    typer.echo(", ".join(told))
    alone = result["most_isolated"][:5]
    names = ", ".join(f"{row['formula']} {row['id']} ({row['outlier_score']:g})" for row in alone)
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
