"""Whose predictions meet which results: a campaign's candidates, or those of manifests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invdesign.crystal.matching import same_crystal
from invdesign.dft.results.comparison import (
    PREDICTED,
    SHIFT,
    VOLUME,
    Confrontation,
    compare,
    compare_interval,
    judge,
)
from invdesign.dft.results.merge import merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invdesign.core.candidate import Candidate
    from invdesign.dft.results.comparison import Compared
    from invdesign.dft.results.store import Campaign, Found


def confront_campaign(campaign: Campaign) -> Confrontation:
    """All of a campaign's candidates that carry results, with the distributions that were predicted."""
    computed = [one for one in campaign.computed if "failed" not in one.provenance["dft"]]
    compared = [row for one in computed for row in _of_candidate(one, one.provenance["dft"])]
    judged = [judge(one, one.provenance["dft"], campaign.target) for one in computed]
    return Confrontation(compared, judged)


def confront(found: Sequence[Found]) -> Confrontation:
    """Candidates of manifests, with the intervals that these hold; hits are a campaign's to judge."""
    compared: list[Compared] = []
    for group in _by_crystal(found):
        result = merged([one.run for one in group])
        if result is None or "failed" in result:
            continue
        name, formula, said = group[0].candidate, group[0].formula, group[0].predicted
        for prop in PREDICTED:
            if prop in said and prop in result:
                interval = (said[prop], said.get(f"{prop}_low"), said.get(f"{prop}_high"))
                compared.append(compare_interval(name, formula, prop, interval, result[prop]))
        written = next((one.written for one in group if not one.relaxed), None)
        if written is not None:
            compared += _geometry(name, formula, written.volume / len(written), result)
    return Confrontation(compared, [])


def _by_crystal(found: Sequence[Found]) -> list[list[Found]]:
    """The runs of each candidate; the same id of another campaign is another candidate."""
    groups: list[list[Found]] = []
    for one in found:
        own = next((group for group in groups if _same(group, one)), None)
        if own is None:
            groups.append([one])
        else:
            own.append(one)
    return groups


def _same(group: Sequence[Found], one: Found) -> bool:
    first = group[0]
    if (first.candidate, first.formula, first.predicted) != (one.candidate, one.formula, one.predicted):
        return False
    crystals = [other.written for other in (*group, one) if other.written is not None and not other.relaxed]
    return one.relaxed or one.written is None or same_crystal(crystals[0], one.written)


def _of_candidate(candidate: Candidate, result: Mapping[str, Any]) -> list[Compared]:
    formula = candidate.gene.formula
    compared = [
        compare(candidate.id, formula, prop, candidate.properties[prop], result[prop])
        for prop in PREDICTED
        if prop in candidate.properties and prop in result
    ]
    if candidate.structure is None:
        return compared
    volume = candidate.structure.volume / len(candidate.structure)
    return compared + _geometry(candidate.id, formula, volume, result)


def _geometry(name: str, formula: str, volume: float, result: Mapping[str, Any]) -> list[Compared]:
    """Predicted volume against the relaxed one; the RMSD is the error of the predicted positions."""
    said = {VOLUME: volume, SHIFT: 0.0}
    return [
        compare_interval(name, formula, prop, (said[prop], None, None), result[prop])
        for prop in (VOLUME, SHIFT)
        if prop in result
    ]
