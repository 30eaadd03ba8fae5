"""Results of DFT runs, matched with their candidates and compared with what was predicted for them."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.campaign.active_learning.correction import fit_corrections
from invdesign.core.dft_result import DftRun
from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.matching import rmsd
from invdesign.dft.codes.hubbard import hubbard_u
from invdesign.dft.codes.interface import Code, ParsedOutput
from invdesign.dft.codes.reading import USABLE, guarded
from invdesign.dft.codes.registry import CODES, get_code, recognize
from invdesign.dft.codes.trajectory import Trajectory
from invdesign.dft.manifest import MANIFEST, Job, read_manifest
from invdesign.dft.phonons import read_phonons
from invdesign.dft.read_job import read_job, stale_output
from invdesign.dft.results.calculation import Calculation
from invdesign.dft.results.comparison import PREDICTED, Comparison, compare_campaign, compare_records
from invdesign.dft.results.elements import element_energies, store_elements, with_stored
from invdesign.dft.results.formation_energies import MORE, DftPlacement, compute_placements
from invdesign.dft.results.store import PHONONS, RunRecord, hull_of, is_campaign, store_results
from invdesign.errors import InputError, no_such_file
from invdesign.io.atomic import atomic_write
from invdesign.stability.hull.hull import Hull

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

TABLE, RECORD = "dft.csv", "dft.json"
COMPARISON, PICTURE = "comparison.csv", "parity.png"


@dataclass(slots=True)
class Result:
    """One run.

    Attributes:
        folder: of the run.
        job: of the manifest; None for a single run.
        code: that computed it.
        output: parsed.
        lowest_frequency: of a phonon check, THz; negative where imaginary.
        settings: by which its energy compares; None without an energy.
        placement: on the hull; None without an energy.
    """

    folder: Path
    job: Job | None
    code: Code
    output: ParsedOutput
    lowest_frequency: float | None = None
    settings: str | None = None
    placement: DftPlacement | None = None

    @property
    def is_reference(self) -> bool:
        """Return whether it is an element that formation energies are counted from."""
        return self.job is not None and "reference_e_above_hull" in self.job.entry


@dataclass(frozen=True, slots=True)
class Collection:
    """Everything that a call of :func:`collect` read.

    Attributes:
        rows: one a run.
        comparison: of predictions with DFT.
        notes: folders that are not in a manifest, and results that are not of the campaign.
        learned: corrections of the campaign's models.
        stored: number of the campaign's candidates with results; None without a campaign.
    """

    rows: list[dict[str, Any]]
    comparison: Comparison
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
        """Return everything as plain values."""
        return {
            "format": 3,
            "runs": self.rows,
            "comparison": self.comparison.rows(),
            "summary": self.comparison.summary(),
            "sentences": self.comparison.sentences(),
            "notes": self.notes,
            "learned": self.learned,
            "stored": self.stored,
        }

    def lines(self) -> list[str]:
        """Return the text: a line a run, the number of runs by status, the conclusions."""
        counts = Counter(row["status"] for row in self.rows)
        count = ", ".join(f"{n} {status}" for status, n in counts.most_common())
        stored = (
            ""
            if self.stored is None
            else f"; {self.stored} candidate{'s' * (self.stored != 1)} of the campaign with results"
        )
        not_placed = [row["scale"] for row in self.rows if row["scale"] and row["e_above_hull_dft"] is None]
        advice = {text for _, _, text in (scale.partition(MORE) for scale in not_placed) if text}
        return [
            *(_line(row) for row in self.rows),
            *(f"For energies above hull: {text}" for text in sorted(advice)),
            *self.notes,
            f"{len(self.rows)} run{'s' * (len(self.rows) != 1)}: {count}{stored}.",
            *self.comparison.sentences(),
            *(f"Learned: {line}" for line in self.learned),
        ]


def collect(folders: Sequence[Path], out: Path) -> Collection:
    """Read DFT results and write the tables, as :func:`invdesign.dft.collect` says.

    Whatever cannot be used is named in its row (``status``, ``reason``), and the rest goes on.

    Raises:
        InputError: as there.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"out: {str(out)!r} is a file; give a folder.")
    campaign = out if is_campaign(out) else None
    folders = list({folder.resolve(): folder for folder in folders}.values())
    results = [result for folder in folders for result in _read(folder)]
    finished = [(result, one) for result in results if (one := _calculation(result)) is not None]
    elements = element_energies(one for _, one in finished)
    if campaign:
        elements = with_stored(campaign, elements, [result.folder for result in results])
    hull = Hull.load(hull_of(campaign) if campaign else "mp-hull")
    placements = compute_placements([one for _, one in finished], elements, hull)
    for (result, one), placement in zip(finished, placements, strict=True):
        result.settings, result.placement = one.settings, placement
    rows = [_row(result) for result in results]
    _note_repeats(rows, results)
    records = _records(results, rows, out)
    notes = [note for folder in folders for note in _unlisted(folder)]
    if campaign:
        store_elements(campaign, elements)
        stored = store_results(campaign, records)
        learned = fit_corrections(stored.computed).lines() if stored.computed else []
        comparison = compare_campaign(stored)
        collection = Collection(rows, comparison, notes + stored.notes, learned, len(stored.computed))
    else:
        collection = Collection(rows, compare_records(records), notes, [], None)
    _write(collection, out)
    return collection


