"""The command ``hull``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from invdesign.cli.app import Calibration, Json, Potential, Workers, app, passed_on, pieces, print_json
from invdesign.errors import InputError, quoted
from invdesign.io.paths import is_there
from invdesign.io.progress import shown_progress

if TYPE_CHECKING:
    from rich.console import Console

    from invdesign.analysis.hull_placement import HullPlacement, HullReport

SHOWN = 8  # competing phases on the terminal; --json has all


Given = Annotated[
    list[str],
    typer.Argument(
        metavar="FORMULA|FILE…",
        help="Formulas (CuInS2), and files of structures: CIF, POSCAR, extxyz, CSV with a cif column, "
        "ASE database, folders of these. An existing path is a file.",
        show_default=False,
    ),
]
Energy = Annotated[
    list[str] | None,
    typer.Option(
        help="Formation energy of a formula on the hull's scale, eV/atom; one per formula, in order: "
        "-1.05,-0.98; repeatable."
    ),
]
Phases = Annotated[
    str,
    typer.Option(help="Known phases: name, CSV, folder of VASP runs, mp:Li-Fe-O, optimade:PROVIDER:Li-Fe-O."),
]
Plot = Annotated[
    Path | None, typer.Option(help="Draw phase diagrams of 2 to 4 elements: folder, or one .png or .html.")
]
SaveHull = Annotated[
    Path | None, typer.Option(help="Write the phases of the hull to a CSV, to use the same ones again.")
]


@app.command("hull")
def hull_command(
    given: Given,
    energy: Energy = None,
    hull: Phases = "mp-hull",
    potential: Potential = "chgnet",
    calibration: Calibration = None,
    relax: Annotated[bool, typer.Option(help="Relax first, or take the crystals as they are.")] = True,
    threshold: Annotated[
        float, typer.Option(help="Energy above hull up to which a crystal counts as stable, eV/atom.")
    ] = 0.1,
    out: Annotated[Path | None, typer.Option(help="Write a table (CSV).")] = None,
    plot: Plot = None,
    save_hull: SaveHull = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compute the energy above the hull of known phases, its uncertainty, and the decomposition.

    A formula is looked up. A structure is relaxed with a potential and placed by its calibrated energy.

    **Examples**

    invdesign hull CuInS2 --plot cu-in-s

    invdesign hull Na3PS4 --energy -1.05

    invdesign hull relaxed/*.cif --no-relax --out hull.csv

    invdesign hull candidate.cif --hull my-phases.csv --json
    """
    options = passed_on(locals(), "given", "energy", "as_json")
    from invdesign import api

    # only structures take time
    with shown_progress(show=any(map(is_there, given))) as progress:
        report = api.hull(given, energies=_energies(energy), progress=progress, **options)
    if as_json:
        print_json(report.as_json())
    else:
        _show(report)
    for path in [*report.plots, *([out] if out else []), *([save_hull] if save_hull else [])]:
        typer.echo(f"{path} written", err=True)
    for note in report.notes:
        typer.echo(note, err=True)
    if not any(place.placed for place in report.places):
        raise typer.Exit(2)


def _energies(texts: list[str] | None) -> list[float]:
    try:
        return [float(piece) for piece in pieces(texts)]
    except ValueError as error:
        raise InputError(f"energy: {quoted(str(error))}; give numbers in eV/atom, such as -1.05.") from error


def _show(report: HullReport) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from invdesign.io.console import print_whole

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "E above hull, eV/atom", f"P(< {report.protocol['threshold']:g})", "known", "phases"):
        table.add_column(name, no_wrap=True)
    table.add_column("at equilibrium")
    for place in report.places:
        if place.competing is not None:
            _show_formula(place, console)
        elif place.placed:
            table.add_row(*_cells(place))
    if table.row_count:
        print_whole(table, console)
    for place in report.places:
        if not place.placed:
            reason = place.reason if place.label in place.reason else f"{place.label}: {place.reason}"
            console.print(f"[red]{escape(reason)}[/red]", soft_wrap=True)
        for note in place.notes if place.competing is None else ():
            console.print(f"{escape(place.label)}: {note}", soft_wrap=True, style="yellow")
    line = f"hull: {report.protocol['hull']}, scale: {report.protocol['scale']}"
    if potential := report.protocol.get("potential"):
        line += f", energies by {potential}"
    console.print(line, style="dim")


def _cells(place: HullPlacement) -> tuple[str, ...]:
    from rich.markup import escape

    from invdesign.analysis.hull_placement import mixture
    from invdesign.core.candidate import Z90

    known = "crystal" if place.crystal_known else "composition" if place.composition_known else "no"
    e_above_hull = f"{place.e_above_hull or 0:+.3f} ± {Z90 * (place.sigma or 0):.3f}"
    return (
        escape(f"{place.label} {place.formula}" if place.formula not in place.label else place.label),
        e_above_hull,
        f"{place.p_stable or 0:.0%}",
        known,
        str(place.n_phases),
        mixture(place.decomposition),
    )


def _show_formula(place: HullPlacement, console: Console) -> None:
    from rich.table import Table

    from invdesign.analysis.hull_placement import mixture
    from invdesign.io.console import print_whole

    console.print(f"[bold]{place.label}[/bold]  {place.reason}", soft_wrap=True)
    block = Table.grid(padding=(0, 2, 0, 0))
    known = "yes" if place.composition_known else "no"
    block.add_row("  composition known", f"{known}; {place.n_phases} phases in its system")
    if place.formation_energy_per_atom is not None:
        block.add_row("  formation energy", f"{place.formation_energy_per_atom:.3f} eV/atom, as given")
    block.add_row("  hull here", f"{place.hull_energy_per_atom:.3f} eV/atom: {mixture(place.decomposition)}")
    if place.below_competitors is not None:
        competitors = f"{place.below_competitors:.3f} eV/atom higher: {mixture(place.competitors)}"
        block.add_row("  without this phase", competitors)
    others = [row for row in place.competing or () if row["distance"] > 0]
    near = ", ".join(f"{row['formula']} {row['formation_energy_per_atom']:.3f}" for row in others[:SHOWN])
    more = f", and {len(others) - SHOWN} more (--json)" if len(others) > SHOWN else ""
    block.add_row("  nearest phases", near + more)
    print_whole(block, console)
    for note in place.notes:
        console.print(f"  {note}", soft_wrap=True, style="yellow")
