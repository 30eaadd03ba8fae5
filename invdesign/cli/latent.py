"""The commands ``latent interpolate`` and ``latent reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import App, Files, Json, app, print_json
from invdesign.io.progress import shown_progress

latent = App(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(
    latent, name="latent", help="Interpolate and reconstruct crystals in the latent space of crystal-vae."
)

Generator = Annotated[str, typer.Option(help="crystal-vae, or the folder of its training.")]
Limit = Annotated[int | None, typer.Option(help="Take only this many crystals, drawn at random.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of that draw.", min=0)]


@latent.command("interpolate")
def interpolate_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="File of the crystal to start from.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="File of the crystal to end at.")],
    n: Annotated[int, typer.Option("-n", "--n", help="Number of crystals, both ends included.", min=2)] = 8,
    out: Annotated[Path, typer.Option(help="Folder for interpolation.csv and a CIF per crystal.")] = Path(
        "interpolation"
    ),
    generator: Generator = "crystal-vae",
    as_json: Json = False,
) -> None:
    """Interpolate between two crystals in the latent space. The result is deterministic.

    The ends are the reconstructions of A and B (`invdesign latent reconstruct`).

    **Examples**

    invdesign latent interpolate rutile.cif anatase.cif --n 8 --out between

    invdesign latent interpolate A.cif B.cif --json
    """
    from invdesign import api

    rows = api.latent.interpolate(a, b, n, out=out, generator=generator)
    if as_json:
        print_json(rows.rows())
        return
    for row in rows:
        volume = f"{row['volume_per_atom']:5.1f} Å³ per atom"
        typer.echo(f"{row['share']:5.2f}  {row['formula']:16s} {volume}  {row['gene']}")
    typer.echo(f"{out}: interpolation.csv and {len(rows)} CIFs", err=True)


@latent.command("reconstruct")
def reconstruct_command(
    files: Files,
    limit: Limit = None,
    seed: Seed = 0,
    generator: Generator = "crystal-vae",
    as_json: Json = False,
) -> None:
    """Encode and decode crystals, and compare.

    **Examples**

    invdesign latent reconstruct rutile.cif anatase.cif

    invdesign latent reconstruct mp20.csv.gz --limit 200 --json
    """
    from invdesign import api

    with shown_progress(show=not as_json) as progress:
        rows = api.latent.reconstruct(files, limit=limit, seed=seed, generator=generator, progress=progress)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["reason"]:
            outcome = f"left out: {row['reason']}"
        elif row["structure_back"]:
            outcome = "comes back" if row["gene_back"] else f"comes back as {row['gene_decoded']}"
        else:
            outcome = f"becomes {row['gene_decoded']}"
        typer.echo(f"{row['label']!s:20s} {row['formula']:16s} {outcome}")
    back = sum(row["structure_back"] for row in rows)
    typer.echo(f"{back} of {len(rows)} come back (StructureMatcher 0.3, 0.5, 10°)", err=True)
