"""Commands of the hand-off to DFT codes and of the way back."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import app, print_json

dft = typer.Typer(help="Hand a shortlist to DFT codes.", no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(dft, name="dft")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dft.command("write")
def write_command(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHORTLIST…",
            help="A campaign's folder or shortlist.csv, or structure files.",
            show_default=False,
        ),
    ],
    code: Annotated[str, typer.Option(help="vasp, espresso or gpaw.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("dft"),
    task: Annotated[
        str,
        typer.Option(
            help="relax (cell and positions), static (energy and gap), or gap (along a path too; gpaw only)."
        ),
    ] = "relax",
    pseudos: Annotated[
        Path | None, typer.Option(help="Folder of PBE pseudopotentials; Quantum ESPRESSO only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a folder of inputs per crystal, and manifest.json, which ties them to what was predicted.

    **Examples**

    invdesign dft write run/shortlist.csv --code vasp --out run/dft

    invdesign dft write run --code espresso --task static --pseudos ~/pseudos

    invdesign dft write run --code gpaw --task gap
    """
    from invdesign.dft.write import write_inputs

    manifest = write_inputs(source, code, out, task=task, pseudos=pseudos)
    skipped = json.loads(manifest.read_text(encoding="utf-8")).get("skipped", [])
    if as_json:
        print_json({"manifest": str(manifest), "skipped": skipped})
    else:
        for one in skipped:
            typer.echo(f"{one['candidate']} ({one['formula']}): not written, {one['reason']}.")
        typer.echo(f"Inputs for {code} in {manifest.parent}; what is what: {manifest}")


@dft.command("run")
def run_command(
    folder: Annotated[Path, typer.Argument(help="What `dft write` made.", show_default=False)],
    code: Annotated[str, typer.Option(help="gpaw, the one that runs here.")] = "gpaw",
    cores: Annotated[int, typer.Option(min=1, help="Jobs at once, one core each.")] = 1,
    walltime: Annotated[float, typer.Option(min=0.1, help="Minutes that each job may take.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Run GPAW here, cheapest first. Killed or out of time, the same command goes on where each job was.

    Says first what each job will roughly cost; what is estimated beyond the walltime is not started.

    **Example**

    invdesign dft run run/dft --cores 2 --walltime 30
    """
    from invdesign.dft.run import plan, run

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's kill reaches the jobs too
    planned = plan(folder, code, walltime * 60)
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
    out: Annotated[Path, typer.Option(help="Folder for dft.csv and dft.json.")] = Path(),
    as_json: Json = False,
) -> None:
    """Read results of GPAW, VASP and Quantum ESPRESSO beside what was predicted: dft.csv and dft.json.

    Unfinished, failed, truncated and foreign runs are named; the rest goes on.

    **Example**

    invdesign dft collect run/dft --out run
    """
    from invdesign.dft.collect import collect, lines

    rows = collect(folders, out)
    if as_json:
        print_json(rows)
    else:
        typer.echo("\n".join([*lines(rows), f"All of it: {out / 'dft.csv'}, {out / 'dft.json'}"]))
