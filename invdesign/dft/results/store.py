"""Results of DFT in a campaign's store, beside what was predicted for the same candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.core.target import parse_target
from invdesign.crystal.matching import same_crystal
from invdesign.dft.results.merge import merged
from invdesign.io.lock import locked_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.core.candidate import Candidate
    from invdesign.core.target import Target
    from invdesign.dft.results.merge import Run


@dataclass(frozen=True, slots=True)
class Found:
    """One run of a collection, and whose it says that it is.

    Attributes:
        candidate: id in the manifest.
        formula: of the manifest.
        written: the crystal that was handed over; None where its manifest is too old to say.
        relaxed: whether that was already moved by DFT, so that it need not be the candidate's own any more.
        predicted: the manifest's figures.
        run: its record.
    """

    candidate: str
    formula: str
    written: Structure | None
    relaxed: bool
    predicted: Mapping[str, float]
    run: Run


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign's folder after its results were stored.

    Attributes:
        target: what it asked for.
        computed: all candidates that carry a result of DFT, those of earlier collections too.
        notes: which results did not belong to it.
    """

    target: Target
    computed: list[Candidate]
    notes: list[str]


def is_campaign(folder: Path) -> bool:
    """Whether a folder holds a campaign's store."""
    return (folder / DATABASE).is_file()


def hull_of(folder: Path) -> str:
    """The hull that a campaign measures heights on."""
    return str(Store(folder / DATABASE).identity.get("hull", "mp-hull"))


def store_results(folder: Path, found: Sequence[Found]) -> Campaign:
    """Put results into a campaign, in one transaction; the same results again change nothing.

    A run replaces what is stored of the same folder; those of other folders stay, and all are merged anew.

    Args:
        folder: the campaign's.
        found: every run; each must be of the candidate that it names.

    Raises:
        InputError: no campaign's store, or another run is at work in the folder.
    """
    with locked_folder(folder, DATABASE):
        store = Store(folder / DATABASE)
        candidates = {candidate.id: candidate for candidate in store.read()}
        own: dict[str, list[Run]] = {}
        notes = []
        for one in found:
            if (reason := _stranger(candidates.get(one.candidate), one)) is None:
                own.setdefault(one.candidate, []).append(one.run)
            elif reason not in notes:
                notes.append(reason)
        if given := store.identity.get("objects", {}).get("hull"):
            notes.append(f"The campaign's hull was an object ({given}): heights are above {hull_of(folder)}.")
        changed = []
        for name, runs in own.items():
            before = candidates[name].provenance.get("dft")
            if (result := _with_earlier(before, runs)) != before and result is not None:
                candidates[name].provenance["dft"] = result
                changed.append(candidates[name])
        if changed:
            store.put(changed, complete=store.complete)
        computed = [candidate for candidate in candidates.values() if "dft" in candidate.provenance]
        return Campaign(parse_target(store.identity["target"]), computed, notes)


def _stranger(candidate: Candidate | None, one: Found) -> str | None:
    """Why a result is not of this campaign, as a sentence."""
    whose = f"{one.candidate} ({one.formula})"
    if candidate is None:
        return f"{whose}: no candidate of this campaign, not stored"
    own = candidate.gene.formula
    other = own != one.formula or (
        not one.relaxed
        and one.written is not None
        and candidate.structure is not None
        and not same_crystal(candidate.structure, one.written)
    )
    return f"{whose}: in this campaign {one.candidate} is another {own}, not stored" if other else None


def _with_earlier(before: Mapping[str, Any] | None, runs: Sequence[Run]) -> dict[str, Any] | None:
    """The result with the runs that were stored before, of other folders."""
    now = {run["folder"] for run in runs}
    earlier = [run for run in (before or {}).get("runs", []) if run["folder"] not in now]
    return merged([*earlier, *runs])
