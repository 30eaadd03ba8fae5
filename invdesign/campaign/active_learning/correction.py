"""Bias correction and recalibration of estimates by DFT results.

No weight of a model changes. A model's estimates are corrected by its errors on the computed crystals
(:mod:`invdesign.campaign.active_learning.residual_gp`): for a property that can be zero, the probability of
zero and the rest separately; for a positive one, the logarithm.
``docs/concepts/active-learning.md`` has the measurements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypeAlias

import numpy as np

from invdesign.campaign.active_learning.residual_gp import (
    MIDDLE,
    ErrorInputs,
    ErrorProcess,
    SimilarityKernel,
    Zeros,
)
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.properties import PROPERTIES, STABILITY

PLACED = ("formation_energy_per_atom", STABILITY)
"""Properties whose errors are those of the potential that placed the crystal."""

LEAST = 1e-3
"""A computed gap below is zero, eV, as in the training of the models."""


@dataclass(frozen=True, slots=True)
class BiasCorrection:
    """Correction of one property's estimates.

    Attributes:
        n: number of results.
        n_zero: of these, computed as zero where the model gives zero a probability.
        lognormal: whether errors are of the logarithm.
        deviation: median predicted standard deviation of the results that are not zero.
        errors: process of the errors of results that are not zero; None where there are none.
        zeros: process of the probability of zero; None where the property is never zero.
        shift: mean error of an average prediction, shrunk towards 0; in units of ``deviation``.
        scale: factor on the width of an average interval.
    """

    n: int
    n_zero: int
    lognormal: bool
    deviation: float
    errors: ErrorProcess | None
    zeros: Zeros | None
    shift: float
    scale: float

    def correct(
        self, estimates: Sequence[Estimate], vectors: np.ndarray | None, *, widths: bool = True
    ) -> list[Estimate]:
        """Correct estimates; ``vectors`` (n, d) as in :func:`fit_corrections`."""
        mean, sigma, zero = _columns(estimates)
        if self.errors is not None:
            shift, scale = self.errors.predict(ErrorInputs(self.deviation / sigma, vectors))
            mean, sigma = mean + sigma * shift, sigma * (scale if widths else 1.0)
        if self.zeros is not None:
            found = self.zeros.predict(ErrorInputs(np.ones(len(zero)), vectors), zero)
            zero = np.where(zero > 0, found, 0.0)
        rows = zip(estimates, mean.tolist(), sigma.tolist(), zero.tolist(), strict=True)
        return [_with_moments(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Corrections:
    """Corrections of all properties, from a campaign's results.

    Attributes:
        by_property: those of properties with results; where a finishing potential placed crystals, those of
            :data:`PLACED` hold for these alone.
        unfinished: those of :data:`PLACED` for crystals that the campaign's potential placed, where a
            finishing potential placed others. What is finished has both placements, and counts in both.
        n: number of candidates with a result.
        n_failed: number of candidates of which every run failed.
        functional: of the results that count.
        n_others: number of results of other functionals, which are left out.
    """

    by_property: Mapping[str, BiasCorrection]
    unfinished: Mapping[str, BiasCorrection]
    n: int
    n_failed: int
    functional: str | None
    n_others: int

    def correct(
        self,
        prop: str,
        estimates: Sequence[Estimate],
        vectors: np.ndarray | None = None,
        *,
        widths: bool = True,
    ) -> list[Estimate]:
        """Correct estimates of one property; without a result of it nothing changes.

        Args:
            prop: the property.
            estimates: as the models give them.
            vectors: standardised embeddings (n, d) of the crystals, where :func:`fit_corrections` had any.
            widths: correct the widths of intervals too; not for another model than that of the results.
        """
        if prop not in self.by_property or not estimates:
            return list(estimates)
        return self.by_property[prop].correct(estimates, vectors, widths=widths)

    def correct_rows(
        self,
        rows: Sequence[Mapping[str, Estimate]],
        vectors: np.ndarray | None = None,
        *,
        finished: Sequence[bool] | None = None,
        widths: bool = True,
    ) -> list[dict[str, Estimate]]:
        """Correct all properties of several crystals, which have the same properties.

        Args:
            rows: estimates by property.
            vectors: as in :meth:`correct`.
            finished: whether a finishing potential placed each crystal; None: all, where one placed any.
            widths: as in :meth:`correct`.
        """
        if self.unfinished and finished is not None and not all(finished):
            unfinished = replace(self, by_property={**self.by_property, **self.unfinished}, unfinished={})
            first = unfinished.correct_rows(rows, vectors, widths=widths)
            last = self.correct_rows(rows, vectors, widths=widths)
            return [last[i] if done else first[i] for i, done in enumerate(finished)]
        columns = {
            prop: self.correct(prop, [row[prop] for row in rows], vectors, widths=widths)
            for prop in (rows[0] if rows else ())
        }
        return [{prop: column[i] for prop, column in columns.items()} for i in range(len(rows))]

    def similarity(self, props: Iterable[str]) -> SimilarityKernel:
        """Return the covariance of errors of the first of these properties that has results."""
        fitted = (self.by_property[prop].errors for prop in props if prop in self.by_property)
        return next((errors.similarity for errors in fitted if errors is not None), MIDDLE)

    def lines(self) -> list[str]:
        """Describe the corrections, a sentence a property."""
        lines = [_sentence(prop, correction) for prop, correction in self.by_property.items()]
        lines += [
            _sentence(prop, found, " before finishing")
            for prop, found in self.unfinished.items()
            if prop == STABILITY
        ]
        if self.n_others:
            lines.append(
                f"Left out: {_count(self.n_others, 'result')} of other functionals than {self.functional}."
            )
        if self.n_failed:
            lines.append(f"Failed, and not selected again: {_count(self.n_failed, 'candidate')}.")
        return lines or ["No correction: no result has a property that was predicted."]


_Estimates: TypeAlias = Mapping[str, Estimate]
_Fitted: TypeAlias = dict[str, BiasCorrection]


def fit_corrections(candidates: Sequence[Candidate], vectors: np.ndarray | None = None) -> Corrections:
    """Fit corrections to candidates that have a DFT result (``dft``).

    Args:
        candidates: in any order; ``properties`` as the models predicted them. Of several functionals only
            the one with most results counts, because their gaps differ. Energies by a finishing potential
            and by the campaign's are corrected apart.
        vectors: standardised embeddings (n, d), for the similarity of crystals. Without them a correction is
            a shift and a scale alone.
    """
    order = sorted(range(len(candidates)), key=lambda i: candidates[i].id)
    returned = [i for i in order if has_result(candidates[i])]
    functionals = Counter(_functional(candidates[i]) for i in returned)
    most = min(functionals, key=lambda name: (-functionals[name], name)) if functionals else None
    used = [i for i in returned if _functional(candidates[i]) == most]
    finished = [i for i in used if candidates[i].first_placement is not None]

    def fit(prop: str, among: Sequence[int], estimates_of: Callable[[Candidate], _Estimates]) -> _Fitted:
        rows = [i for i in among if _has(candidates[i], prop)]
        if not rows:
            return {}
        estimates = [estimates_of(candidates[i])[prop] for i in rows]
        computed = np.array([_value(candidates[i], prop) for i in rows], dtype=float)
        return {prop: _fit(estimates, computed, None if vectors is None else vectors[rows])}

    by_property: _Fitted = {}
    unfinished: _Fitted = {}
    for prop in dict.fromkeys(name for i in used for name in candidates[i].properties):
        apart = prop in PLACED and any(candidate.first_placement for candidate in candidates)
        by_property |= fit(prop, finished if apart else used, lambda candidate: candidate.properties)
        if apart:
            unfinished |= fit(prop, used, _first_estimates)
    failed = sum(c.dft is not None and c.dft.failed is not None for c in candidates)
    return Corrections(by_property, unfinished, len(used), failed, most, len(returned) - len(used))


def has_result(candidate: Candidate) -> bool:
    """Whether at least one DFT run of it succeeded."""
    return candidate.dft is not None and candidate.dft.failed is None


def _first_estimates(candidate: Candidate) -> _Estimates:
    """Return the energies by the campaign's potential, whether or not the candidate was finished since."""
    first = candidate.first_placement
    if first is None:
        return candidate.properties
    energies = (first.formation_energy, first.e_above_hull)
    return {prop: Estimate(energy, first.sigma) for prop, energy in zip(PLACED, energies, strict=True)}


