"""Candidates of a campaign in a later round: which can be selected, and gates on corrected estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.predict import properties_verdict
from invdesign.campaign.stages.relax import hull_verdict
from invdesign.campaign.stages.shortlist import UNLIKELY
from invdesign.core.candidate import Candidate, Estimate, RoundSelection
from invdesign.core.funnel import CHECKS, FINISHING, STAGES
from invdesign.core.properties import STABILITY, Window
from invdesign.filters.site_states import CONTRADICTION
from invdesign.verdict import Verdict

REAPPLIED = frozenset({"hull", "properties", "duplicates", FINISHING})
"""Gates whose verdict depends on estimates or on other candidates: applied again after a correction."""

CLIP = 5.0
"""Largest standardised feature: an outlier is not infinitely far from all other crystals."""


def is_selectable(candidate: Candidate) -> bool:
    """Whether it was sent to DFT, or is relaxed and rejected by nothing but estimates, duplicates or a check.

    A candidate that a check rejected is not selected, but its duplicates inherit the rejection.
    """
    if candidate.structure is None or "relaxation" not in candidate.verdicts:
        return False
    if _fell_in_finishing(candidate):
        return candidate.dft is not None
    rejecting = {gate for gate, verdict in candidate.verdicts.items() if not verdict.passed}
    return rejecting <= REAPPLIED | set(CHECKS) or candidate.dft is not None


def _fell_in_finishing(candidate: Candidate) -> bool:
    """Whether the finishing potential, in the campaign or a round, relaxed it not at all or to no states."""
    verdict = candidate.round_checks.get(FINISHING, candidate.verdicts.get(FINISHING))
    if verdict is None or verdict.passed or verdict.reason.startswith(UNLIKELY):
        return False
    return candidate.first_placement is None or verdict.reason.startswith(CONTRADICTION)


def not_yet_computed(relaxed: Sequence[Candidate]) -> list[int]:
    """Return the indices of candidates that were not sent to DFT and are no duplicates of those that were."""
    from invdesign.crystal.matching import unique_groups

    sent = [i for i, candidate in enumerate(relaxed) if candidate.dft]
    left = [i for i, candidate in enumerate(relaxed) if not candidate.dft]
    groups = unique_groups([relaxed[i].structure for i in (*sent, *left)])  # type: ignore[misc]
    taken = set(groups[: len(sent)])
    return [i for i, group in zip(left, groups[len(sent) :], strict=True) if group not in taken]


def embeddings(candidates: Sequence[Candidate]) -> np.ndarray:
    """Return CHGNet's embeddings of relaxed candidates (n, 64), standardised over them; 0 where it fails."""
    if not candidates:
        return np.zeros((0, 1))
    chgnet = Components(potential="chgnet").get("potential")
    return standardised(chgnet.evaluate_energies([c.structure for c in candidates]).embeddings.astype(float))


def standardised(features: np.ndarray) -> np.ndarray:
    """Standardise columns (n, d) and clip them at :data:`CLIP`; unknown values become the mean, 0."""
    std = np.maximum(np.nanstd(features, axis=0), 1e-6)
    units = (features - np.nanmean(features, axis=0)) / std
    return np.asarray(np.nan_to_num(units).clip(-CLIP, CLIP), dtype=float)


def with_estimates(candidate: Candidate, properties: dict[str, Estimate]) -> Candidate:
    """Copy a candidate with corrected estimates and without the verdicts of gates that are applied again.

    What a round's finishing found of its oxidation states takes the place of the campaign's verdict.
    """
    dropped, verdicts = REAPPLIED | set(CHECKS), candidate.verdicts | candidate.round_checks
    verdicts = {gate: verdict for gate, verdict in verdicts.items() if gate not in dropped}
    return replace(candidate, properties=properties, verdicts=verdicts, selection=None)


def checks_of(candidate: Candidate) -> dict[str, Verdict]:
    """Return the verdicts of checks, of the campaign and of rounds."""
    verdicts = candidate.verdicts | candidate.round_checks
    return {gate: verdict for gate, verdict in verdicts.items() if gate in CHECKS}


def reapply_gates(candidate: Candidate, config: CampaignConfig) -> bool:
    """Apply the gates hull and properties to corrected estimates; returns whether it passes both.

    They exclude no candidate from a round: those of most worth are selected first, and the verdicts show
    which of the selected lie outside the campaign's limits.
    """
    limit = config.target.e_above_hull_max
    probability = candidate.properties[STABILITY].probability(Window(-inf, limit))
    new = (hull_verdict(candidate, limit, probability), properties_verdict(candidate, config))
    verdicts = candidate.verdicts | {verdict.gate: verdict for verdict in new}
    candidate.verdicts = {gate: verdicts[gate] for gate in STAGES if gate in verdicts}
    return all(verdict.passed for verdict in new)


def record_round(
    candidates: Sequence[Candidate], selected: Sequence[Candidate], number: int
) -> list[Candidate]:
    """Record in a campaign's candidates what a round predicted for those that it selected.

    ``properties`` stay as the models predicted them; ``rounds`` gets the corrected estimates, replacing what
    an earlier selection of the same round left.

    Returns:
        The candidates that changed.
    """
    predicted = {candidate.id: _round_selection(candidate) for candidate in selected}
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
        prop: (_rounded(e.value), _rounded(e.low), _rounded(e.high))
        for prop, e in candidate.properties.items()
    }
    return RoundSelection(p_hit=_rounded(candidate.selection.p_hit), estimates=estimates)


def _rounded(value: float) -> float:
    """Round to six digits: the last digits of a float depend on the other crystals of a batch."""
    return float(f"{value:.6g}")
