"""Structures to compute with DFT: a shortlist, structure files, or finished DFT relaxations."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.core.candidate import Estimate
from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.structure_files import SHORTLIST, read_structures
from invdesign.dft.manifest import MANIFEST, read_manifest
from invdesign.dft.read_job import read_job
from invdesign.errors import InputError
from invdesign.io.config import read_json

if TYPE_CHECKING:
    from pymatgen.core import Structure

SYMMETRY_TOLERANCE = 0.01  # Å; finds what is exact, moves nothing
MIN_DISTANCE = 0.5  # Å; below, no code converges


@dataclass(frozen=True, slots=True)
class InputStructure:
    """One crystal to compute.

    Attributes:
        id: the candidate's id in its campaign, or the structure's label in its file.
        structure: primitive standard cell.
        source: the file of the structure, with the SHA-256 of its bytes; or the folder where it was relaxed,
            and the code (``relaxed_with``).
        predicted: property → value, with ``_low`` and ``_high`` (90 %) where there is an interval.
        target: of the campaign, in words.
        reference_e_above_hull: eV/atom, of an element's crystal that formation energies are counted from;
            None for all else.
        distributions: property → predicted distribution, of a campaign's candidate.
    """

    id: str
    structure: Structure
    source: dict[str, str]
    predicted: dict[str, float] = field(default_factory=dict)
    target: str | None = None
    reference_e_above_hull: float | None = None
    distributions: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def formula(self) -> str:
        """Return the reduced formula."""
        return formula_of(self.structure.composition)


def skipped(candidate: str, formula: str, reason: str) -> dict[str, str]:
    """Return the manifest's entry of a crystal that is not written."""
    return {"candidate": candidate, "formula": formula, "reason": reason}


def read_input_structures(source: Path | Sequence[Path]) -> tuple[list[InputStructure], list[dict[str, str]]]:
    """Read crystals of a campaign's folder, a ``shortlist.csv``, structure files, or finished relaxations.

    Returns:
        The crystals, and the relaxations that are not finished (:func:`skipped`).

    Raises:
        InputError: nothing there, no shortlist (yet), an empty one, or a file that it names is missing.
    """
    paths = [source] if isinstance(source, Path) else list(source)
    found = [one for path in paths for one in _read(path)]
    inputs = [one for one in found if isinstance(one, InputStructure)]
    unfinished = [one for one in found if not isinstance(one, InputStructure)]
    if not inputs:
        given = ", ".join(map(str, paths)) or "nothing"
        why = "".join(f"; {one['formula']}: {one['reason']}" for one in unfinished)
        raise InputError(f"source: {given} holds no crystal to compute{why}; give a shortlist or structures.")
    return inputs, unfinished


def _read(path: Path) -> Iterator[InputStructure | dict[str, str]]:
    if (path / MANIFEST).is_file():
        yield from _relaxed(path)
        return
    if path.is_dir() and (path / SHORTLIST).is_file():
        path /= SHORTLIST
    elif path.is_dir() and (path / DATABASE).is_file():
        raise InputError(
            f"source: {path} has no {SHORTLIST}; let its campaign end (give its command again) first."
        )
    if _is_shortlist(path):
        yield from _shortlisted(path)
        return
    for label, structure in read_structures(path):
        yield InputStructure(label, _primitive(structure), _fingerprint(path))


def _relaxed(path: Path) -> Iterator[InputStructure | dict[str, str]]:
    """Read the results of a folder of ``dft write --task relax``."""
    for job in read_manifest(path):
        if job.task != "relax":
            raise InputError(
                f"source: {path} was written for {job.task}; give one of `dft write --task relax`."
            )
        output = read_job(job)
        entry = job.entry
        if output.status != "done" or output.structure is None:
            why = output.reason or output.status
            yield skipped(entry["candidate"], entry["formula"], f"its relaxation is not done ({why})")
            continue
        source = {"path": str(job.folder), "relaxed_with": job.code}
        yield InputStructure(
            entry["candidate"],
            _primitive(output.structure),
            source,
            entry["predicted"],
            entry["target"],
            distributions=job.distributions(),
        )


def _is_shortlist(path: Path) -> bool:
    if path.suffix != ".csv" or not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        header = next(csv.reader(file), [])
    return {"rank", "candidate"} <= set(header)


def _shortlisted(path: Path) -> Iterator[InputStructure]:
    target = _target_of(path)
    database = path.with_name(DATABASE)
    stored = {c.id: c.properties for c in Store(database).read("rank>=0")} if database.is_file() else {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise InputError(f"source: {path} lists no candidate; run a campaign that finds some.")
    for row in rows:
        cif = path.parent / (row.get("cif_file") or "")
        if not cif.is_file():
            raise InputError(
                f"source: {path} names {row.get('cif_file')!r} for {row['candidate']}: not there; restore it."
            )
        ((_, structure),) = read_structures(cif)
        estimates = stored.get(row["candidate"], {})
        yield InputStructure(
            row["candidate"],
            _primitive(structure),
            _fingerprint(cif),
            _values(estimates) if estimates else _intervals(row),
            target,
            distributions=estimates,
        )


def _target_of(shortlist: Path) -> str | None:
    record = shortlist.with_name("run.json")
    if not record.is_file():
        return None
    content = read_json(record)
    words = content.get("target") if isinstance(content, dict) else None
    return None if words is None else str(words)


def _values(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Return values and interval ends of distributions."""
    return {
        f"{name}{end}": value
        for name, one in estimates.items()
        for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
    }


def _intervals(row: dict[str, str]) -> dict[str, float]:
    """Return the columns that have an interval, and their intervals."""
    names = [name for name in row if f"{name}_low" in row]
    columns = [column for name in names for column in (name, f"{name}_low", f"{name}_high")]
    return {column: float(row[column]) for column in columns if row[column]}


def _primitive(structure: Structure) -> Structure:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    if not structure.is_valid(tol=MIN_DISTANCE):
        formula = formula_of(structure.composition)
        raise InputError(f"source: {formula} has atoms closer than {MIN_DISTANCE} Å; relax it first.")
    analyzer = SpacegroupAnalyzer(structure, symprec=SYMMETRY_TOLERANCE)
    primitive: Structure = analyzer.get_primitive_standard_structure().get_sorted_structure()
    return primitive


def _fingerprint(path: Path) -> dict[str, str]:
    if path.is_dir():
        return {"path": str(path)}
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
