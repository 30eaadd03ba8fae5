"""Finished, failed and interrupted GPAW runs of ``job.py``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.dft.codes.gpaw.job import GPA, INPUTS, LOG, RESULT, TRAJECTORY, digests, has_frames
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.dft.codes.reading import guarded, read_part, short, structure_of, text_of


@guarded
def read_gpaw(folder: Path) -> ParsedOutput:
    """Read ``result.json``; without it, how far the run came."""
    if not (folder / RESULT).is_file():
        if (error := _crash(folder / LOG)) is not None:
            return ParsedOutput("failed", f"{short(error, 400)} (see {LOG})")
        return read_trajectory(folder / TRAJECTORY)
    result = json.loads(text_of(folder / RESULT))
    if not isinstance(result, dict) or result.get("code") != "gpaw" or result.get("format") != 1:
        return ParsedOutput("unrelated", f"{RESULT} is not of invdesign's GPAW script")
    if any(not (folder / name).is_file() for name in INPUTS) or result.get("inputs") != digests(folder):
        return ParsedOutput("unrelated", f"{RESULT} was computed from other inputs than those in its folder")
    if result.get("failed"):
        return ParsedOutput("failed", short(str(result["failed"]), 400))
    return _of_gpaw(folder, result)


def _crash(log: Path) -> str | None:
    """Return the exception that the script's output ends with, if it does."""
    if not log.is_file():
        return None
    last = text_of(log).rstrip().rpartition("\n")[2]
    return last if re.match(r"[\w.]*(Error|Exception)\b", last) else None


def _of_gpaw(folder: Path, result: dict[str, Any]) -> ParsedOutput:
    from ase.io import read
    from pymatgen.core import Structure

    notes: list[str] = []
    forces = read_part("forces", notes, lambda: _array(result, "forces_ev_per_a", (-1, 3)))
    stress = read_part("stress", notes, lambda: _array(result, "stress_gpa", (6,)))
    converged = result["converged"] is True
    return ParsedOutput(
        "done" if converged else "not converged",
        None if converged else f"still moving after {short(str(result['n_geometries']), 20)} geometries",
        first=structure_of(read(folder / "structure.vasp", format="vasp")),
        structure=Structure(
            result["cell"], result["symbols"], result["positions"], coords_are_cartesian=True
        ),
        energy=read_part("energy", notes, lambda: float(result["energy_ev"])),
        band_gap=read_part("band gap", notes, lambda: float(result["band_gap"])),
        direct=result.get("direct"),
        max_force=None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        forces=forces,
        pressure=None if stress is None else float(-stress[:3].sum() / 3),
        moment=result.get("total_moment"),
        notes=tuple(notes),
    )


def _array(result: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(result[name], dtype=float).reshape(shape)


@guarded
def read_trajectory(path: Path) -> ParsedOutput:
    """Read how far a trajectory came: without ``result.json``, it is never ``done``."""
    if not path.is_file():
        return ParsedOutput("not run", "no output")
    if not has_frames(path):
        return ParsedOutput("unfinished", f"{path.name} has no geometry yet")
    return _of_trajectory(path)


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
