"""Results of DFT in a campaign's store, beside what was predicted for the same candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invdesign.campaign.folder import held
from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.crystal.identity import same_crystal
from invdesign.dft.results.merging import merged
from invdesign.targets import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.candidate import Candidate
    from invdesign.dft.results.merging import Run
    from invdesign.targets import Target


@dataclass(frozen=True, slots=True)
class Found:
    """The runs of one candidate of a collection.

    Attributes:
        formula: of the manifest.
        written: the crystal that was handed over, if its file is still as it was written.
        relaxed: whether that was already moved by DFT, so that it need not be the candidate's own any more.
        runs: records of its runs.
    """

    formula: str
    written: Structure | None
    relaxed: bool
    runs: Sequence[Run]


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


def store_results(folder: Path, found: Mapping[str, Found]) -> Campaign:
    """Put results into a campaign, in one transaction; the same results again change nothing.

    A run replaces what is stored of the same folder; those of other folders stay, and all are merged anew.

    Args:
        folder: the campaign's.
        found: by candidate id.

    Raises:
        InputError: no campaign's store, or another run is at work in the folder.
    """
    with held(folder, DATABASE):
        store = Store(folder / DATABASE)
        candidates = {candidate.id: candidate for candidate in store.read()}
        changed, notes = [], []
        for name, one in found.items():
            if (reason := _stranger(candidates.get(name), name, one)) is not None:
                notes.append(reason)
                continue
            candidate = candidates[name]
            before = candidate.provenance.get("dft")
            if (result := _with_earlier(before, one.runs)) != before and result is not None:
                candidate.provenance["dft"] = result
                changed.append(candidate)
        if changed:
            store.put(changed, complete=store.complete)
        computed = [candidate for candidate in candidates.values() if "dft" in candidate.provenance]
        return Campaign(parse_target(store.identity["target"]), computed, notes)


def _stranger(candidate: Candidate | None, name: str, one: Found) -> str | None:
    """Why a result is not of this campaign, as a sentence."""
    if candidate is None:
        return f"{name} ({one.formula}): no candidate of this campaign, not stored"
    own = candidate.gene.formula
    other = own != one.formula or (
        not one.relaxed
        and one.written is not None
        and candidate.structure is not None
        and not same_crystal(candidate.structure, one.written)
    )
    return f"{name} ({one.formula}): in this campaign {name} is another {own}, not stored" if other else None


def _with_earlier(before: Mapping[str, Any] | None, runs: Sequence[Run]) -> dict[str, Any] | None:
    """The result with the runs that were stored before, of other folders."""
    now = {run["folder"] for run in runs}
    earlier = [run for run in (before or {}).get("runs", []) if run["folder"] not in now]
    return merged([*earlier, *runs])
