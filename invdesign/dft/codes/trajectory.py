"""ASE trajectories of other programs, which are read but never written."""

# ruff: noqa: D102 - the interface documents the methods
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from invdesign.dft.codes.gpaw.read import read_trajectory
from invdesign.dft.codes.interface import Code, InputWriter, ParsedOutput, SlurmJob
from invdesign.dft.codes.kpoints import Task

AT_REST = 0.05  # eV/Å


class Trajectory(Code):
    """An ASE trajectory (``*.traj``) of any calculator; ``--code`` does not offer it."""

    name, label = "ase", "ASE"
    tasks = ()
    output_files = "*.traj"

    def prepare(
        self, task: Task, elements: Iterable[str], pseudos: Path | None, input_set: str | None
    ) -> InputWriter:
        raise NotImplementedError

    def slurm_job(self, task: Task, settings: Mapping[str, Any]) -> SlurmJob:
        raise NotImplementedError

    def recognizes(self, folder: Path) -> bool:
        return any(folder.glob("*.traj"))

    def read(self, folder: Path) -> ParsedOutput:
        """Read the first one; it does not say whether it ended, so its last forces decide."""
        path = min(folder.glob("*.traj"))
        reading = read_trajectory(path)
        if reading.status != "unfinished" or reading.structure is None:
            return reading
        if reading.energy is None or reading.max_force is None:
            return replace(
                reading, status="failed", reason=f"{path.name} has no energy and forces at its end"
            )
        if reading.max_force > AT_REST:
            force = f"{reading.max_force:.2f} eV/Å"
            return replace(
                reading, status="not converged", reason=f"forces up to {force} are left at its end"
            )
        return replace(reading, status="done", reason=None)
