"""The finishing stage: candidates of most worth relaxed again, tightly, with a second and better potential.

It costs seconds a candidate, so only those are finished that could come onto the shortlist. What it finds
replaces structure, energy above hull and properties; the first energy above hull is kept next to it. A
weighted mean of both potentials' energies is no better than the second alone: decision 046.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from invdesign.campaign.components import Components
from invdesign.campaign.progress import Clock
from invdesign.campaign.session import Session
from invdesign.campaign.stages.gates import Context, GateFunction, GateUnit, apply_to_unit
from invdesign.campaign.stages.predict import properties_verdict
from invdesign.campaign.stages.relax import best_outcome, place_on_hull, states_verdict
from invdesign.campaign.stages.shortlist import UNLIKELY, distinct, score, unrejected
from invdesign.core.candidate import Candidate
from invdesign.core.funnel import FINISHING, STAGES
from invdesign.io.parallel import run_tasks
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from invdesign.relaxation.relax import Relaxed

BEFORE = frozenset(STAGES[: STAGES.index(FINISHING)])
FMAX = 0.02  # eV/Å
FINISHED_FIELDS = (
    *("gene", "geometry", "structure", "origin", "properties"),
    *("relaxation", "relaxation_steps", "placement", "first_placement"),
)
"""What of a candidate finishing replaces, besides verdicts."""
FINISHED_VERDICTS = (FINISHING, "site states")
PER_UNIT = 4  # candidates relaxed together in one process


def finish(session: Session, survivors: Sequence[Candidate]) -> list[Candidate]:
    """Finish the survivors that are left, and score them again.

    Every unit is stored as soon as it is finished; a resumed run goes on with the rest.

    Args:
        session: the campaign.
        survivors: distinct, in order of id.

    Returns:
        The same candidates as stored, but those rejected that became known, left the target, or became the
        same crystal as another.
    """
    config, components, live = session.config, session.components, session.live
    known = {candidate.id: candidate for candidate in survivors}
    live.count([candidate for candidate in survivors if FINISHING in candidate.verdicts], (FINISHING,))
    chosen = [candidate for candidate in survivors if _is_chosen(candidate)]
    # units as an undisturbed run has them: the last digits depend on who is relaxed together
    groups = [chosen[i : i + PER_UNIT] for i in range(0, len(chosen), PER_UNIT)]
    units = [GateUnit(config, components, group) for group in groups if FINISHING not in group[0].verdicts]
    live.phase(FINISHING, sum(candidate.verdicts["duplicates"].passed for candidate in survivors))
    for candidates, cost in run_tasks(finish_unit, units, workers=1, executor=session.executor):
        session.store.put(candidates, cost)
        live.count(candidates, (FINISHING,), cost)
        known |= {candidate.id: candidate for candidate in candidates}
    left = unrejected(known.values())  # those too that a check rejected before a kill: a duplicate stays one
    clock = Clock()
    with clock.stage("duplicates"):
        distinct(left, Context(config, components))
    with clock.stage("shortlist"):
        score(unrejected(left), config, components)
    session.store.put([], clock)
    live.funnel.charge(clock.seconds)
    return list(known.values())


def _is_chosen(candidate: Candidate) -> bool:
    """Whether it is to be finished, or was."""
    before = [verdict for gate, verdict in candidate.verdicts.items() if gate in BEFORE]
    finished = candidate.verdicts.get(FINISHING)
    return all(verdict.passed for verdict in before) and not (
        finished is not None and finished.reason.startswith(UNLIKELY)
    )


def finish_unit(unit: GateUnit) -> tuple[list[Candidate], Clock]:
    """Give a unit's candidates their finished structure, energy above hull and properties."""
    return apply_to_unit(GATE_FUNCTIONS, unit)


def stands_finished(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Relax candidates with the finishing potential; reject those out of the limit or the windows then."""
    from invdesign.relaxation.relax import relax

    config, components = context.config, context.components.best()
    potential = components.get("potential")
    results = relax(
        [candidate.structure for candidate in candidates],  # type: ignore[misc]
        potential,
        fmax=min(FMAX, config.fmax),
        max_steps=2 * config.max_steps,
        keep_symmetry=config.keep_symmetry,
    )
    verdicts = []
    for candidate, result in zip(candidates, results, strict=True):
        verdict = _finished(candidate, result, components, config.target.e_above_hull_max)
        verdicts.append(replace(verdict, gate=FINISHING, reason=f"{verdict.reason}, by {potential.name}"))
    standing = [i for i, verdict in enumerate(verdicts) if verdict.passed]
    found = components.estimates([candidates[i].structure for i in standing])  # type: ignore[misc]
    for i, estimates in zip(standing, found, strict=True):
        candidates[i].properties |= estimates
        held = states_verdict(candidates[i], config)
        if held.passed:  # else it is finishing that rejects: a resumed run counts the first verdict as before
            candidates[i].verdicts["site states"] = held
        for verdict in (held, properties_verdict(candidates[i], config)):
            if not verdict.passed:
                reason = f"{verdict.reason}, relaxed by {potential.name}"
                verdicts[i] = replace(verdict, gate=FINISHING, reason=reason)
    return verdicts


def _finished(candidate: Candidate, result: Relaxed, components: Components, limit: float) -> Verdict:
    """Give a candidate its finished structure and placement; how it was relaxed first is added up."""
    first, steps = candidate.relaxation, candidate.relaxation_steps or 0
    verdict = best_outcome(candidate, [(result, candidate.origin.geometry or "")])
    candidate.relaxation_steps = steps + result.n_steps
    if not verdict.passed or first is None or candidate.relaxation is None:
        return verdict
    candidate.relaxation = replace(
        candidate.relaxation,
        n_starting_structures=first.n_starting_structures,
        proposed_gene=first.proposed_gene,
    )
    candidate.first_placement = candidate.placement
    return place_on_hull(candidate, limit, components)


GATE_FUNCTIONS: dict[str, GateFunction] = {FINISHING: stands_finished}
