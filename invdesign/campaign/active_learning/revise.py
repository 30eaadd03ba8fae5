"""Who may be chosen in a later round, and a campaign's candidates with corrected estimates, judged anew."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from invdesign.campaign.components import Components
from invdesign.campaign.stages.predict import properties_verdict
from invdesign.campaign.stages.relax import hull_verdict
from invdesign.core.candidate import RoundSelection
from invdesign.core.funnel import CHECKS, STAGES
from invdesign.core.properties import STABILITY
from invdesign.core.target import Window
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invdesign.campaign.config import CampaignConfig
    from invdesign.core.candidate import Candidate, Estimate

REVISED = frozenset({"hull", "properties", "duplicates"})
"""Gates whose verdict hangs on estimates, or on who else passed: corrected estimates are judged anew."""

CLIP = 5.0  # standard deviations; one odd crystal is not unlike all others by more


def in_question(candidate: Candidate) -> bool:
    """Whether it was sent to DFT, or is relaxed and only estimates, likes or a check speak against it.

    What a check rejected is not chosen, yet its twins are told by it.
    """
    if candidate.structure is None or "relaxation" not in candidate.verdicts:
        return False
    refused = {gate for gate, verdict in candidate.verdicts.items() if not verdict.passed}
    return refused <= REVISED | set(CHECKS) or candidate.dft is not None


def uncomputed(relaxed: Sequence[Candidate]) -> list[int]:
    """Indices of what was not sent to DFT yet and is no twin of what was."""
    from invdesign.crystal.matching import unique_groups

    sent = [i for i, candidate in enumerate(relaxed) if candidate.dft]
    left = [i for i, candidate in enumerate(relaxed) if not candidate.dft]
    groups = unique_groups([relaxed[i].structure for i in (*sent, *left)])  # type: ignore[misc]
    taken = set(groups[: len(sent)])
    return [i for i, group in zip(left, groups[len(sent) :], strict=True) if group not in taken]


def embeddings(candidates: Sequence[Candidate]) -> np.ndarray:
    """CHGNet's embeddings of relaxed candidates (n, 64), standardised over them; 0 where it fails."""
    if not candidates:
        return np.zeros((0, 1))
    chgnet = Components(potential="chgnet").get("potential")
    return standardised(chgnet.evaluate_energies([c.structure for c in candidates]).embeddings.astype(float))


def standardised(features: np.ndarray) -> np.ndarray:
    """Columns (n, d) in units of their spread, at most :data:`CLIP`; unknown ones in the middle."""
    spread = np.maximum(np.nanstd(features, axis=0), 1e-6)
    units = (features - np.nanmean(features, axis=0)) / spread
    return np.asarray(np.nan_to_num(units).clip(-CLIP, CLIP), dtype=float)


def revised(candidate: Candidate, properties: dict[str, Estimate]) -> Candidate:
    """A copy with corrected estimates and without the verdicts that are to be given anew."""
    dropped = REVISED | set(CHECKS)
    verdicts = {gate: verdict for gate, verdict in candidate.verdicts.items() if gate not in dropped}
    return replace(candidate, properties=properties, verdicts=verdicts, selection=None)


def checks_of(candidate: Candidate) -> dict[str, Verdict]:
    """What checks have found of it, in the campaign or in a round."""
    of_campaign = {gate: verdict for gate, verdict in candidate.verdicts.items() if gate in CHECKS}
    return of_campaign | candidate.round_checks


def remember_checks(candidate: Candidate, verdicts: Mapping[str, Verdict]) -> None:
    """Keep what a round's checks found; not among the verdicts, which are the campaign's funnel."""
    candidate.round_checks = {gate: verdicts[gate] for gate in CHECKS if gate in verdicts}


def judge_anew(candidate: Candidate, config: CampaignConfig) -> bool:
    """Give it the verdicts of hull and properties by its corrected estimates; whether it passes both.

    They exclude nobody: who is likelier a hit is chosen first, and these say who only fills a place.
    """
    limit = config.target.e_above_hull_max
    sure = candidate.properties[STABILITY].probability(Window(-inf, limit))
    new = (hull_verdict(candidate, limit, sure), properties_verdict(candidate, config))
    verdicts = candidate.verdicts | {verdict.gate: verdict for verdict in new}
    candidate.verdicts = {gate: verdicts[gate] for gate in STAGES if gate in verdicts}
    return all(verdict.passed for verdict in new)


def remember_round(
    candidates: Sequence[Candidate], chosen: Sequence[Candidate], number: int
) -> list[Candidate]:
    """Write into a campaign's candidates what a round says of those that it chose.

    They keep the models' own estimates as ``properties``; ``rounds`` gets, by the round's number,
    its ``p_hit`` and of each property the corrected value and the ends of its 90 % interval.

    Returns:
        Those that changed: also what an earlier choice of the same round left behind is removed.
    """
    predicted = {candidate.id: _round_selection(candidate) for candidate in chosen}
    changed = []
    for candidate in candidates:
        after = {key: selection for key, selection in candidate.rounds.items() if key != number}
        if candidate.id in predicted:
            after[number] = predicted[candidate.id]
        if after != candidate.rounds:
            candidate.rounds = after
            changed.append(candidate)
    return changed


def _round_selection(candidate: Candidate) -> RoundSelection:
    assert candidate.selection is not None  # noqa: S101 - selected
    estimates = {
        prop: (_plain(e.value), _plain(e.low), _plain(e.high)) for prop, e in candidate.properties.items()
    }
    return RoundSelection(p_hit=_plain(candidate.selection.p_hit), estimates=estimates)


def _plain(figure: float) -> float:
    """Six digits: a batch of other crystals may move the last of a float."""
    return float(f"{figure:.6g}")
