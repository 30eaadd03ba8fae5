"""What a round computes next: estimates corrected by results, who may be chosen, and whom it chooses."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.campaign.active_learning.acquisition import informative
from invdesign.campaign.active_learning.correction import has_result, learn
from invdesign.campaign.active_learning.revise import (
    checks_of,
    embeddings,
    in_question,
    judge_anew,
    remember_checks,
    revised,
    uncomputed,
)
from invdesign.campaign.progress import LiveFunnel
from invdesign.campaign.ranking import hit_probability, shortlist
from invdesign.campaign.stages.dynamical_stability import Checks, check_picks, summarize_checks
from invdesign.campaign.stages.predict import estimate_missing
from invdesign.campaign.stages.shortlist import picked, put_on_shortlist, tell_apart
from invdesign.core.funnel import Funnel
from invdesign.core.properties import STABILITY
from invdesign.errors import InputError
from invdesign.io.parallel import default_workers, process_pool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from invdesign.campaign.active_learning.correction import Learned
    from invdesign.campaign.components import Components
    from invdesign.campaign.config import CampaignConfig
    from invdesign.campaign.progress import Clock
    from invdesign.campaign.stages.shortlist import Pick
    from invdesign.campaign.store import Store
    from invdesign.core.candidate import Candidate
    from invdesign.core.target import Target

Choice = Literal["hits", "information"]


@dataclass(frozen=True)
class Ask:
    """One round's question.

    Attributes:
        number: of the round.
        config: the campaign's, with the round's length of the shortlist.
        components: what the campaign is made of.
        store: its candidates; gets what checks find.
        choose: what for.
    """

    number: int
    config: CampaignConfig
    components: Components
    store: Store
    choose: str


@dataclass(frozen=True)
class Chosen:
    """A round's answer.

    Attributes:
        shortlist: best first, with corrected estimates and the verdicts that follow from these.
        learned: what the results taught.
        message: one sentence on the outcome.
        pool: how many could have been chosen.
    """

    shortlist: list[Candidate]
    learned: Learned
    message: str
    pool: int


def choose_next(
    ask: Ask, candidates: Sequence[Candidate], executor: Executor | None, *, progress: bool
) -> Chosen:
    """Learn from the results among a campaign's candidates, and choose among the others.

    With the campaign's checks only those are chosen that pass them.

    Args:
        ask: the round.
        candidates: all of the campaign's.
        executor: takes the checks; None: one process per core.
        progress: show them on stderr.

    Raises:
        InputError: nobody is left to choose.
    """
    relaxed = [candidate for candidate in candidates if in_question(candidate)]
    estimate_missing(relaxed, ask.components)
    vectors = embeddings(relaxed)
    learned = learn(relaxed, vectors)
    pool = uncomputed(relaxed)
    if not any(all(v.passed for v in checks_of(relaxed[i]).values()) for i in pool):
        raise InputError(
            "continue: every candidate that relaxed was computed; give --n and --n-relax to make more."
        )
    rows = learned.corrected([relaxed[i].properties for i in pool], vectors[pool])
    corrected = [revised(relaxed[i], row) for i, row in zip(pool, rows, strict=True)]
    tell_apart(ask.config, ask.components, corrected)
    standing = [candidate for candidate in corrected if candidate.alive]

    pick: Pick = shortlist
    if ask.choose == "information":
        place = {candidate.id: vectors[i] for i, candidate in zip(pool, corrected, strict=True)}
        pick = _by_information(learned, place, vectors[[has_result(candidate) for candidate in relaxed]])
    own = {candidate.id: candidate for candidate in relaxed}
    for candidate in standing:
        candidate.verdicts |= checks_of(own[candidate.id])
    if ask.config.check:
        standing = _checked(ask, own, standing, pick, executor, progress=progress)
    left = [candidate for candidate in standing if candidate.alive]
    chosen = picked(ask.config, left, pick)
    put_on_shortlist(ask.config, ask.components, chosen)
    fillers = sum(not judge_anew(candidate, ask.config) for candidate in chosen)
    expected = sum(candidate.selection.p_hit for candidate in chosen if candidate.selection)
    message = (
        f"{len(chosen)} of {len(left)} candidates chosen for {ask.choose}, {expected:.1f} hits expected "
        f"among them, after {learned.n} result{'s' * (learned.n != 1)}"
    )
    if fillers:
        message += f"; {fillers} outside the campaign's limits, for want of better"
    funnel = Funnel()
    funnel.count(standing, ask.config.check)
    message += f"{summarize_checks(ask.config, funnel)}."
    return Chosen(chosen, learned, message, len(left))


def _checked(
    ask: Ask,
    own: Mapping[str, Candidate],
    standing: Sequence[Candidate],
    pick: Pick,
    executor: Executor | None,
    *,
    progress: bool,
) -> list[Candidate]:
    """Put whom a round would choose through the campaign's checks, storing each as soon as it is done."""
    config = ask.config
    with ExitStack() as stack:
        live = stack.enter_context(LiveFunnel(f"Checks of round {ask.number}", show=progress))
        if executor is None and (workers := config.workers or default_workers()) > 1:
            executor = stack.enter_context(process_pool(workers))

        def begin(n: int) -> None:
            live.phase(config.check[0], live.funnel.stages[config.check[0]].entered + n)

        def keep(candidate: Candidate, clock: Clock) -> None:
            remember_checks(own[candidate.id], candidate.verdicts)
            ask.store.put([own[candidate.id]], complete=True)
            live.count([candidate], config.check, clock)

        how = Checks(config, ask.components, begin, keep, executor)
        return check_picks(how, standing, lambda left: picked(config, left, pick))


def _by_information(learned: Learned, place: dict[str, np.ndarray], computed: np.ndarray) -> Pick:
    """Pick by what would be learned; ``place`` has embeddings by id, ``computed`` those of results (k, d)."""

    def pick(candidates: Sequence[Candidate], target: Target, n: int) -> list[Candidate]:
        if not candidates:
            return []
        chances = np.array([hit_probability(candidate.properties, target) for candidate in candidates])
        vectors = np.array([place[candidate.id] for candidate in candidates])
        chosen = informative(n, chances, vectors, computed, learned.likeness([*target.windows, STABILITY]))
        return [candidates[i] for i in chosen]

    return pick