def _functional(candidate: Candidate) -> str:
    return (candidate.dft and candidate.dft.functional) or "unknown"


def _value(candidate: Candidate, prop: str) -> float | None:
    return candidate.dft.value(prop) if candidate.dft else None


def _has(candidate: Candidate, prop: str) -> bool:
    value = _value(candidate, prop)
    return prop in candidate.properties and value is not None and isfinite(value)


def _fit(estimates: Sequence[Estimate], computed: np.ndarray, vectors: np.ndarray | None) -> BiasCorrection:
    mean, sigma, p_zero = _columns(estimates)
    lognormal = estimates[0].lognormal
    can_be_zero = p_zero > 0
    zero = can_be_zero & (computed <= LEAST)
    rest = np.flatnonzero(~zero & (computed > 0) if lognormal else ~zero)
    target = np.log(computed[rest]) if lognormal else computed[rest]
    errors, shift, scale, deviation = None, 0.0, 1.0, 1.0
    if len(rest):
        deviation = float(np.median(sigma[rest]))
        unit, error = deviation / sigma[rest], (target - mean[rest]) / sigma[rest]
        errors = ErrorProcess.fit(ErrorInputs(unit, None if vectors is None else vectors[rest]), error)
        plain = ErrorProcess.fit(ErrorInputs(unit), error)
        shift, scale = (float(values[0]) for values in plain.predict(ErrorInputs(np.ones(1))))
    zeros = None
    if can_be_zero.any():
        rows = np.flatnonzero(can_be_zero)
        seen = ErrorInputs(np.ones(len(rows)), None if vectors is None else vectors[rows])
        zeros = Zeros.fit(seen, p_zero[rows], zero[rows])
    return BiasCorrection(len(computed), int(zero.sum()), lognormal, deviation, errors, zeros, shift, scale)