def _read(folder: Path) -> list[Result]:
    if not folder.exists():
        raise no_such_file(folder, "folders that `invdesign dft write` made")
    if not folder.is_dir():
        raise InputError(f"folders: {str(folder)!r} is no folder; give those that `dft write` made.")
    if (folder / MANIFEST).is_file():
        return [_checked(job) for job in read_manifest(folder)]
    code, output = _single(folder)
    return [Result(folder, None, code, output)]


def _unlisted(folder: Path) -> list[str]:
    """Name the folders that the manifest does not list, which may be renamed ones with results."""
    if not (folder / MANIFEST).is_file():
        return []
    listed = {job.folder.name for job in read_manifest(folder)}
    others = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in listed)
    return [f"{folder / name}: not in the manifest, left alone" for name in others]


def _single(folder: Path) -> tuple[Code, ParsedOutput]:
    """Read a run without a manifest, of whichever code."""
    if code := recognize(folder):
        return code, guarded(code.read)(folder)
    trajectory = Trajectory()
    if trajectory.recognizes(folder):
        return trajectory, guarded(trajectory.read)(folder)
    files = [get_code(name).output_files for name in CODES.names()]
    raise InputError(
        f"folders: {str(folder)!r} has no {MANIFEST}, {', '.join(filter(None, files))} or "
        f"{trajectory.output_files}; give folders of runs."
    )


def _checked(job: Job) -> Result:
    """Read a job's result, if it is that candidate's."""
    code = get_code(job.code)
    if job.task != PHONONS:
        return Result(job.folder, job, code, read_job(job))
    if stale := stale_output(job):
        return Result(job.folder, job, code, stale)
    found = read_phonons(job)
    output = ParsedOutput(found.status, found.reason, notes=found.notes)
    return Result(job.folder, job, code, output, found.lowest)


def _calculation(result: Result) -> Calculation | None:
    output = result.output
    if output.status != "done" or output.structure is None or output.energy is None:
        return None
    return Calculation(result.folder, result.job, result.code, output.structure, output.energy, output)


def _row(result: Result) -> dict[str, Any]:
    output, job, placement = result.output, result.job, result.placement
    entry = job.entry if job else {}
    predicted = entry.get("predicted", {})
    usable = output.status in USABLE
    structure = output.structure if usable else None
    written = job.structure() if job else None
    relaxed = structure if job is not None and job.task == "relax" else None
    energy = output.energy / len(structure) if structure and output.energy is not None else None
    return {
        "folder": str(result.folder),
        "candidate": entry.get("candidate"),
        "formula": entry.get("formula") or (formula_of(structure.composition) if structure else None),
        "element": written.symbol_set[0] if written and result.is_reference else None,
        "code": result.code.name,
        "functional": _functional(result, written),
        "settings": result.settings,
        "task": job.task if job else None,
        "status": output.status,
        "reason": output.reason,
        **{
            f"{name}_predicted{end}": predicted.get(f"{name}{end}")
            for name in PREDICTED
            for end in ("", "_low", "_high")
        },
        "band_gap_dft": output.band_gap if usable else None,
        "gap_is_direct": output.direct if usable else None,
        "formation_energy_dft": placement.formation_energy if placement else None,
        "e_above_hull_dft": placement.e_above_hull if placement else None,
        "scale": placement.scale if placement else None,
        "energy_per_atom": energy,
        "volume_predicted": _volume(written),
        "volume_dft": _volume(relaxed),
        "rmsd": rmsd(written, relaxed) if written and relaxed else None,
        "max_force": output.max_force if usable else None,
        "pressure": output.pressure if usable else None,
        "moment": output.moment if usable else None,
        "lowest_frequency": result.lowest_frequency,
        "notes": list(output.notes),
    }


