"""Finished, failed and interrupted GPAW runs of ``job.py``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.crystal.cif import UNREADABLE
from invdesign.dft.codes.gpaw.job import GPA, LOG, RESULT, TRAJECTORY, digests, has_frames
from invdesign.dft.codes.interface import ParsedOutput, structure_of


def read_gpaw(folder: Path) -> ParsedOutput:
    """Read ``result.json``; without it, how far the run came."""
    from pymatgen.core.structure import StructureError

    if not (folder / RESULT).is_file():
        if (error := _crash(folder / LOG)) is not None:
            return ParsedOutput("failed", f"{error} (see {LOG})")
        return read_trajectory(folder / TRAJECTORY)
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        return ParsedOutput("truncated", f"{RESULT} is damaged ({error}); remove it and run again")
    if not isinstance(result, dict) or result.get("code") != "gpaw" or result.get("format") != 1:
        return ParsedOutput("unrelated", f"{RESULT} is not of invdesign's GPAW script")
    if result.get("inputs") != digests(folder):
        return ParsedOutput("unrelated", f"{RESULT} was computed from other inputs than those in its folder")
    if result.get("failed"):
        return ParsedOutput("failed", result["failed"])
    try:
        return _of_gpaw(folder, result)
    except (StructureError, *UNREADABLE) as error:
        return ParsedOutput("truncated", f"{RESULT} is damaged ({error!r}); remove it and run again")


def _crash(log: Path) -> str | None:
    """Return the exception that the script's output ends with, if it does."""
    if not log.is_file():
        return None
    last = log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
    return last if re.match(r"[\w.]*(Error|Exception)\b", last) else None


def _of_gpaw(folder: Path, result: dict[str, Any]) -> ParsedOutput:
    from ase.io import read
    from pymatgen.core import Structure

    if result["converged"]:
        status, reason = "done", None
    else:
        status, reason = "not converged", f"still moving after {result['n_geometries']} geometries"
    return ParsedOutput(
        status,  # type: ignore[arg-type]
        reason,
        first=structure_of(read(folder / "structure.vasp", format="vasp")),
        structure=Structure(
            result["cell"], result["symbols"], result["positions"], coords_are_cartesian=True
        ),
        energy=result["energy_ev"],
        band_gap=result["band_gap"],
        direct=result["direct"],
        max_force=result["max_force_ev_per_a"],
        forces=np.array(result["forces_ev_per_a"]),
        pressure=-sum(result["stress_gpa"][:3]) / 3,
        moment=result["total_moment"],
    )


def read_trajectory(path: Path) -> ParsedOutput:
    """Read how far a trajectory came: without ``result.json``, it is never ``done``."""
    if not path.is_file():
        return ParsedOutput("not run", "no output")
    if not has_frames(path):
        return ParsedOutput("unfinished", f"{path.name} has no geometry yet")
    try:
        return _of_trajectory(path)
    except (OSError, MemoryError, *UNREADABLE) as error:  # MemoryError: a length that was damaged
        return ParsedOutput("truncated", f"{path.name} is damaged ({error!r}); copy it again")


def _of_trajectory(path: Path) -> ParsedOutput:
    from ase.io import Trajectory

    with Trajectory(path) as trajectory:
        number, first, last = len(trajectory), trajectory[0], trajectory[-1]
    results = last.calc.results if last.calc else {}
    forces, stress = results.get("forces"), results.get("stress")
    return ParsedOutput(
        "unfinished",
        f"{number} geometries so far; the same `dft run` goes on from the last",
        first=structure_of(first),
        structure=structure_of(last),
        energy=results.get("energy"),
        max_force=None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        pressure=None if stress is None else float(-np.sum(stress[:3]) / 3 * GPA),
    )
