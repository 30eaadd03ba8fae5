"""What computed results say of the errors still to come: Gaussian processes on predicted minus computed.

An error is a shift that all predictions share, plus a part that like crystals share, plus noise. How much of
an error like crystals share, and how far likeness reaches, is not chosen but averaged over, each setting by
its evidence: with a few results the prior (half of the weight on "like crystals share nothing") decides, with
many the results do. A setting's variances sum to one, so that before the first result nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import log, pi

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit, log_expit, logit

PRIOR = 10.0
"""So many calibrated predictions the released intervals are worth, in their scale as in their middle."""

ODDS = 6.0
"""Noise of one result in squared log odds: it tells p (1 - p) of them, a sixth in the average of all p."""

SURE = 1e-4  # probability of zero that no model says with more certainty
NEWTON = 50  # most steps to the mode; five are usual


@dataclass(frozen=True, slots=True)
class Setting:
    """Variance that like crystals share, against 1 of noise; inverse reach of likeness; log weight."""

    shared: float
    reach: float
    weight: float


ALONE = Setting(0.0, 0.0, 0.0)
ALIKE = tuple(Setting(*one, -log(12)) for one in product((0.1, 0.3, 1.0, 3.0), (0.1, 0.3, 1.0)))
"""Beside :data:`ALONE`; together they weigh as much as it."""

MIDDLE = ALIKE[7]
"""Shared variance as large as the noise, at middle reach: likeness where no result speaks for any."""


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean squared difference of standardised vectors (n, d) and (m, d), (n, m)."""
    squared = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    return np.asarray(squared.clip(0) / left.shape[1])


@dataclass(frozen=True, slots=True)
class Crystals:
    """What a process sees of n crystals.

    Attributes:
        unit: how far the shared shift moves each, in units of its own deviation, (n,).
        vectors: standardised embeddings (n, d), or None: then none is like another.
    """

    unit: np.ndarray
    vectors: np.ndarray | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self.unit)


class Covariance:
    """Prior covariance of the errors of n and of m crystals, without their noise of variance 1."""

    def __init__(self, left: Crystals, right: Crystals) -> None:
        self._shift = np.outer(left.unit, right.unit) / PRIOR
        self._apart = None
        if left.vectors is not None and right.vectors is not None:
            self._apart = distances(left.vectors, right.vectors)

    def at(self, setting: Setting) -> np.ndarray:
        """(n, m); a setting of :data:`ALIKE` needs vectors."""
        if self._apart is None or not setting.shared:
            return self._shift
        return np.asarray(self._shift + setting.shared * np.exp(-setting.reach * self._apart))


def _variance(crystals: Crystals, setting: Setting) -> np.ndarray:
    return np.asarray(crystals.unit**2 / PRIOR + setting.shared)


def _width(crystals: Crystals, setting: Setting) -> np.ndarray:
    """Deviation with the noise: what errors are divided by, so that each is 1 wide before any result."""
    return np.asarray(np.sqrt(1 + _variance(crystals, setting)))


def settings(crystals: Crystals) -> tuple[Setting, ...]:
    """Those that are averaged over."""
    return (ALONE,) if crystals.vectors is None else (ALONE, *ALIKE)


def _shares(evidences: list[float]) -> np.ndarray:
    shares = np.exp(np.array(evidences) - max(evidences))
    return np.asarray(shares / shares.sum())


