"""The commands ``dft write``, ``dft run`` and ``dft collect``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import App, Json, app, passed_on, print_json
from invdesign.dft.codes.registry import CODES

dft = App(
    help="Write DFT inputs, run them, collect the results.", no_args_is_help=True, rich_markup_mode="markdown"
)
app.add_typer(dft, name="dft")


@dft.command("write")
def write_command(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHORTLIST…",
            help="Folder or shortlist.csv of a campaign, structure files, or a folder of finished "
            "relaxations from `dft write`.",
            show_default=False,
        ),
    ],
    code: Annotated[str, typer.Option(help=f"{', '.join(CODES.names())}.")],
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("dft"),
    task: Annotated[
        str,
        typer.Option(
            help="relax (cell and positions), static (energy and gap), gap (along a path, too, where "
            "the code can), or phonon-check (forces on displaced supercells of a relaxed cell)."
        ),
    ] = "relax",
    pseudos: Annotated[
        Path | None, typer.Option(help="Folder of PBE pseudopotentials (Quantum ESPRESSO only).")
    ] = None,
    input_set: Annotated[
        str | None, typer.Option("--set", help="mp (default; on the hull's scale) or matpes (VASP only).")
    ] = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="Write flow.json for jobflow, too (VASP only, needs atomate2).")
    ] = False,
    references: Annotated[
        bool, typer.Option("--references", help="Write their elements instead, for energies above hull.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write DFT inputs: a folder per crystal, manifest.json with the predictions, and submit.sh.

    **Examples**

    invdesign dft write run/shortlist.csv --code vasp --out run/dft

    invdesign dft write run --code espresso --task static --pseudos ~/pseudos

    invdesign dft write run --code gpaw --task relax --out run/relax

    invdesign dft write run/relax --code gpaw --task phonon-check --out run/phonons
    """
    options = passed_on(locals(), "source", "as_json")
    from invdesign import api

    written = api.dft.write(source, **options)
    if as_json:
        manifest = str(written.manifest)
        print_json({"manifest": manifest, "skipped": written.skipped, "warnings": written.warnings})
        return
    for line in written.warnings:
        typer.echo(line)
    for one in written.skipped:
        typer.echo(f"{one['candidate']} ({one['formula']}): not written, {one['reason']}.")
    typer.echo(f"Inputs for {code} in {written.manifest.parent}; index: {written.manifest}")


@dft.command("run")
def run_command(
    folder: Annotated[Path, typer.Argument(help="Folder of `dft write`.", show_default=False)],
    code: Annotated[
        str | None, typer.Option(help="Code that runs here, such as gpaw. Default: that of the folder.")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Number of jobs at once, one core each.")] = 1,
    walltime: Annotated[float, typer.Option(min=0.1, help="Maximum minutes per job.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Run a code (GPAW, Elk) on this machine, cheapest jobs first. The same command resumes.

    The command first estimates the cost of each job. Jobs beyond walltime or memory are not started.

    **Example**

    invdesign dft run run/dft --cores 2 --walltime 30
    """
    from invdesign import api

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's kill reaches the jobs, too
    report = api.dft.run(
        folder, code, cores=cores, walltime=walltime, notice=lambda line: typer.echo(line, err=as_json)
    )
    if as_json:
        print_json(report.as_json())
    if any(outcome.end != "computed" for outcome in report.outcomes):
        raise typer.Exit(1)


@dft.command("collect")
def collect_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDERS…", help="Folders of `dft write`, or of single runs.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Output folder; that of a campaign stores the results in its candidates.db, too."),
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Read results of GPAW, VASP, Quantum ESPRESSO and Elk, and compare them with the predictions.

    Writes dft.csv and dft.json (a row a run), comparison.csv and parity.png. Unfinished, failed,
    truncated and unrelated runs are reported; the others are used.

    **Examples**

    invdesign dft collect run/dft --out run

    invdesign dft collect run/relax run/gap run/elements --out run
    """
    from invdesign import api
    from invdesign.dft.collect_results import RECORD, TABLE

    found = api.dft.collect(folders, out)
    if as_json:
        print_json(found.as_json())
    else:
        typer.echo("\n".join([*found.lines(), f"All results: {out / TABLE}, {out / RECORD}"]))
