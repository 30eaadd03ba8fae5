"""The last step of a campaign: remove duplicates, rank the survivors and select the shortlist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.ideas import leaders, members
from invdesign.campaign.progress import Clock
from invdesign.campaign.ranking import goal_probabilities, hit_probability, pareto_ranks, shortlist, worth
from invdesign.campaign.session import Session
from invdesign.campaign.stages.gates import Context, GateFunction, apply_gates
from invdesign.campaign.store import Store
from invdesign.core.candidate import Candidate, Selection
from invdesign.core.funnel import CHECKS, FINISHING
from invdesign.core.properties import PBE_GAP
from invdesign.core.target import Target
from invdesign.crystal.dimensionality import dimensionality
from invdesign.filters.novelty import Novelty, novelty_wanted
from invdesign.verdict import Verdict

UNLIKELY = "not among the"
ALIKE = f"{UNLIKELY} likeliest: another hit of the same idea is likelier"
PER_PLACE, LEAST_FINISHED = 3, 40  # candidates finished for each place of the shortlist; at least
RELAXED_INTO = {
    Novelty.KNOWN: "a known material",
    Novelty.COMPOSITION_KNOWN: "a crystal of known composition",
    Novelty.NEW: "a new crystal",
    Novelty.NEW_STRUCTURE: "a new structure",
}
ANOTHER_STRUCTURE = "another structure of a known compound"
CLEARLY = 0.9
"""Probability to lie below the hull from which a structure of a known composition is clearly new."""
Pick = Callable[[Sequence[Candidate], Target, int], list[Candidate]]


def deduplicate(config: CampaignConfig, components: Components, candidates: Sequence[Candidate]) -> Clock:
    """Find duplicates among relaxed candidates, and give the others what they are ranked by.

    That is: probability of a hit, front among several goals, score of synthesizability.

    Args:
        config: the campaign.
        components: what it is made of.
        candidates: all that passed the structure phase, in order of id.
    """
    clock = Clock()
    apply_gates(GATE_FUNCTIONS, candidates, Context(config, components), clock)
    with clock.stage("shortlist"):
        score([candidate for candidate in candidates if candidate.alive], config, components)
    return clock


def distinct(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Reject relaxed candidates that are known, no longer in the target, or duplicates of another."""
    known = context.components.get("known")
    for candidate in candidates:
        candidate.record(_still_wanted(candidate, context.config, known))
    reject_duplicates(unrejected(candidates))
    return [candidate.verdicts["duplicates"] for candidate in candidates]


def picked(
    config: CampaignConfig, candidates: Sequence[Candidate], pick: Pick = shortlist
) -> list[Candidate]:
    """Select a shortlist of one candidate per idea, in order of worth."""
    return pick(leaders(candidates, config), config.target, config.n_shortlist)


def put_on_shortlist(
    config: CampaignConfig, components: Components, chosen: Sequence[Candidate], pool: Sequence[Candidate]
) -> Clock:
    """Give the selected candidates their rank, from 1, the other members of their idea, an explanation.

    Args:
        config: the campaign.
        components: what it is made of.
        chosen: in order of worth.
        pool: what passed the structure phase.
    """
    clock = Clock()
    with clock.stage("shortlist"):
        others = members(chosen, [candidate for candidate in pool if _could_be_listed(candidate)], config)
        for rank, (candidate, names) in enumerate(zip(chosen, others, strict=True), start=1):
            assert candidate.selection is not None  # noqa: S101 - scored
            candidate.selection = replace(candidate.selection, rank=rank, members=names)
        _explain(chosen, config, components)
    return clock


def n_finished(config: CampaignConfig) -> int:
    """Return how many of the likeliest hits are finished."""
    return max(PER_PLACE * config.n_shortlist, LEAST_FINISHED)


def reject_unlikely(candidates: Sequence[Candidate], config: CampaignConfig) -> None:
    """Reject all but those that would be on a shortlist of three times the length, of one idea each."""
    n = n_finished(config)
    leading = leaders(candidates, config)
    led = {candidate.id for candidate in leading}
    kept = {candidate.id for candidate in shortlist(leading, config.target, n)}
    for candidate in candidates:
        if candidate.id not in kept:
            reason = f"{UNLIKELY} {n} likeliest hits, which are finished" if candidate.id in led else ALIKE
            candidate.record(Verdict(FINISHING, passed=False, reason=reason))


def distinct_survivors(session: Session) -> list[Candidate]:
    """Remove duplicates among what passed the structure phase, and store what is left to be ranked.

    With a finishing potential, what is no likely hit is rejected at once: nobody finishes it.

    Returns:
        All that passed the structure phase, in order of id, as stored.
    """
    config, components, store = session.config, session.components, session.store
    survivors = _came_through(store)
    if not any("duplicates" in candidate.verdicts for candidate in survivors):
        clock = deduplicate(config, components, survivors)
        if components.finisher is not None:
            reject_unlikely([candidate for candidate in survivors if candidate.alive], config)
        store.put(survivors, clock)
        session.live.funnel.charge(clock.seconds)
    session.live.count(survivors, ("duplicates",))
    return _came_through(store)


