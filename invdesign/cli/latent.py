"""The commands ``latent …``: crystals as points of a continuous space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import Json, app, print_json, shown_progress

latent = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(latent, name="latent", help="Crystals as points of crystal-vae's latent space.")

Generator = Annotated[
    str, typer.Option(help="crystal-vae, or a folder of its training: no other generator has a latent space.")
]
Limit = Annotated[int | None, typer.Option(help="So many crystals alone, drawn at random.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of that draw.", min=0)]


@latent.command("interpolate")
def interpolate_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="File of the crystal to start from.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="File of the crystal to end at.")],
    n: Annotated[int, typer.Option("-n", "--n", help="How many, both ends included.", min=2)] = 8,
    out: Annotated[Path, typer.Option(help="Folder for one CIF each and interpolation.csv.")] = Path(
        "interpolation"
    ),
    generator: Generator = "crystal-vae",
    as_json: Json = False,
) -> None:
    """Crystals on the way from one crystal to another. No draw is involved: the same files give the same.

    The ends are what the model makes of A and B (`invdesign latent reconstruct`).

    **Examples**

    invdesign latent interpolate rutile.cif anatase.cif --n 8 --out between

    invdesign latent interpolate A.cif B.cif --json
    """
    from invdesign.analysis.latent import interpolate

    rows = interpolate(a, b, n, out, generator=generator)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        volume = f"{row['volume_per_atom']:5.1f} Å³ per atom"
        typer.echo(f"{row['share']:5.2f}  {row['formula']:16s} {volume}  {row['gene']}")
    typer.echo(f"{out}: interpolation.csv and {len(rows)} CIFs", err=True)


@latent.command("reconstruct")
def reconstruct_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES…",
            help="CIF, POSCAR, extxyz, CSV with a cif column, ASE database, each also gzipped, or folders.",
            show_default=False,
        ),
    ],
    limit: Limit = None,
    seed: Seed = 0,
    generator: Generator = "crystal-vae",
    as_json: Json = False,
) -> None:
    """Encode crystals, decode them, and say which come back.

    **Examples**

    invdesign latent reconstruct rutile.cif anatase.cif

    invdesign latent reconstruct mp20.csv.gz --limit 200 --json
    """
    from invdesign.analysis.latent import reconstruct

    with shown_progress(show=not as_json) as progress:
        rows = reconstruct(files, limit=limit, seed=seed, generator=generator, progress=progress)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        if row["reason"]:
            said = f"left out: {row['reason']}"
        elif row["structure_back"]:
            said = "comes back" if row["gene_back"] else f"comes back as {row['gene_decoded']}"
        else:
            said = f"becomes {row['gene_decoded']}"
        typer.echo(f"{row['label']!s:20s} {row['formula']:16s} {said}")
    back = sum(row["structure_back"] for row in rows)
    typer.echo(f"{back} of {len(rows)} come back (StructureMatcher 0.3, 0.5, 10°)", err=True)
