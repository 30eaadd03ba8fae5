"""The command ``relax``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import Files, Json, Potential, Workers, app, passed_on, print_json
from invdesign.io.progress import shown_progress


@app.command("relax")
def relax_command(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder for relaxed.csv and a CIF per crystal.")] = Path(
        "relaxed"
    ),
    potential: Potential = "chgnet",
    fmax: Annotated[float, typer.Option(help="Largest force at convergence, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Maximum number of steps per relaxation.")] = 500,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="Keep the cell fixed.")] = False,
    keep_symmetry: Annotated[
        bool,
        typer.Option(
            "--keep-symmetry", help="Relax within each crystal's symmetry first, then without constraint."
        ),
    ] = False,
    pressure: Annotated[float, typer.Option(help="Hydrostatic pressure, GPa.")] = 0.0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Relax cells and positions with a universal potential.

    **Examples**

    invdesign relax structures/*.cif --out relaxed

    invdesign relax samples.csv.gz --potential path/to/matgl-folder --json

    invdesign relax candidate.cif --keep-symmetry --pressure 10
    """
    options = passed_on(locals(), "files", "fixed_cell", "as_json")
    from invdesign.api import relax

    with shown_progress() as progress:
        relaxed = relax(files, relax_cell=not fixed_cell, progress=progress, **options)
    if as_json:
        print_json(relaxed.rows())
        return
    for crystal in relaxed:
        energy = "" if crystal.energy_ev_per_atom is None else f"{crystal.energy_ev_per_atom:9.4f} eV/atom"
        typer.echo(f"{crystal.label:24s} {crystal.formula or '':16s} {energy}  {crystal.reason}")
    converged = sum(crystal.converged for crystal in relaxed)
    typer.echo(f"{converged} of {len(relaxed)} converged; {out}: relaxed.csv and the CIFs", err=True)
