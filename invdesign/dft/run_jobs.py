"""Local runs: cheapest first, each in a process of its own, resumable after any kill."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from invdesign.dft.codes.interface import LOCK, LOG, LocalCode
from invdesign.dft.codes.registry import get_code, local_codes
from invdesign.dft.cost import Cost
from invdesign.dft.manifest import Job, read_manifest
from invdesign.errors import InputError

POLL = 0.2  # s
End = Literal["computed", "out of time", "broke off", "taken"]


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What will run, cheapest first, and what will not.

    Attributes:
        jobs: with their estimated cost.
        finished: have a result already.
        refused: with the reason.
    """

    jobs: list[tuple[Job, Cost]]
    finished: list[Job]
    refused: list[tuple[Job, str]]

    def lines(self) -> list[str]:
        """Return the plan as text."""
        lines = [f"{job.name}: not run, {reason}" for job, reason in self.refused]
        lines += [f"{job.name}: finished before" for job in self.finished]
        lines += [f"{job.name}: {cost}" for job, cost in self.jobs]
        total = sum(cost.seconds for _, cost in self.jobs)
        return [
            *lines,
            f"{len(self.jobs)} to run, about {total / 60:.0f} core-minutes in all (a rough estimate)",
        ]


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How one job ended.

    Attributes:
        job: which.
        end: ``computed`` is written down, be it good or bad; ``taken``: another process was at it when
            its turn came; the others go on when the same command is given again.
        seconds: of this run.
    """

    job: Job
    end: End
    seconds: float

    def line(self) -> str:
        """Return the outcome as text."""
        if self.end == "taken":
            return f"{self.job.name}: not run, another process is computing it"
        took = f"{self.job.name}: {self.end} after {self.seconds:.0f} s"
        if self.end == "computed":
            reading = get_code(self.job.code).read(self.job.folder)
            if reading.band_gap is None:
                return f"{self.job.name}: {reading.status} after {self.seconds:.0f} s, {reading.reason}"
            converged = "" if reading.status == "done" else f", {reading.status}"
            return f"{took}, gap {reading.band_gap:.2f} eV{converged}"
        if self.end == "broke off":
            return f"{took}; see {self.job.folder / LOG}"
        return f"{took}; the same command goes on"


def plan(folder: Path, code: str | None, walltime: float, cores: int = 1) -> JobPlan:
    """Plan the run of a folder.

    Args:
        folder: that ``dft write`` made for a code that runs here.
        code: the one it was written for; None takes it from there.
        walltime: seconds that each job may take; what is estimated beyond it is not started.
        cores: jobs at once, which share the memory; what is estimated beyond its share is not started.

    Raises:
        InputError: another code, not installed, or no manifest.
    """
    jobs = read_manifest(folder)
    written = jobs[0].code
    dft = get_code(code or written)
    if not isinstance(dft, LocalCode):
        able = " or ".join(local_codes())
        raise InputError(
            f"code: {dft.name!r} does not run here; give {able}, or submit the folders where {dft.name} is "
            "installed."
        )
    if dft.name != written:
        raise InputError(
            f"code: {folder} has inputs for {written}; give a folder of `dft write --code {dft.name}`."
        )
    if not dft.is_installed():
        raise InputError(f"code: {dft.name} is not installed; {dft.how_to_install}.")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / cores
    affordable, finished, refused = [], [], []
    for job in (part for whole in jobs for part in whole.parts()):
        if reason := job.source_changed() or job.inputs_changed():
            refused.append((job, reason))
        elif dft.has_ended(job.folder):
            finished.append(job)
        elif _locked(job):
            refused.append((job, "another process is computing it"))
        elif reason := _too_expensive(cost := dft.estimate_cost(job), walltime, memory):
            refused.append((job, reason))
        else:
            affordable.append((job, cost))
    return JobPlan(sorted(affordable, key=lambda pair: pair[1].seconds), finished, refused)


def _local(job: Job) -> LocalCode:
    code = get_code(job.code)
    assert isinstance(code, LocalCode)  # noqa: S101 - as planned
    return code


def _too_expensive(cost: Cost, walltime: float, memory: float) -> str | None:
    if cost.seconds > walltime:
        return f"about {cost.time}, more than --walltime {walltime / 60:g}"
    if cost.memory > memory:
        return f"needs about {cost.memory / 1e9:.1f} GB of memory, a job may have {memory / 1e9:.1f} here"
    return None


def _locked(job: Job) -> bool:
    with (job.folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def run(
    jobs: Sequence[Job], cores: int, walltime: float, ended: Callable[[JobEnd], None] | None = None
) -> list[JobEnd]:
    """Compute jobs in their order, one core each.

    Args:
        jobs: of :func:`plan`.
        cores: jobs at once.
        walltime: seconds after which a job is stopped; its geometries stay.
        ended: called with each outcome.
    """
    waiting, outcomes = list(jobs), []

    def report(outcome: JobEnd) -> None:
        outcomes.append(outcome)
        if ended:
            ended(outcome)

    running: list[tuple[Job, subprocess.Popen[bytes], float]] = []
    try:
        while waiting or running:
            while waiting and len(running) < cores:
                job = waiting.pop(0)
                code = _local(job)
                if code.has_ended(job.folder) or _locked(job):  # since the plan was made
                    report(JobEnd(job, "computed" if code.has_ended(job.folder) else "taken", 0.0))
                else:
                    running.append((job, _start(job), time.monotonic()))
            time.sleep(POLL)
            for job, process, began in list(running):
                seconds = time.monotonic() - began
                late = process.poll() is None and seconds > walltime
                if process.poll() is None and not late:
                    continue
                _stop(process)
                running.remove((job, process, began))
                end: End = "computed" if _local(job).has_ended(job.folder) else "broke off"
                report(JobEnd(job, "out of time" if late else end, seconds))
    finally:
        for _, process, _ in running:
            _stop(process)
    return outcomes


def _start(job: Job) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (job.folder / LOG).open("wb") as log:
        # the inputs of the folder, whose hashes were checked
        return subprocess.Popen(  # noqa: S603
            _local(job).command, cwd=job.folder, env=environment, stdout=log, stderr=log
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # harmless if it has ended
    process.wait()