def unrejected(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return those that no gate but a check has rejected."""
    return [c for c in candidates if all(v.passed for gate, v in c.verdicts.items() if gate not in CHECKS)]


def _could_be_listed(candidate: Candidate) -> bool:
    """Whether nothing but the number of those that are finished speaks against a candidate."""
    rejections = [verdict.reason for verdict in candidate.verdicts.values() if not verdict.passed]
    return candidate.selection is not None and all(reason.startswith(UNLIKELY) for reason in rejections)


def _came_through(store: Store) -> list[Candidate]:
    """All that passed the gates before, in order of id, also those that a later gate has rejected since."""
    return [c for c in store.read() if "properties" in c.verdicts and c.verdicts["properties"].passed]


def score(alive: Sequence[Candidate], config: CampaignConfig, components: Components) -> None:
    """Give candidates what they are ranked by."""
    if not alive:
        return
    goals = [goal_probabilities(candidate.properties, config.target) for candidate in alive]
    fronts = pareto_ranks(np.array([list(row.values()) for row in goals])) if config.target.windows else None
    scores = components.get("synthesizability").score([candidate.gene for candidate in alive])
    for i, candidate in enumerate(alive):
        candidate.selection = Selection(
            p_hit=hit_probability(candidate.properties, config.target),
            worth=worth(candidate, config.target),
            synthesizability=float(scores[i]),
            pareto_rank=None if fronts is None else int(fronts[i]),
            dimensionality=dimensionality(candidate.structure),  # type: ignore[arg-type]
        )


def _explain(chosen: Sequence[Candidate], config: CampaignConfig, components: Components) -> None:
    """Explain the first property of the target that a model of structures predicts, else the PBE gap."""
    from invdesign.predictors.explain.explainer import Explainer
    from invdesign.predictors.property_predictor import PropertyPredictor

    for prop in (*config.target.windows, PBE_GAP) if chosen else ():
        predictor = components.predictor(prop) if prop in (components.predictors or {}) else None
        if isinstance(predictor, PropertyPredictor) and predictor.sees == "structure":
            break
    else:
        return
    phrases = Explainer(predictor, components.get("neighbors")).why([c.structure for c in chosen])  # type: ignore[misc]
    for candidate, phrase in zip(chosen, phrases, strict=True):
        assert candidate.selection is not None  # noqa: S101 - scored
        candidate.selection = replace(candidate.selection, why=phrase)


def _still_wanted(candidate: Candidate, config: CampaignConfig, known: Any) -> Verdict:  # noqa: ANN401
    """Whether the relaxed structure is still what the campaign asks for."""
    novelty: Verdict = known.novelty(candidate.gene, candidate.structure)
    candidate.verdicts["novelty"] = novelty
    if not novelty_wanted(novelty, config.novelty, named=config.names_formulas):
        into = RELAXED_INTO[Novelty(int(novelty.value or 0))]
        return Verdict("duplicates", passed=False, reason=f"relaxed into {into}: {novelty.reason}")
    if novelty.value == Novelty.NEW_STRUCTURE and config.only_clearly_new:
        place = candidate.placement
        assert place is not None  # noqa: S101 - it passed the hull
        likely = place.probability_below(0.0)
        if not place.composition_known or likely < CLEARLY:
            how = f"{likely:.0%} likely to be" if place.composition_known else "which is not known to be"
            reason = f"{ANOTHER_STRUCTURE}, {how} more stable: {novelty.reason}"
            return Verdict("duplicates", passed=False, reason=reason)
    if objection := config.target.connectivity_objection(dimensionality(candidate.structure)):  # type: ignore[arg-type]
        return Verdict("duplicates", passed=False, reason=f"relaxed out of the target: {objection}")
    allowed = config.target.allows(candidate.gene)
    if not allowed.passed:
        return Verdict("duplicates", passed=False, reason=f"relaxed out of the target: {allowed.reason}")
    return Verdict("duplicates", passed=True, reason="unlike every other candidate")


def reject_duplicates(candidates: Sequence[Candidate]) -> None:
    """Of relaxed structures that match, keep the lowest in energy (then in id)."""
    from invdesign.crystal.matching import unique_groups

    groups = unique_groups([candidate.structure for candidate in candidates])  # type: ignore[misc]
    best: dict[int, Candidate] = {}
    order = sorted(
        zip(candidates, groups, strict=True), key=lambda p: (p[0].properties["e_above_hull"].mean, p[0].id)
    )
    for candidate, group in order:
        first = best.setdefault(group, candidate)
        if first is not candidate:
            candidate.record(
                Verdict("duplicates", passed=False, reason=f"same crystal as another: {first.id}")
            )


GATE_FUNCTIONS: dict[str, GateFunction] = {"duplicates": distinct}
