"""The way back: results of DFT runs, tied to their candidates, beside what was predicted for them."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from invdesign.campaign.active_learning.correction import learn
from invdesign.crystal.matching import rmsd, same_crystal
from invdesign.dft.codes.hubbard import hubbard_u
from invdesign.dft.codes.interface import Code, ParsedOutput
from invdesign.dft.codes.registry import CODES, get_code, recognize
from invdesign.dft.codes.trajectory import Trajectory
from invdesign.dft.manifest import MANIFEST, read_manifest
from invdesign.dft.phonons import read_phonons
from invdesign.dft.results.calculation import Computed
from invdesign.dft.results.comparison import PREDICTED
from invdesign.dft.results.element_energies import keep, own_elements, with_kept
from invdesign.dft.results.formation_energies import MORE, place
from invdesign.dft.results.merge import run_of
from invdesign.dft.results.sides import confront, confront_campaign
from invdesign.dft.results.store import Found, hull_of, is_campaign, store_results
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.stability.hull.hull import Hull

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from pymatgen.core import Structure

    from invdesign.dft.manifest import Job
    from invdesign.dft.results.comparison import Confrontation
    from invdesign.dft.results.formation_energies import Placed

TABLE, RECORD = "dft.csv", "dft.json"
CONFRONTATION, PICTURE = "confrontation.csv", "parity.png"
USABLE = ("done", "not converged")
PHONONS = "phonon-check"


@dataclass(slots=True)
class Result:
    """One run: where, of whom, by what, and what it says.

    Attributes:
        job: of the manifest; None for a single run.
        lowest_frequency: of a phonon check, THz; imaginary below 0.
        settings: by which its energy compares; None where it gave none.
        placed: where its energy puts it; None where it gave none.
    """

    folder: Path
    job: Job | None
    code: Code
    reading: ParsedOutput
    lowest_frequency: float | None = None
    settings: str | None = None
    placed: Placed | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """What a call of :func:`collect` found.

    Attributes:
        rows: one a run.
        confrontation: predicted against computed.
        notes: what did not belong to the campaign.
        learned: what the campaign's results teach about its models.
        stored: candidates of the campaign that carry results now; None where no campaign was given.
    """

    rows: list[dict[str, Any]]
    confrontation: Confrontation
    notes: list[str]
    learned: list[str]
    stored: int | None

    def __repr__(self) -> str:
        """Return the number of runs."""
        return f"<DFT results of {len(self.rows)} runs>"

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per run, as in ``dft.csv``."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "format": 2,
            "runs": self.rows,
            "confrontation": self.confrontation.rows(),
            "summary": self.confrontation.summary(),
            "sentences": self.confrontation.sentences(),
            "notes": self.notes,
            "learned": self.learned,
            "stored": self.stored,
        }

    def lines(self) -> list[str]:
        """As a person reads it: a line a run, how many came to what, what is to be learnt."""
        counts = Counter(row["status"] for row in self.rows)
        count = ", ".join(f"{n} {status}" for status, n in counts.most_common())
        stored = (
            ""
            if self.stored is None
            else f"; {self.stored} candidate{'s' * (self.stored != 1)} of the campaign with results"
        )
        no_height = [row["scale"] for row in self.rows if row["scale"] and row["e_above_hull_dft"] is None]
        missing = {what for _, _, what in (scale.partition(MORE) for scale in no_height) if what}
        return [
            *(_line(row) for row in self.rows),
            *(f"For heights: {what}" for what in sorted(missing)),
            *self.notes,
            f"{len(self.rows)} run{'s' * (len(self.rows) != 1)}: {count}{stored}.",
            *self.confrontation.sentences(),
            *(f"Learned: {line}" for line in self.learned),
        ]


def collect(folders: Sequence[Path], out: Path) -> Collection:
    """Read what is in folders; write ``dft.csv``, ``dft.json``, ``confrontation.csv`` and ``parity.png``.

    Whatever cannot be used is named in its row (``status``, ``reason``), and the rest goes on. Where ``out``
    is a campaign's folder, results go into its store.

    Args:
        folders: that ``dft write`` made, wherever they were computed; or of single runs.
        out: folder for the files; a campaign's, to store the results too.

    Raises:
        InputError: no such folder, or one that holds neither a manifest nor a run.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"out: {str(out)!r} is a file; give a folder.")
    campaign = out if is_campaign(out) else None
    folders = list({folder.resolve(): folder for folder in folders}.values())
    results = [result for folder in folders for result in _read(folder)]
    finished = [(result, computed) for result in results if (computed := _computed(result)) is not None]
    elements = own_elements(computed for _, computed in finished)
    if campaign:
        elements = with_kept(campaign, elements, [result.folder for result in results])
    hull = Hull.load(hull_of(campaign) if campaign else "mp-hull")
    heights = place([computed for _, computed in finished], elements, hull)
    for (result, computed), placed in zip(finished, heights, strict=True):
        result.settings, result.placed = computed.settings, placed
    rows = [_row(result) for result in results]
    _name_twins(rows, [result.job for result in results])
    found = _of_candidates(results, rows, out)
    strays = [note for folder in folders for note in _strays(folder)]
    if campaign:
        keep(campaign, elements)
        stored = store_results(campaign, found)
        learned = learn(stored.computed).lines() if stored.computed else []
        n_stored = len(stored.computed)
        notes = [*strays, *stored.notes]
        collection = Collection(rows, confront_campaign(stored), notes, learned, n_stored)
    else:
        collection = Collection(rows, confront(found), strays, [], None)
    _write(collection, out)
    return collection


