"""Acquisition: which candidates a round selects for DFT, by corrected estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from invdesign.campaign.active_learning.correction import Corrections, fit_corrections, has_result
from invdesign.campaign.active_learning.rescore import (
    checks_of,
    embeddings,
    is_selectable,
    not_yet_computed,
    reapply_gates,
    with_estimates,
)
from invdesign.campaign.active_learning.residual_gp import SimilarityKernel, distances
from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.ideas import leaders
from invdesign.campaign.progress import Clock
from invdesign.campaign.ranking import hit_probability, shortlist
from invdesign.campaign.session import Session
from invdesign.campaign.stages.dynamical_stability import check_picks, summarize_checks
from invdesign.campaign.stages.finish import FINISHED_FIELDS, FINISHED_VERDICTS, PER_UNIT, finish_unit
from invdesign.campaign.stages.gates import GateUnit
from invdesign.campaign.stages.predict import estimate_missing
from invdesign.campaign.stages.shortlist import Pick, deduplicate, n_finished, picked, put_on_shortlist
from invdesign.campaign.store import Store
from invdesign.core.candidate import Candidate
from invdesign.core.funnel import CHECKS, FINISHING, Funnel
from invdesign.core.properties import STABILITY
from invdesign.core.target import Target
from invdesign.errors import InputError
from invdesign.io.parallel import run_tasks

Criterion = Literal["hits", "information"]


@dataclass(frozen=True)
class Request:
    """What a round is asked for.

    Attributes:
        number: of the round.
        config: the campaign's, with the round's length of the shortlist.
        components: of the campaign.
        store: of the campaign; verdicts of checks are written to it.
        choose: criterion of the selection.
    """

    number: int
    config: CampaignConfig
    components: Components
    store: Store
    choose: str


@dataclass(frozen=True)
class Acquired:
    """What a round selected.

    Attributes:
        shortlist: best first, with corrected estimates and the verdicts that follow from these.
        corrections: fitted to the results.
        message: one sentence on the outcome.
        pool: number of candidates that could have been selected.
    """

    shortlist: list[Candidate]
    corrections: Corrections
    message: str
    pool: int


def acquire(
    request: Request, candidates: Sequence[Candidate], executor: Executor | None, *, progress: bool
) -> Acquired:
    """Fit corrections to the results among a campaign's candidates, and select among the others.

    With checks, only candidates that pass them are selected. With a finishing potential, what would be
    selected is finished first, until that potential has placed all that is selected.

    Args:
        request: the round.
        candidates: all of the campaign's.
        executor: takes the checks; None: one process per core.
        progress: show them on stderr.

    Raises:
        InputError: no candidate is left to select.
    """
    config, components = request.config, request.components
    while True:
        pool = _Pool.of(request, candidates)
        top = picked(config, pool.alive, pool.pick)
        if config.check and not _unfinished(components, top):
            _check(request, pool, executor, progress=progress)
            top = picked(config, pool.alive, pool.pick)
        if not _unfinished(components, top):
            break
        likely = pool.pick(leaders(pool.alive, config), config.target, n_finished(config))
        todo = [pool.stored[candidate.id] for candidate in _unfinished(components, [*top, *likely])]
        _finish(request, todo, executor, progress=progress)
    put_on_shortlist(config, components, top, pool.alive)
    fillers = sum(not reapply_gates(candidate, config) for candidate in top)
    expected = sum(candidate.selection.p_hit for candidate in top if candidate.selection)
    n = pool.corrections.n
    message = (
        f"{len(top)} of {len(pool.alive)} candidates selected for {request.choose}, {expected:.1f} hits "
        f"expected among them, after {n} result{'s' * (n != 1)}"
    )
    if fillers:
        message += f"; {fillers} outside the campaign's limits, because no better ones are left"
    funnel = Funnel()
    funnel.count(pool.standing, config.check)
    message = f"{message}{summarize_checks(config, funnel)}."
    return Acquired(top, pool.corrections, message, len(pool.alive))


@dataclass
class _Pool:
    """What a round may select from, as it stands in the store.

    Attributes:
        stored: every relaxed candidate by id, its estimates as the models made them.
        standing: with corrected estimates, distinct and not computed yet, with the verdicts of checks.
        corrections: fitted to the results.
        pick: selects among ``standing``.
    """

    stored: dict[str, Candidate]
    standing: list[Candidate]
    corrections: Corrections
    pick: Pick

    @classmethod
    def of(cls, request: Request, candidates: Sequence[Candidate]) -> _Pool:
        """Correct the estimates of a campaign's candidates, and remove duplicates.

        Raises:
            InputError: no candidate is left to select.
        """
        config, components = request.config, request.components
        relaxed = [candidate for candidate in candidates if is_selectable(candidate)]
        estimate_missing(relaxed, components)
        vectors = embeddings(relaxed)
        corrections = fit_corrections(relaxed, vectors)
        pool = not_yet_computed(relaxed)
        rows = corrections.correct_rows(
            [relaxed[i].properties for i in pool],
            vectors[pool],
            finished=[relaxed[i].first_placement is not None for i in pool],
        )
        corrected = [with_estimates(relaxed[i], row) for i, row in zip(pool, rows, strict=True)]
        deduplicate(config, components, corrected)
        standing = [candidate for candidate in corrected if candidate.alive]
        stored = {candidate.id: candidate for candidate in relaxed}
        for candidate in standing:
            candidate.verdicts |= checks_of(stored[candidate.id])
        if not any(candidate.alive for candidate in standing):
            raise InputError(
                "continue: no candidate is left to select: those that relaxed were computed, are known, not "
                "clearly more stable than what is known of their composition, or were rejected by a check; "
                "give --n and --n-relax to make more."
            )
        pick: Pick = shortlist
        if request.choose == "information":
            vector_of = {candidate.id: vectors[i] for i, candidate in zip(pool, corrected, strict=True)}
            computed = vectors[[has_result(candidate) for candidate in relaxed]]
            pick = _by_information(corrections, vector_of, computed)
        return cls(stored, standing, corrections, pick)

    @property
    def alive(self) -> list[Candidate]:
        """Return those that no check has rejected."""
        return [candidate for candidate in self.standing if candidate.alive]


def _unfinished(components: Components, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the distinct candidates that the finishing potential, where there is one, has yet to place."""
    if components.finisher is None:
        return []
    return list({c.id: c for c in candidates if c.first_placement is None}.values())


