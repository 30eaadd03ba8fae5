"""Results in a campaign's store: each candidate's runs merged, each value from its best task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.composition.formula import composition_key
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.dft_result import DftResult, DftRun
from invdesign.core.target import Target, parse_target
from invdesign.crystal.matching import same_crystal
from invdesign.dft.codes.registry import CODES, get_code
from invdesign.io.lock import locked_folder

if TYPE_CHECKING:
    from pymatgen.core import Structure

ENERGY_TASKS = ("relax", "static", "gap")  # in the order in which a value is taken from them
GAP_TASKS = ("gap", "static", "relax")  # along the path; on the denser grid
PHONONS = "phonon-check"
FAILED = frozenset({"failed", "not converged"})
OF_ENERGY = ("energy_per_atom", "formation_energy_per_atom", "e_above_hull", "scale")  # of one run
OF_GAP = ("band_gap", "direct")
OF_CELL = ("volume_per_atom", "rmsd")
OF_PHONONS = ("lowest_frequency",)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a collection, and the candidate that its manifest names.

    Attributes:
        candidate: id in the manifest.
        formula: of the manifest.
        written: the crystal that was written.
        relaxed: whether DFT had relaxed it before, so that it may differ from the candidate's.
        predicted: values and interval ends of the manifest.
        distributions: predicted, of the manifest.
        run: what is stored.
    """

    candidate: str
    formula: str
    written: Structure
    relaxed: bool
    predicted: Mapping[str, float]
    distributions: Mapping[str, Estimate]
    run: DftRun


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign's folder after its results were stored.

    Attributes:
        target: of the campaign.
        computed: all candidates with a DFT result, those of earlier collections included.
        notes: which results were not stored.
    """

    target: Target
    computed: list[Candidate]
    notes: list[str]


def is_campaign(folder: Path) -> bool:
    """Return whether a folder holds a campaign's store."""
    return (folder / DATABASE).is_file()


def hull_of(folder: Path) -> str:
    """Return the name of the hull that a campaign uses."""
    return str(Store(folder / DATABASE).identity.get("hull", "mp-hull"))


def store_results(folder: Path, records: Sequence[RunRecord]) -> Campaign:
    """Store results in a campaign, in one transaction; the same results again change nothing.

    A run replaces what is stored of the same folder; those of other folders stay, and all are merged again.

    Args:
        folder: the campaign's.
        records: every run; each must be of the candidate that it names.

    Raises:
        InputError: no campaign's store, or another process works in the folder.
    """
    with locked_folder(folder, DATABASE):
        store = Store(folder / DATABASE)
        candidates = {candidate.id: candidate for candidate in store.read()}
        runs: dict[str, list[DftRun]] = defaultdict(list)
        notes: dict[str, None] = {}
        for record in records:
            if reason := _mismatch(candidates.get(record.candidate), record):
                notes[reason] = None
            else:
                runs[record.candidate].append(record.run)
        if given := store.identity.get("objects", {}).get("hull"):
            notes[f"The campaign's hull was an object ({given}); energies are above {hull_of(folder)}."] = (
                None
            )
        changed = []
        for name, now in runs.items():
            candidate = candidates[name]
            folders = {run.folder for run in now}
            earlier = [
                run for run in (candidate.dft.runs if candidate.dft else ()) if run.folder not in folders
            ]
            result = merge_runs([*earlier, *now])
            if result is not None and result != candidate.dft:
                candidate.dft = result
                changed.append(candidate)
        if changed:
            store.put(changed, complete=store.complete)
        computed = [candidate for candidate in candidates.values() if candidate.dft]
        return Campaign(parse_target(store.identity["target"]), computed, list(notes))


def _mismatch(candidate: Candidate | None, record: RunRecord) -> str | None:
    """Return why a result is not of this campaign, as a sentence."""
    label = f"{record.candidate} ({record.formula})"
    if candidate is None:
        return f"{label}: no candidate of this campaign, not stored"
    formula = candidate.gene.formula
    differs = composition_key(formula) != composition_key(record.formula) or (
        not record.relaxed
        and candidate.structure is not None
        and not same_crystal(candidate.structure, record.written)
    )
    return (
        f"{label}: in this campaign {record.candidate} is another {formula}, not stored" if differs else None
    )


