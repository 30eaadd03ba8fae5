"""The functions ``invdesign.dft.write``, ``run`` and ``collect``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.structure_files import write_cif
from invdesign.dft import collect_results, run_jobs
from invdesign.dft.collect_results import Collection
from invdesign.dft.run_jobs import JobEnd, JobPlan
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class WrittenInputs:
    """Folders of DFT inputs.

    Attributes:
        manifest: file that ties each folder to its crystal and predictions.
        candidates: the manifest's entries, one per crystal.
        skipped: crystals that were not written: candidate, formula, reason.
        warnings: sentences.
    """

    manifest: Path
    candidates: list[dict[str, Any]]
    skipped: list[dict[str, str]]
    warnings: list[str]

    def __repr__(self) -> str:
        """Return the number of crystals and the folder."""
        return f"<DFT inputs of {len(self.candidates)} crystals in {self.manifest.parent}>"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per crystal that was written."""
        import pandas as pd

        return pd.DataFrame(self.candidates)


@dataclass(frozen=True, slots=True)
class RunReport:
    """How the jobs of a folder ended.

    Attributes:
        plan: what was to run, what had finished before, and what was refused.
        outcomes: one per job that ran.
    """

    plan: JobPlan
    outcomes: list[JobEnd]

    def __repr__(self) -> str:
        """Return how many jobs ended with a result."""
        computed = sum(outcome.end == "computed" for outcome in self.outcomes)
        return f"<DFT run: {computed} of {len(self.outcomes)} jobs computed>"

    def as_json(self) -> dict[str, Any]:
        """Return ends, earlier results and refusals by job."""
        return {
            "ended": {o.job.name: {"end": o.end, "seconds": round(o.seconds, 1)} for o in self.outcomes},
            "finished_before": [job.name for job in self.plan.finished],
            "not_run": {job.name: reason for job, reason in self.plan.refused},
        }

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per job: name, end, seconds, reason."""
        import pandas as pd

        rows = [{"job": o.job.name, "end": o.end, "seconds": round(o.seconds, 1)} for o in self.outcomes]
        rows += [{"job": job.name, "end": "finished before"} for job in self.plan.finished]
        rows += [{"job": job.name, "end": "not run", "reason": why} for job, why in self.plan.refused]
        return pd.DataFrame(rows, columns=["job", "end", "seconds", "reason"])


def write(
    source: Any,  # noqa: ANN401 - one or several paths or pymatgen structures
    *,
    code: str,
    out: str | Path = "dft",
    task: str = "relax",
    pseudos: str | Path | None = None,
    input_set: str | None = None,
    flow: bool = False,
    references: bool = False,
) -> WrittenInputs:
    """Write a folder of DFT inputs per crystal, ``manifest.json`` and ``submit.sh``.

    >>> write("run", code="espresso", task="static", pseudos="pseudos", out="run/dft")  # doctest: +SKIP

    Args:
        source: folder or ``shortlist.csv`` of a campaign, files of structures, a folder of finished
            relaxations, or pymatgen structures (kept as CIF next to ``out``); one or a list.
        code: ``vasp``, ``espresso``, ``gpaw`` or ``elk``.
        out: folder, created if missing; existing inputs are never changed.
        task: ``relax`` (cell and positions), ``static`` (energy and gap), ``gap`` (also along the path
            between special points), or ``phonon-check`` (forces on displaced supercells).
        pseudos: folder of PBE pseudopotentials; Quantum ESPRESSO only.
        input_set: ``mp`` (the default) or ``matpes``; VASP only.
        flow: write ``flow.json`` for jobflow, too; VASP only.
        references: write the elements instead, for formation energies.

    Returns:
        Path of the manifest, its entries, and what was skipped.

    Raises:
        InputError: options that do not go together, nothing to write, or ``out`` holds something else.
    """
    kept = Path(f"{Path(out)}-structures")
    made = not kept.exists()
    try:
        manifest = write_inputs(
            _paths(source, kept),
            code,
            Path(out),
            task=task,
            pseudos=None if pseudos is None else Path(pseudos),
            input_set=input_set,
            flow=flow,
            references=references,
        )
    except InputError:
        if made and kept.exists():
            shutil.rmtree(kept)
        raise
    written = json.loads(manifest.read_text(encoding="utf-8"))
    skipped, warnings = written.get("skipped", []), written.get("warnings", [])
    return WrittenInputs(manifest, written["candidates"], skipped, warnings)


def _paths(source: Any, folder: Path) -> list[Path]:  # noqa: ANN401 - as in write
    """Return paths; structures become CIF files in a folder."""
    entries = [source] if isinstance(source, str | Path) or hasattr(source, "lattice") else list(source)
    paths = []
    for number, entry in enumerate(entries, start=1):
        if isinstance(entry, str | Path):
            paths.append(Path(entry))
            continue
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"structure-{number}.cif")
        write_cif(entry, paths[-1], symmetrised=False)
    return paths


def run(
    folder: str | Path,
    code: str | None = None,
    *,
    cores: int = 1,
    walltime: float = 60.0,
    notice: Callable[[str], None] = lambda _line: None,
) -> RunReport:
    """Run GPAW or Elk on this machine, cheapest jobs first; the same call resumes.

    >>> run("run/dft", cores=2, walltime=30)  # doctest: +SKIP

    Args:
        folder: written by :func:`write`.
        code: ``gpaw`` or ``elk``; default: the code that the folder was written for.
        cores: jobs at once, one core each.
        walltime: minutes that each job may take; longer jobs, by estimate, are not started.
        notice: receives a line per planned job and per outcome.

    Returns:
        The plan, and how each job ended.

    Raises:
        InputError: another code, not installed, or no manifest.
    """
    planned = run_jobs.plan(Path(folder), code, walltime * 60, cores)
    for line in planned.lines():
        notice(line)
    jobs = [job for job, _ in planned.jobs]
    outcomes = run_jobs.run(jobs, cores, walltime * 60, lambda outcome: notice(outcome.line()))
    return RunReport(planned, outcomes)


def collect(folders: Any, out: str | Path = ".") -> Collection:  # noqa: ANN401 - one or several paths
    """Read DFT results and compare them with the predictions.

    Writes ``dft.csv`` and ``dft.json`` (one row per run), and the comparison as CSV and parity plot. Where
    ``out`` is the folder of a campaign, its ``candidates.db`` gets the results.

    >>> collect("run/dft", out="run").to_pandas()  # doctest: +SKIP

    Args:
        folders: written by :func:`write`, or folders of single runs; one or a list.
        out: folder for the files.

    Returns:
        Rows, comparison and notes; a run that cannot be used has a status and a reason.

    Raises:
        InputError: no such folder, or one that holds neither a manifest nor a run.
    """
    given = [folders] if isinstance(folders, str | Path) else list(folders)
    return collect_results.collect([Path(folder) for folder in given], Path(out))
