"""What returned DFT results teach: how far each model was off, and how sure it may be of the next crystal.

No weight of a model changes. What a model says of a crystal is corrected by the errors that it made on the
computed ones (:mod:`invdesign.campaign.active_learning.residual_gp`): for a property that can be zero, the
probability of zero and the rest by themselves; for a positive one, the logarithm.
``docs/concepts/active-learning.md`` has the measurements.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from invdesign.campaign.active_learning.residual_gp import MIDDLE, Crystals, Errors, Zeros
from invdesign.core.properties import PROPERTIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from invdesign.campaign.active_learning.residual_gp import Setting
    from invdesign.core.candidate import Candidate, Estimate

LEAST = 1e-3  # eV; a computed gap below is none, as in the models' training


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the results say of one property's model.

    Attributes:
        n: results.
        n_zero: of these, computed as zero where the model thinks zero possible.
        lognormal: whether errors are of the logarithm.
        deviation: median predicted deviation of the results that are not zero.
        errors: of what is not zero; None where nothing was.
        zeros: None where the property is never zero.
        shift: what an average prediction is off by, shrunk towards 0; in ``deviation``.
        scale: of an average interval.
    """

    n: int
    n_zero: int
    lognormal: bool
    deviation: float
    errors: Errors | None
    zeros: Zeros | None
    shift: float
    scale: float

    def correct(
        self, estimates: Sequence[Estimate], vectors: np.ndarray | None, *, widths: bool = True
    ) -> list[Estimate]:
        """Estimates of crystals to come, with their standardised vectors (n, d) if there were any before."""
        mean, sigma, said = _columns(estimates)
        if self.errors is not None:
            shift, scale = self.errors.predict(Crystals(self.deviation / sigma, vectors))
            mean, sigma = mean + sigma * shift, sigma * (scale if widths else 1.0)
        zero = said
        if self.zeros is not None:
            one = np.ones(len(said))
            zero = np.where(said > 0, self.zeros.predict(Crystals(one, vectors), said), 0.0)
        rows = zip(estimates, mean.tolist(), sigma.tolist(), zero.tolist(), strict=True)
        return [_changed(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Learned:
    """What a campaign's results teach.

    Attributes:
        lessons: by property.
        n: candidates with a result.
        n_failed: candidates of which every run failed.
        functional: of the results that were learned from.
        n_others: results of other functionals, which were left out.
    """

    lessons: Mapping[str, Lesson]
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
        """Estimates of one property as the results would have them.

        Args:
            prop: the property; without a result of it nothing changes.
            estimates: as the models give them.
            vectors: standardised embeddings (n, d) of the crystals, where :func:`learn` was given any.
            widths: of intervals are corrected too; not those of another model than the one learned of.
        """
        if prop not in self.lessons or not estimates:
            return list(estimates)
        return self.lessons[prop].correct(estimates, vectors, widths=widths)

    def corrected(
        self,
        rows: Sequence[Mapping[str, Estimate]],
        vectors: np.ndarray | None = None,
        *,
        widths: bool = True,
    ) -> list[dict[str, Estimate]]:
        """All properties of several crystals, which have the same ones."""
        columns = {
            prop: self.correct(prop, [row[prop] for row in rows], vectors, widths=widths)
            for prop in (rows[0] if rows else ())
        }
        return [{prop: column[i] for prop, column in columns.items()} for i in range(len(rows))]

    def likeness(self, props: Iterable[str]) -> Setting:
        """How like crystals share the errors of the first of these properties that has results."""
        learned = (self.lessons[prop].errors for prop in props if prop in self.lessons)
        return next((errors.likeness for errors in learned if errors is not None), MIDDLE)

    def lines(self) -> list[str]:
        """What was learned, a sentence a property."""
        told = [_sentence(prop, lesson) for prop, lesson in self.lessons.items()]
        if self.n_others:
            told.append(
                f"Left out: {_count(self.n_others, 'result')} of other functionals than {self.functional}."
            )
        if self.n_failed:
            told.append(f"Failed, and not chosen again: {_count(self.n_failed, 'candidate')}.")
        return told or ["Nothing learned: no result has a property that was predicted."]


def learn(candidates: Sequence[Candidate], vectors: np.ndarray | None = None) -> Learned:
    """Learn from candidates that carry a DFT result (``dft``).

    Args:
        candidates: in any order; ``properties`` as the models predicted them. Of several functionals only
            the one with most results counts: their gaps are not on one scale.
        vectors: standardised embeddings (n, d) by which crystals are alike. Without them a model's errors
            are a shift and a scale alone.
    """
    order = sorted(range(len(candidates)), key=lambda i: candidates[i].id)
    returned = [i for i in order if has_result(candidates[i])]
    functionals = Counter(_functional(candidates[i]) for i in returned)
    most = min(functionals, key=lambda name: (-functionals[name], name)) if functionals else None
    own = [i for i in returned if _functional(candidates[i]) == most]
    lessons = {}
    for prop in dict.fromkeys(name for i in own for name in candidates[i].properties):
        rows = [i for i in own if _has(candidates[i], prop)]
        if rows:
            lessons[prop] = _lesson(
                [candidates[i].properties[prop] for i in rows],
                np.array([_value(candidates[i], prop) for i in rows], dtype=float),
                None if vectors is None else vectors[rows],
            )
    failed = sum(c.dft is not None and c.dft.failed is not None for c in candidates)
    return Learned(lessons, len(own), failed, most, len(returned) - len(own))


def has_result(candidate: Candidate) -> bool:
    """Whether DFT has computed it, with at least one run that came to an end."""
    return candidate.dft is not None and candidate.dft.failed is None


def _functional(candidate: Candidate) -> str:
    return (candidate.dft and candidate.dft.functional) or "unknown"


def _value(candidate: Candidate, prop: str) -> float | None:
    return candidate.dft.value(prop) if candidate.dft else None


def _has(candidate: Candidate, prop: str) -> bool:
    value = _value(candidate, prop)
    return prop in candidate.properties and value is not None and isfinite(value)


def _lesson(estimates: Sequence[Estimate], computed: np.ndarray, vectors: np.ndarray | None) -> Lesson:
    mean, sigma, said = _columns(estimates)
    lognormal = estimates[0].lognormal
    can_be_zero = said > 0
    zero = can_be_zero & (computed <= LEAST)
    rest = np.flatnonzero(~zero & (computed > 0) if lognormal else ~zero)
    target = np.log(computed[rest]) if lognormal else computed[rest]
    errors, shift, scale, deviation = None, 0.0, 1.0, 1.0
    if len(rest):
        deviation = float(np.median(sigma[rest]))
        unit, error = deviation / sigma[rest], (target - mean[rest]) / sigma[rest]
        errors = Errors.fit(Crystals(unit, None if vectors is None else vectors[rest]), error)
        plain = Errors.fit(Crystals(unit), error)
        shift, scale = (float(one[0]) for one in plain.predict(Crystals(np.ones(1))))
    zeros = None
    if can_be_zero.any():
        rows = np.flatnonzero(can_be_zero)
        seen = Crystals(np.ones(len(rows)), None if vectors is None else vectors[rows])
        zeros = Zeros.fit(seen, said[rows], zero[rows])
    return Lesson(len(computed), int(zero.sum()), lognormal, deviation, errors, zeros, shift, scale)


def _columns(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and deviation (of the logarithm if lognormal) and probability of zero, (n,) each."""
    mean, sigma = np.array([e.mean for e in estimates]), np.array([e.sigma for e in estimates])
    if estimates[0].lognormal:
        mean, sigma = np.log(mean), sigma / mean
    return mean, sigma, np.array([e.p_zero for e in estimates])


def _changed(estimate: Estimate, mean: float, sigma: float, zero: float) -> Estimate:
    if estimate.lognormal:
        mean = float(np.exp(mean))
        sigma *= mean
    return replace(estimate, mean=mean, sigma=sigma, p_zero=zero)


def _sentence(prop: str, lesson: Lesson) -> str:
    known = PROPERTIES.get(prop)
    name, unit = (known.words, f" {known.unit}") if known else (prop.replace("_", " "), "")
    told = f"{name[0].upper()}{name[1:]}: {_count(lesson.n, 'result')}"
    if lesson.n_zero:
        told += f", {lesson.n_zero} of them zero"
    if lesson.errors is None:
        return f"{told}; only its probability of being zero is corrected."
    off = lesson.shift * lesson.deviation
    moved = f"× {np.exp(off):.2f}" if lesson.lognormal else f"shifted by {off:+.2f}{unit}"
    told += f"; predictions {moved}, intervals × {lesson.scale:.2f}"
    if lesson.errors.known.vectors is None:
        return f"{told}."
    sure = lesson.errors.alike
    return f"{told}; {sure:.0%} sure that like crystals share errors (50% without results)."


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