def _functional(result: Result, written: Structure | None) -> str | None:
    """Return the functional of the output, else of the manifest; equal where gaps compare.

    +U where the Materials Project has it is part of its PBE.
    """
    output, job = result.output, result.job
    if job is None:
        return output.functional
    stated = str(job.settings.get("functional", "")).replace(",", ";").partition(";")[0]
    functional = output.functional or stated
    values = job.entry.get("hubbard_u", {}) if output.hubbard_u is None else output.hubbard_u
    lacks = written is not None and hubbard_u(written).keys() - values.keys()
    return (f"{functional} without U" if lacks else functional) or None


def _volume(structure: Structure | None) -> float | None:
    """Return the volume in Å³ per atom."""
    return structure.volume / len(structure) if structure else None


def _note_repeats(rows: Sequence[dict[str, Any]], results: Sequence[Result]) -> None:
    """Note at each run the others of its candidate with the same code and task."""
    runs = defaultdict(list)
    for row, result in zip(rows, results, strict=True):
        if job := result.job:
            crystal = job.entry["source"].get("sha256", job.entry["source"]["path"])
            runs[job.entry["candidate"], crystal, job.code, job.task].append(row)
    for repeats in runs.values():
        for row in repeats:
            if others := [other["folder"] for other in repeats if other is not row]:
                row["notes"].append(f"computed again in {', '.join(others)}")


def _records(results: Sequence[Result], rows: Sequence[dict[str, Any]], out: Path) -> list[RunRecord]:
    """Return all runs of candidates: no single ones, no reference elements."""
    records = []
    for result, row in zip(results, rows, strict=True):
        job = result.job
        if job is None or result.is_reference:
            continue
        folder, root = result.folder.resolve(), out.resolve()
        run = DftRun(
            folder=str(folder.relative_to(root) if folder.is_relative_to(root) else folder),
            code=job.code,
            task=job.task,
            status=row["status"],
            functional=row["functional"],
            settings=row["settings"],
            reason=row["reason"],
            band_gap=row["band_gap_dft"],
            direct=row["gap_is_direct"],
            energy_per_atom=row["energy_per_atom"],
            formation_energy_per_atom=row["formation_energy_dft"],
            e_above_hull=row["e_above_hull_dft"],
            scale=row["scale"],
            volume_per_atom=row["volume_dft"],
            rmsd=row["rmsd"],
            lowest_frequency=row["lowest_frequency"],
        )
        records.append(
            RunRecord(
                row["candidate"],
                row["formula"],
                job.structure(),
                "relaxed_with" in job.entry["source"],
                job.entry.get("predicted", {}),
                job.distributions(),
                run,
            )
        )
    return records


def _write(collection: Collection, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = [row | {"notes": "; ".join(row["notes"])} for row in collection.rows]
    _write_table(rows, out / TABLE)
    with atomic_write(out / RECORD) as draft:
        text = json.dumps(collection.as_json(), indent=2, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
    if compared := collection.comparison.rows():
        _write_table(compared, out / COMPARISON)
        collection.comparison.draw(out / PICTURE)


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
        predicted = row["band_gap_predicted"]
        parts.append(
            f"gap {row['band_gap_dft']:.2f} eV"
            + ("" if predicted is None else f" (predicted {predicted:.2f})")
        )
    if row["e_above_hull_dft"] is not None:
        predicted = row["e_above_hull_predicted"]
        parts.append(
            f"{row['e_above_hull_dft']:.3f} eV/atom above the hull"
            + ("" if predicted is None else f" (predicted {predicted:.3f})")
        )
    elif row["scale"] is not None:
        parts.append(f"no energy above hull: {row['scale'].partition(MORE)[0].rstrip('.')}")
    if row["volume_dft"] is not None:
        change = row["volume_dft"] / row["volume_predicted"] - 1
        parts.append(f"volume {change:+.1%}")
    if row["lowest_frequency"] is not None:
        parts.append(f"lowest frequency {row['lowest_frequency']:.2f} THz")
    return ", ".join([*parts, *row["notes"]])
