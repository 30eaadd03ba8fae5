"""Commands that judge what is there already: ``relax``, ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import Json, Potential, Seed, Workers, app, print_json, shown_progress
from invdesign.errors import InputError

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES…",
        help="CIF, POSCAR, extxyz, CSV with a cif column, ASE database, each also gzipped, or folders.",
        show_default=False,
    ),
]


@app.command("relax")
def relax_command(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder for relaxed.csv and one CIF each.")] = Path("relaxed"),
    potential: Potential = "chgnet",
    fmax: Annotated[float, typer.Option(help="Largest force at convergence, eV/Å.")] = 0.05,
    max_steps: Annotated[int, typer.Option(help="Steps of one relaxation.")] = 500,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="Move the atoms alone.")] = False,
    keep_symmetry: Annotated[
        bool,
        typer.Option("--keep-symmetry", help="Relax in each crystal's symmetry, then see whether it stays."),
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
    from invdesign.analysis.relax_files import relax_files
    from invdesign.campaign.validate import check_least

    check_least(1, workers=workers)
    with shown_progress() as progress:
        rows = relax_files(
            files,
            out,
            potential,
            fmax=fmax,
            max_steps=max_steps,
            relax_cell=not fixed_cell,
            keep_symmetry=keep_symmetry,
            pressure_gpa=pressure,
            workers=workers,
            progress=progress,
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        energy = "" if row["energy_ev_per_atom"] is None else f"{row['energy_ev_per_atom']:9.4f} eV/atom"
        typer.echo(f"{row['label']!s:24s} {row['formula'] or '':16s} {energy}  {row['reason']}")
    converged = sum(bool(row["converged"]) for row in rows)
    typer.echo(f"{converged} of {len(rows)} converged; {out}: relaxed.csv and the CIFs", err=True)


@app.command("evaluate")
def evaluate_command(
    files: Files,
    target: Annotated[
        list[str] | None, typer.Option(help='What they were made for: "band_gap=1.5±0.25"; may be repeated.')
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json and structures.csv; lets a run resume.")
    ] = None,
    potential: Potential = "chgnet",
    calibration: Annotated[
        str | None, typer.Option(help="The potential's calibration: name or folder; default: its own.")
    ] = None,
    hull: Annotated[str, typer.Option(help="Reference hull: name, folder or CSV.")] = "mp-hull",
    reference: Annotated[str, typer.Option(help="Known materials: name or folder.")] = "known-materials",
    predictor: Annotated[
        list[str] | None,
        typer.Option(
            help="Model of a property in place of the one that designs: band_gap=band-gap-evaluator, or "
            "PROPERTY=FOLDER; may be repeated."
        ),
    ] = None,
    relax: Annotated[bool, typer.Option(help="Relax first, or take the structures as they are.")] = True,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="Another set's evaluation.json, shown as a column beside; may be repeated."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Judge so many alone, drawn at random.", rich_help_panel="Effort")
    ] = None,
    seed: Seed = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure a set of crystals, whoever made it: valid, unique, novel, stable, and on target.

    **Examples**

    invdesign evaluate samples.csv.gz --out evaluation

    invdesign evaluate cifs/ --target "band_gap>3" --limit 200 --json

    invdesign evaluate mine.extxyz --beside evaluation/evaluation.json

    invdesign evaluate run --target "band_gap=1.5±0.25" --predictor band_gap=band-gap-evaluator
    """
    from invdesign.analysis.evaluate.metrics import read_evaluations
    from invdesign.analysis.evaluate.run import evaluate
    from invdesign.core.target import parse_target

    others = read_evaluations(beside or [])
    evaluation = evaluate(
        files,
        target=parse_target(target) if target else None,
        potential=potential,
        calibration=calibration,
        hull=hull,
        reference=reference,
        predictors=dict(map(_named, predictor or [])),
        relax=relax,
        limit=limit,
        seed=seed or 0,
        workers=workers,
        out=out,
    )
    if as_json:
        print_json(evaluation.as_json())
        return
    from rich.console import Console

    evaluation.show(Console(), others)


def _named(text: str) -> tuple[str, str]:
    """A property and the model of it."""
    prop, equals, model = text.partition("=")
    if not (prop and equals and model):
        raise InputError(
            f"predictor: {text!r} is not PROPERTY=MODEL; give such as band_gap=band-gap-evaluator."
        )
    return prop, model
