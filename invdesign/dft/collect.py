"""The way back: results of DFT runs, tied to their candidates, beside what was predicted for them."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from invdesign.crystal.identity import rmsd, same_crystal
from invdesign.dft.gpaw_job import RESULT
from invdesign.dft.manifest import MANIFEST, read_manifest
from invdesign.dft.read_espresso import read_espresso
from invdesign.dft.read_vasp import read_vasp
from invdesign.dft.reading import Reading, read_foreign_trajectory, read_gpaw
from invdesign.errors import InputError
from invdesign.report import replaced

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.dft.manifest import Job

TABLE, RECORD = "dft.csv", "dft.json"
READERS = {"gpaw": read_gpaw, "vasp": read_vasp, "espresso": read_espresso}
NO_HULL = "e_above_hull_dft is empty: it needs the elements, computed with the same code and settings"
PREDICTED = ("band_gap", "e_above_hull")
USABLE = ("done", "not converged")


def collect(folders: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """Read what is in folders, and write ``dft.csv`` and ``dft.json``.

    Whatever cannot be used is named in its row (``status``, ``reason``), and the rest goes on.

    Args:
        folders: that ``dft write`` made, wherever they were computed; or of single runs.
        out: folder for the two files.

    Returns:
        The rows.

    Raises:
        InputError: no such folder, or one that holds neither a manifest nor a run.
    """
    rows: list[dict[str, Any]] = []
    jobs: list[Job | None] = []
    for folder in folders:
        if not folder.is_dir():
            msg = f"folders: {str(folder)!r} is no folder; give those that `dft write` made."
            raise InputError(msg)
        if (folder / MANIFEST).is_file():
            written = read_manifest(folder)
            jobs += written
            rows += [_row(job.folder, _checked(job), job) for job in written]
        else:
            jobs.append(None)
            rows.append(_row(folder, *_single(folder)))
    _name_twins(rows, jobs)
    out.mkdir(parents=True, exist_ok=True)
    with replaced(out / TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"notes": "; ".join(row["notes"])} for row in rows)
    with replaced(out / RECORD) as draft:
        text = json.dumps({"format": 1, "note": NO_HULL, "runs": rows}, indent=2, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
    return rows


def _single(folder: Path) -> tuple[Reading, None, str]:
    """A run without a manifest, of whichever code."""
    found = {
        "gpaw": (folder / RESULT).is_file(),
        "vasp": any(folder.glob("vasprun.xml*")),
        "espresso": any(folder.glob("*.xml")) or any(folder.glob("out/*.xml")) or any(folder.glob("*.out")),
    }
    code = next((code for code in found if found[code]), None)
    if code:
        return READERS[code](folder), None, code
    trajectories = sorted(folder.glob("*.traj"))
    if not trajectories:
        msg = (
            f"folders: {str(folder)!r} has no {MANIFEST}, vasprun.xml, output of pw.x, {RESULT} or *.traj; "
            "give folders of runs."
        )
        raise InputError(msg)
    return read_foreign_trajectory(trajectories[0]), None, "ase"


def _checked(job: Job) -> Reading:
    """A job's result, if it is that candidate's."""
    if reason := job.source_changed():
        return Reading("changed", reason)
    if job.code == "gpaw" and (reason := job.inputs_changed()):  # of others, users tune the inputs
        return Reading("changed", reason)
    reading = READERS[job.code](job.folder)
    written = job.structure()
    if written and reading.first and not same_crystal(written, reading.first):
        other = reading.first.composition.reduced_formula
        return Reading("foreign", f"it started from another crystal ({other}), not from what was written")
    if reason := job.inputs_changed():
        return replace(reading, notes=(*reading.notes, reason))
    return reading


def _row(folder: Path, reading: Reading, job: Job | None, code: str | None = None) -> dict[str, Any]:
    entry = job.entry if job else {}
    predicted = entry.get("predicted", {})
    usable = reading.status in USABLE
    structure = reading.structure if usable else None
    written = job.structure() if job else None
    moved = structure if written is not None and job is not None and job.task == "relax" else None
    energy = reading.energy / len(structure) if structure and reading.energy is not None else None
    return {
        "folder": str(folder),
        "candidate": entry.get("candidate"),
        "formula": entry.get("formula") or (structure.composition.reduced_formula if structure else None),
        "code": job.code if job else code,
        "task": job.task if job else None,
        "status": reading.status,
        "reason": reading.reason,
        **{
            f"{name}_predicted{end}": predicted.get(f"{name}{end}")
            for name in PREDICTED
            for end in ("", "_low", "_high")
        },
        "band_gap_dft": reading.band_gap if usable else None,
        "gap_is_direct": reading.direct if usable else None,
        "e_above_hull_dft": None,
        "energy_per_atom": energy,
        "volume_predicted": _volume(written),
        "volume_dft": _volume(moved),
        "rmsd": rmsd(written, moved) if written and moved else None,
        "max_force": reading.max_force if usable else None,
        "pressure": reading.pressure if usable else None,
        "moment": reading.moment if usable else None,
        "notes": list(reading.notes),
    }


def _volume(structure: Structure | None) -> float | None:
    """Å³ per atom."""
    return structure.volume / len(structure) if structure else None


def _name_twins(rows: Sequence[dict[str, Any]], jobs: Sequence[Job | None]) -> None:
    """Say of each run which others there are of its candidate, with the same code and task."""
    runs = defaultdict(list)
    for row, job in zip(rows, jobs, strict=True):
        if job is not None:
            crystal = job.entry["source"].get("sha256", job.entry["source"]["path"])
            runs[job.entry["candidate"], crystal, job.code, job.task].append(row)
    for twins in runs.values():
        for row in twins:
            others = [twin["folder"] for twin in twins if twin is not row]
            if others:
                row["notes"].append(f"computed again in {', '.join(others)}")


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line a run, as a person reads it."""
    return [_line(row) for row in rows]


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['folder']}: {row['status']}"]
    if row["reason"]:
        parts.append(str(row["reason"]))
    if row["band_gap_dft"] is not None:
        asked = row["band_gap_predicted"]
        parts.append(
            f"gap {row['band_gap_dft']:.2f} eV" + ("" if asked is None else f" (predicted {asked:.2f})")
        )
    if row["volume_dft"] is not None:
        change = row["volume_dft"] / row["volume_predicted"] - 1
        parts.append(f"volume {change:+.1%}")
    return ", ".join([*parts, *row["notes"]])