def _finish(
    request: Request, candidates: Sequence[Candidate], executor: Executor | None, *, progress: bool
) -> None:
    """Finish stored candidates, and store all of them at once: a broken off round repeats the same units.

    The verdicts are stored as ``round_checks``: ``verdicts`` are the campaign's funnel.
    """
    config, components = request.config, request.components
    copies = [replace(c, verdicts={**c.verdicts}, properties={**c.properties}) for c in candidates]
    groups = [copies[i : i + PER_UNIT] for i in range(0, len(copies), PER_UNIT)]
    units = [GateUnit(config, components, group) for group in groups]
    stored, store = {candidate.id: candidate for candidate in candidates}, request.store
    title = f"Finishing of round {request.number}"
    with Session.begin(config, components, store, executor, title=title, progress=progress) as session:
        session.live.phase(FINISHING, len(candidates))
        for finished, cost in run_tasks(finish_unit, units, workers=1, executor=session.executor):
            session.live.count(finished, (FINISHING,), cost)
            for found in finished:
                row = stored[found.id]
                for name in FINISHED_FIELDS:
                    setattr(row, name, getattr(found, name))
                row.round_checks |= {g: found.verdicts[g] for g in FINISHED_VERDICTS if g in found.verdicts}
    store.put(candidates, complete=True)


def _check(request: Request, pool: _Pool, executor: Executor | None, *, progress: bool) -> None:
    """Check the candidates that would be selected, finished ones alone, and store each once it is checked.

    The verdicts are stored as ``round_checks``: ``verdicts`` are the campaign's funnel.
    """
    config, store = request.config, request.store

    def keep(candidate: Candidate, _clock: Clock) -> None:
        row = pool.stored[candidate.id]
        row.round_checks |= {gate: candidate.verdicts[gate] for gate in CHECKS if gate in candidate.verdicts}
        store.put([row], complete=True)

    waiting = {candidate.id for candidate in _unfinished(request.components, pool.standing)}

    def pick(candidates: list[Candidate]) -> list[Candidate]:
        return picked(config, [c for c in candidates if c.id not in waiting], pool.pick)

    title = f"Checks of round {request.number}"
    with Session.begin(
        config, request.components, store, executor, title=title, progress=progress
    ) as session:
        pool.standing = check_picks(session, pool.standing, pick, keep)


def _by_information(
    corrections: Corrections, vector_of: Mapping[str, np.ndarray], computed: np.ndarray
) -> Pick:
    """Select by information; ``vector_of`` has embeddings by id, ``computed`` those of results (k, d)."""

    def pick(candidates: Sequence[Candidate], target: Target, n: int) -> list[Candidate]:
        if not candidates:
            return []
        chances = np.array([hit_probability(candidate.properties, target) for candidate in candidates])
        vectors = np.array([vector_of[candidate.id] for candidate in candidates])
        similarity = corrections.similarity([*target.windows, STABILITY])
        return [candidates[i] for i in most_informative(n, chances, vectors, computed, similarity)]

    return pick


def most_informative(
    n: int, chances: np.ndarray, pool: np.ndarray, computed: np.ndarray, similarity: SimilarityKernel
) -> list[int]:
    """Select the ``n`` crystals of a pool whose results tell most about hits among the rest.

    Greedy: each step lowers the variance of the models' errors, averaged over the pool with weight p (1 - p),
    given the crystals already selected, so that the shared information of similar crystals counts once.
    BoTorch's ``qNegIntegratedPosteriorVariance`` is the same for a pool of equal weights, and selects the
    same; over a finite pool and with a known kernel it has this closed form, a thousand times as fast. Ties
    go to the lower index.

    Args:
        n: how many; fewer where the pool is smaller.
        chances: probability of a hit, (m,).
        pool: standardised embeddings, (m, d).
        computed: of crystals with results, (k, d).
        similarity: covariance of errors, in units of the noise.

    Returns:
        Indices in the pool, in the order of selection.
    """

    def covariance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray(similarity.shared * np.exp(-similarity.reach * distances(left, right)))

    factor = cholesky(covariance(computed, computed) + np.eye(len(computed)), lower=True)
    explained = solve_triangular(factor, covariance(computed, pool), lower=True)
    left = covariance(pool, pool) - explained.T @ explained  # posterior covariance
    weights = chances * (1 - chances)
    selected: list[int] = []
    for _ in range(min(n, len(pool))):
        gain = weights @ left**2 / (np.diag(left) + 1)
        gain[selected] = -1.0
        best = int(np.argmax(gain))
        selected.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + 1)
    return selected