@dataclass(frozen=True, slots=True)
class Errors:
    """Standardised errors (computed less predicted, in predicted deviations) of crystals to come.

    The scale of all variances is unknown: an inverse gamma worth :data:`PRIOR` results at 1.
    """

    known: Crystals
    factors: tuple[tuple[Setting, np.ndarray, np.ndarray, float], ...]
    """Per setting: Cholesky factor (n, n), weights (n,), scale of the variances."""
    shares: np.ndarray

    @classmethod
    def fit(cls, known: Crystals, errors: np.ndarray) -> Errors:
        """Learn from errors (n,) of computed crystals."""
        n, factors, evidences = len(errors), [], []
        grams = Covariance(known, known)
        for setting in settings(known):
            width = _width(known, setting)
            gram = (grams.at(setting) + np.eye(n)) / np.outer(width, width)
            factor = cholesky(gram, lower=True)
            weights = cho_solve((factor, True), errors)
            misfit = float(errors @ weights)
            evidence = -np.log(np.diag(factor)).sum() - (PRIOR + n) / 2 * np.log1p(misfit / PRIOR)
            evidences.append(float(evidence + setting.weight))
            factors.append((setting, factor, weights, (PRIOR + misfit) / (PRIOR + n)))
        return cls(known, tuple(factors), _shares(evidences))

    def predict(self, crystals: Crystals) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each crystal's error, (n,) both, in predicted deviations."""
        means, squares = np.zeros(len(crystals)), np.zeros(len(crystals))
        crosses = Covariance(self.known, crystals)
        for share, (setting, factor, weights, scale) in zip(self.shares, self.factors, strict=True):
            cross = crosses.at(setting) / np.outer(_width(self.known, setting), _width(crystals, setting))
            mean = cross.T @ weights
            explained = (solve_triangular(factor, cross, lower=True) ** 2).sum(0)
            means += share * mean
            squares += share * (scale * (1 - explained) + mean**2)
        return means, np.sqrt(squares - means**2)

    @property
    def alike(self) -> float:
        """Probability that like crystals share errors."""
        return float(1 - self.shares[0])

    @property
    def likeness(self) -> Setting:
        """The setting by which crystals are alike that the results speak for most."""
        return self.factors[1 + int(self.shares[1:].argmax())][0] if len(self.shares) > 1 else MIDDLE


@dataclass(frozen=True, slots=True)
class Zeros:
    """Probability of being zero: the log odds said, plus an error as above (Laplace's approximation).

    Its variances are :data:`ODDS` times as large, as is the noise of a result.
    """

    known: Crystals
    modes: tuple[tuple[Setting, np.ndarray, np.ndarray, np.ndarray], ...]
    """Per setting: gradient at the mode (n,), root of the curvature (n,), Cholesky factor (n, n)."""
    shares: np.ndarray

    @classmethod
    def fit(cls, known: Crystals, said: np.ndarray, zero: np.ndarray) -> Zeros:
        """Learn from what was said of computed crystals, (n,), and whether they were zero, (n,)."""
        modes, evidences, grams = [], [], Covariance(known, known)
        for setting in settings(known):
            odds = _odds(said, ODDS * _variance(known, setting))
            gradient, root, factor, evidence = _mode(odds, zero, ODDS * grams.at(setting))
            modes.append((setting, gradient, root, factor))
            evidences.append(evidence + setting.weight)
        return cls(known, tuple(modes), _shares(evidences))

    def predict(self, crystals: Crystals, said: np.ndarray) -> np.ndarray:
        """Corrected probability of zero, (n,)."""
        found, crosses = np.zeros(len(crystals)), Covariance(self.known, crystals)
        for share, (setting, gradient, root, factor) in zip(self.shares, self.modes, strict=True):
            cross = ODDS * crosses.at(setting)
            before = ODDS * _variance(crystals, setting)
            explained = (solve_triangular(factor, root[:, None] * cross, lower=True) ** 2).sum(0)
            odds = _odds(said, before) + cross.T @ gradient
            found += share * expit(odds / np.sqrt(1 + pi / 8 * (before - explained)))
        return found


def _odds(said: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log odds whose mean over the prior is again what was said."""
    return np.asarray(logit(said.clip(SURE, 1 - SURE)) * np.sqrt(1 + pi / 8 * variance))


def _mode(
    odds: np.ndarray, zero: np.ndarray, gram: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Newton's method (Rasmussen and Williams 2006, algorithm 3.1): gradient, root, factor, evidence."""
    shift = np.zeros(len(odds))
    for _ in range(NEWTON):
        chance = expit(odds + shift)
        root = np.sqrt(chance * (1 - chance))
        factor = cholesky(np.eye(len(odds)) + root[:, None] * gram * root, lower=True)
        right = root**2 * shift + zero - chance
        weights = right - root * cho_solve((factor, True), root * (gram @ right))
        before, shift = shift, gram @ weights
        if np.abs(shift - before).max() < 1e-8:
            break
    gradient = zero - expit(odds + shift)
    seen = np.where(zero, log_expit(odds + shift), log_expit(-odds - shift)).sum()
    return gradient, root, factor, float(seen - weights @ shift / 2 - np.log(np.diag(factor)).sum())