def _columns(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and deviation (of the logarithm if lognormal) and probability of zero, (n,) each."""
    mean, sigma = np.array([e.mean for e in estimates]), np.array([e.sigma for e in estimates])
    if estimates[0].lognormal:
        mean, sigma = np.log(mean), sigma / mean
    return mean, sigma, np.array([e.p_zero for e in estimates])


def _with_moments(estimate: Estimate, mean: float, sigma: float, zero: float) -> Estimate:
    if estimate.lognormal:
        mean = float(np.exp(mean))
        sigma *= mean
    return replace(estimate, mean=mean, sigma=sigma, p_zero=zero)


def _sentence(prop: str, correction: BiasCorrection, which: str = "") -> str:
    known = PROPERTIES.get(prop)
    name, unit = (known.words, f" {known.unit}") if known else (prop.replace("_", " "), "")
    text = f"{name[0].upper()}{name[1:]}{which}: {_count(correction.n, 'result')}"
    if correction.n_zero:
        text += f", {correction.n_zero} of them zero"
    if correction.errors is None:
        return f"{text}; only its probability of being zero is corrected."
    shift = correction.shift * correction.deviation
    moved = f"× {np.exp(shift):.2f}" if correction.lognormal else f"shifted by {shift:+.2f}{unit}"
    text += f"; predictions {moved}, intervals × {correction.scale:.2f}"
    if correction.errors.known.vectors is None:
        return f"{text}."
    probability = correction.errors.p_shared
    return f"{text}; {probability:.0%} sure that similar crystals share errors (50% without results)."


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