def _read(folder: Path) -> list[Result]:
    if not folder.is_dir():
        raise InputError(f"folders: {str(folder)!r} is no folder; give those that `dft write` made.")
    if (folder / MANIFEST).is_file():
        return [_checked(job) for job in read_manifest(folder)]
    code, reading = _single(folder)
    return [Result(folder, None, code, reading)]


def _strays(folder: Path) -> list[str]:
    """Folders beside those of a manifest, which may be renamed ones with results."""
    if not (folder / MANIFEST).is_file():
        return []
    own = {job.folder.name for job in read_manifest(folder)}
    others = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in own)
    return [f"{folder / name}: not in the manifest, left alone" for name in others]


def _single(folder: Path) -> tuple[Code, ParsedOutput]:
    """Read a run without a manifest, of whichever code."""
    if code := recognize(folder):
        return code, _finite(code.read(folder))
    trajectory = Trajectory()
    if trajectory.recognizes(folder):
        return trajectory, trajectory.read(folder)
    files = [get_code(name).output_files for name in CODES.names()]
    raise InputError(
        f"folders: {str(folder)!r} has no {MANIFEST}, {', '.join(filter(None, files))} or "
        f"{trajectory.output_files}; give folders of runs."
    )


def _checked(job: Job) -> Result:
    """Read a job's result, if it is that candidate's."""
    code = get_code(job.code)
    if reason := job.source_changed():
        return Result(job.folder, job, code, ParsedOutput("changed", reason))
    if not job.folder.is_dir():
        return Result(job.folder, job, code, ParsedOutput("not run", "its folder is gone"))
    if code.inputs_are_fixed and (reason := job.inputs_changed()):
        return Result(job.folder, job, code, ParsedOutput("changed", reason))
    if job.task == PHONONS:
        found = read_phonons(job)
        reading = ParsedOutput(found.status, found.reason, notes=found.notes)
        return Result(job.folder, job, code, reading, found.lowest)
    reading = _finite(code.read(job.folder))
    if reading.first and not same_crystal(job.structure(), reading.first):
        other = reading.first.composition.reduced_formula
        reason = f"it started from another crystal ({other}), not from what was written"
        reading = ParsedOutput("unrelated", reason)
    elif reason := job.inputs_changed():
        reading = replace(reading, notes=(*reading.notes, reason))
    return Result(job.folder, job, code, reading)


def _finite(reading: ParsedOutput) -> ParsedOutput:
    """The reading, unless its figures are none."""
    figures = [reading.energy, reading.band_gap, reading.max_force, reading.pressure]
    if all(figure is None or isfinite(figure) for figure in figures) and (reading.band_gap or 0) >= 0:
        return reading
    return ParsedOutput("truncated", "its figures are not finite, or its gap is below 0; run it again")


def _computed(result: Result) -> Computed | None:
    """A finished calculation, if it is one."""
    reading = result.reading
    if reading.status != "done" or reading.structure is None or reading.energy is None:
        return None
    return Computed(result.folder, result.job, result.code, reading.structure, reading.energy, reading)


