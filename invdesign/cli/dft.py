"""Commands of the hand-off to DFT codes and of the way back."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import app, print_json
from invdesign.dft.codes.registry import CODES

dft = typer.Typer(help="Hand a shortlist to DFT codes.", no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(dft, name="dft")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dft.command("write")
def write_command(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHORTLIST…",
            help="A campaign's folder or shortlist.csv, structure files, or a folder of relaxations that "
            "`dft write` made.",
            show_default=False,
        ),
    ],
    code: Annotated[str, typer.Option(help=f"{', '.join(CODES.names())}.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("dft"),
    task: Annotated[
        str,
        typer.Option(
            help="relax (cell and positions), static (energy and gap), gap (along a path too, where the code "
            "can), or phonon-check (forces on displaced supercells of a relaxed cell)."
        ),
    ] = "relax",
    pseudos: Annotated[
        Path | None, typer.Option(help="Folder of PBE pseudopotentials; Quantum ESPRESSO only.")
    ] = None,
    input_set: Annotated[
        str | None,
        typer.Option("--set", help="mp (the default; on the hull's scale) or matpes; VASP only."),
    ] = None,
    flow: Annotated[
        bool, typer.Option("--flow", help="Also flow.json, for jobflow; VASP only, needs atomate2.")
    ] = False,
    references: Annotated[
        bool, typer.Option("--references", help="Their elements instead, for heights above the hull.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a folder of inputs per crystal, manifest.json, which ties them to the predictions, and submit.sh.

    **Examples**

    invdesign dft write run/shortlist.csv --code vasp --out run/dft

    invdesign dft write run --code espresso --task static --pseudos ~/pseudos

    invdesign dft write run --code gpaw --task relax --out run/relax

    invdesign dft write run/relax --code gpaw --task phonon-check --out run/phonons
    """
    from invdesign.dft.write_inputs import write_inputs

    manifest = write_inputs(
        source, code, out, task=task, pseudos=pseudos, input_set=input_set, flow=flow, references=references
    )
    written = json.loads(manifest.read_text(encoding="utf-8"))
    skipped, warned = written.get("skipped", []), written.get("warnings", [])
    if as_json:
        print_json({"manifest": str(manifest), "skipped": skipped, "warnings": warned})
    else:
        for line in warned:
            typer.echo(line)
        for one in skipped:
            typer.echo(f"{one['candidate']} ({one['formula']}): not written, {one['reason']}.")
        typer.echo(f"Inputs for {code} in {manifest.parent}; what is what: {manifest}")


@dft.command("run")
def run_command(
    folder: Annotated[Path, typer.Argument(help="What `dft write` made.", show_default=False)],
    code: Annotated[
        str | None,
        typer.Option(help="A code that runs here, such as gpaw; by default that of the folder."),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Jobs at once, one core each.")] = 1,
    walltime: Annotated[float, typer.Option(min=0.1, help="Minutes that each job may take.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Run a code here (GPAW, Elk), cheapest first. Killed or out of time, the same command goes on.

    Says first what each job will roughly cost; what is estimated beyond walltime or memory is not started.

    **Example**

    invdesign dft run run/dft --cores 2 --walltime 30
    """
    from invdesign.dft.run_jobs import plan, run

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's kill reaches the jobs too
    planned = plan(folder, code, walltime * 60, cores)
    for line in planned.lines():
        typer.echo(line, err=as_json)
    outcomes = run(
        [job for job, _ in planned.jobs],
        cores,
        walltime * 60,
        ended=lambda outcome: typer.echo(outcome.line(), err=as_json),
    )
    if as_json:
        print_json(
            {
                "ended": {o.job.name: {"end": o.end, "seconds": round(o.seconds, 1)} for o in outcomes},
                "finished_before": [job.name for job in planned.finished],
                "not_run": {job.name: reason for job, reason in planned.refused},
            }
        )
    if any(outcome.end != "computed" for outcome in outcomes):
        raise typer.Exit(1)


@dft.command("collect")
def collect_command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDERS…", help="What `dft write` made, or folders of single runs.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for the results; a campaign's, to put them into its candidates.db too."),
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Read results of GPAW, VASP, Quantum ESPRESSO and Elk, and confront them with what was predicted.

    Writes dft.csv and dft.json (a row a run), confrontation.csv and parity.png. Unfinished, failed,
    truncated and foreign runs are named; the rest goes on.

    **Examples**

    invdesign dft collect run/dft --out run

    invdesign dft collect run/relax run/gap run/elements --out run
    """
    from invdesign.dft.collect_results import RECORD, TABLE, collect

    found = collect(folders, out)
    if as_json:
        print_json(found.as_json())
    else:
        typer.echo("\n".join([*found.lines(), f"All of it: {out / TABLE}, {out / RECORD}"]))