def merge_runs(runs: Sequence[DftRun]) -> DftResult | None:
    """Merge a candidate's runs into one result; None where none has ended.

    Runs that compare, of one code with one functional and the same settings, are a group, and one group
    counts (:func:`_group_rank`); energy, energy above hull and scale come from one of its runs. The lowest
    frequency compares with no energy: any phonon check will do, those of the same code first.

    Args:
        runs: all of the candidate, in any order.
    """
    runs = sorted(runs, key=lambda run: (run.code, run.task, run.folder))
    done = [run for run in runs if run.status == "done"]
    if not done:
        if not runs or any(run.status not in FAILED for run in runs):
            return None
        failed = "; ".join(f"{run.folder}: {run.reason}" for run in runs)
        return DftResult(failed=failed, runs=tuple(runs))
    checks = [run for run in done if run.task == PHONONS]
    groups: dict[tuple[str, str | None, str | None], list[DftRun]] = defaultdict(list)
    for run in done:
        if run.task != PHONONS:
            groups[run.code, run.functional, run.settings].append(run)
    group = min(groups.values(), key=_group_rank) if groups else checks
    group = sorted(group, key=lambda run: run.energy_per_atom or 0.0)
    checks = [run for run in checks if run.code == group[0].code] or checks[:1]
    best = (
        _first(group, "e_above_hull", ENERGY_TASKS)
        or _first(group, "energy_per_atom", ENERGY_TASKS)
        or group[0]
    )
    counted = [*group, *(run for run in checks if run not in group)]
    sources = {
        OF_GAP: _first(group, "band_gap", GAP_TASKS),
        OF_ENERGY: best,
        OF_CELL: _first(group, "volume_per_atom", ("relax",)),
        OF_PHONONS: _first(checks, "lowest_frequency", (PHONONS,)),
    }
    values: dict[str, Any] = {
        name: getattr(run, name) for names, run in sources.items() if run for name in names
    }
    return DftResult(
        code=best.code,
        functional=best.functional,
        folder=best.folder,
        tasks=tuple(sorted({run.task for run in counted})),
        notes=tuple(_notes(runs, counted)),
        runs=tuple(runs),
        **values,
    )


def _group_rank(group: Sequence[DftRun]) -> tuple[bool, bool, bool, bool, int, str, str]:
    """Prefer an energy above hull, PBE (as the predictions), no second opinion, a relaxed cell."""
    first = group[0]
    tasks = {run.task for run in group}
    return (
        all(run.e_above_hull is None for run in group),
        first.functional != "PBE",
        first.code in CODES.names() and get_code(first.code).second_opinion,  # a plug-in may be gone
        "relax" not in tasks,
        -len(tasks),
        first.code,
        first.folder,
    )


def _first(runs: Sequence[DftRun], name: str, tasks: Sequence[str]) -> DftRun | None:
    """Return the run that a value is taken from."""
    found = (run for task in tasks for run in runs if run.task == task and getattr(run, name) is not None)
    return next(found, None)


def _notes(runs: Sequence[DftRun], counted: Sequence[DftRun]) -> list[str]:
    """Name runs of other groups, of a task that was computed twice, and without a result."""
    notes = []
    seen: dict[str, DftRun] = {}
    for run in counted:
        first = seen.setdefault(run.task, run)
        if first is not run:
            notes.append(f"{run.task} twice: {first.folder} counts, not {run.folder}")
    for run in runs:
        if run.status != "done":
            notes.append(f"{run.folder}: {run.status}")
        elif run not in counted:
            gap = "" if run.band_gap is None else f", gap {run.band_gap:.2f} eV"
            notes.append(f"also by {_difference(run, counted[0])} in {run.folder}{gap}")
    return notes


def _difference(run: DftRun, counted: DftRun) -> str:
    """Name a run by what distinguishes it from the one that counts."""
    if run.code != counted.code:
        return run.code
    if run.functional != counted.functional:
        return f"{run.code} with {run.functional}"
    return f"{run.code} at other settings"