def _row(result: Result) -> dict[str, Any]:
    reading, job, placed = result.reading, result.job, result.placed
    entry = job.entry if job else {}
    predicted = entry.get("predicted", {})
    usable = reading.status in USABLE
    structure = reading.structure if usable else None
    written = job.structure() if job else None
    moved = structure if written is not None and job is not None and job.task == "relax" else None
    energy = reading.energy / len(structure) if structure and reading.energy is not None else None
    return {
        "folder": str(result.folder),
        "candidate": entry.get("candidate"),
        "formula": entry.get("formula") or (structure.composition.reduced_formula if structure else None),
        "element": written.symbol_set[0] if written and "reference_height" in entry else None,
        "code": result.code.name,
        "functional": _functional(result, written),
        "settings": result.settings,
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
        "formation_energy_dft": placed.formation_energy if placed else None,
        "e_above_hull_dft": placed.e_above_hull if placed else None,
        "scale": placed.scale if placed else None,
        "energy_per_atom": energy,
        "volume_predicted": _volume(written),
        "volume_dft": _volume(moved),
        "rmsd": rmsd(written, moved) if written and moved else None,
        "max_force": reading.max_force if usable else None,
        "pressure": reading.pressure if usable else None,
        "moment": reading.moment if usable else None,
        "lowest_frequency": result.lowest_frequency,
        "notes": list(reading.notes),
    }


def _functional(result: Result, written: Structure | None) -> str | None:
    """As the output says, else the manifest; equal where gaps compare.

    +U where the Materials Project has it is part of its PBE.
    """
    reading, job = result.reading, result.job
    if job is None:
        return reading.functional
    stated = str(job.settings.get("functional", "")).replace(",", ";").partition(";")[0]
    functional = reading.functional or stated
    values = job.entry.get("hubbard_u", {}) if reading.hubbard_u is None else reading.hubbard_u
    lacks = written is not None and hubbard_u(written).keys() - values.keys()
    return (f"{functional} without U" if lacks else functional) or None


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


def _of_candidates(results: Sequence[Result], rows: Sequence[dict[str, Any]], out: Path) -> list[Found]:
    """All runs but those of single folders and of the elements that energies are counted from."""
    found = []
    for result, row in zip(results, rows, strict=True):
        if result.job is None or "reference_height" in result.job.entry:
            continue
        folder, home = result.folder.resolve(), out.resolve()
        place_ = folder.relative_to(home) if folder.is_relative_to(home) else folder
        entry = result.job.entry
        run = run_of(row | {"folder": str(place_)})
        relaxed = "relaxed_with" in entry["source"]
        found.append(
            Found(
                row["candidate"],
                row["formula"],
                result.job.structure(),
                relaxed,
                entry.get("predicted", {}),
                run,
            )
        )
    return found


def _write(collection: Collection, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = [row | {"notes": "; ".join(row["notes"])} for row in collection.rows]
    _write_table(rows, out / TABLE)
    with atomic_write(out / RECORD) as draft:
        text = json.dumps(collection.as_json(), indent=2, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
    if confronted := collection.confrontation.rows():
        _write_table(confronted, out / CONFRONTATION)
        collection.confrontation.draw(out / PICTURE)


def _write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['folder']}: {row['status']}"]
    if row["reason"]:
        parts.append(str(row["reason"]))
    if row["element"]:
        parts += [] if row["energy_per_atom"] is None else [f"{row['energy_per_atom']:.4f} eV/atom"]
        return ", ".join([*parts, *row["notes"]])
    if row["band_gap_dft"] is not None:
        asked = row["band_gap_predicted"]
        parts.append(
            f"gap {row['band_gap_dft']:.2f} eV" + ("" if asked is None else f" (predicted {asked:.2f})")
        )
    if row["e_above_hull_dft"] is not None:
        asked = row["e_above_hull_predicted"]
        parts.append(
            f"{row['e_above_hull_dft']:.3f} eV/atom above the hull"
            + ("" if asked is None else f" (predicted {asked:.3f})")
        )
    elif row["scale"] is not None:
        parts.append(f"no height above the hull: {row['scale'].partition(MORE)[0].rstrip('.')}")
    if row["volume_dft"] is not None:
        change = row["volume_dft"] / row["volume_predicted"] - 1
        parts.append(f"volume {change:+.1%}")
    if row["lowest_frequency"] is not None:
        parts.append(f"lowest frequency {row['lowest_frequency']:.2f} THz")
    return ", ".join([*parts, *row["notes"]])
