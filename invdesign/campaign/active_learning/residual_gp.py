"""Gaussian processes of the errors of predictions, fitted to DFT results.

An error is a shift that all predictions share, plus a part that similar crystals share, plus noise. How much
of an error similar crystals share, and the length scale of similarity, are averaged over, each kernel by its
evidence: with few results the prior decides (half of the weight on "similar crystals share nothing"), with
many the results. The prior variances of a kernel sum to one, so that without results nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import log, pi

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit, log_expit, logit

PRIOR = 10.0
"""Weight of the prior, in results: on the mean error as on the scale of the intervals."""

ODDS = 6.0
"""Noise of one result in squared log odds: its information is p (1 - p), a sixth on average over p."""

EXTREME = 1e-4  # probabilities of zero are clipped to this distance from 0 and 1
NEWTON = 50  # largest number of steps; five are usual


@dataclass(frozen=True, slots=True)
class SimilarityKernel:
    """Kernel: variance that similar crystals share, in units of noise; inverse length scale; log weight."""

    shared: float
    reach: float
    weight: float


INDEPENDENT = SimilarityKernel(0.0, 0.0, 0.0)
KERNELS = tuple(SimilarityKernel(*pair, -log(12)) for pair in product((0.1, 0.3, 1.0, 3.0), (0.1, 0.3, 1.0)))
"""Kernels with similarity; together they have the prior weight of :data:`INDEPENDENT`."""

MIDDLE = KERNELS[7]
"""Kernel without results: shared variance as large as the noise, at the middle length scale."""


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the mean squared differences of standardised vectors (n, d) and (m, d), (n, m)."""
    squared = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
    return np.asarray(squared.clip(0) / left.shape[1])


@dataclass(frozen=True, slots=True)
class ErrorInputs:
    """Inputs of a process for n crystals.

    Attributes:
        unit: effect of the shared shift on each, in units of its predicted deviation, (n,).
        vectors: standardised embeddings (n, d), or None: then there is no similarity.
    """

    unit: np.ndarray
    vectors: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.unit)


class Covariance:
    """Prior covariance of the errors of n and of m crystals, without their noise of variance 1."""

    def __init__(self, left: ErrorInputs, right: ErrorInputs) -> None:
        self._shift = np.outer(left.unit, right.unit) / PRIOR
        self._distances = None
        if left.vectors is not None and right.vectors is not None:
            self._distances = distances(left.vectors, right.vectors)

    def of(self, kernel: SimilarityKernel) -> np.ndarray:
        """Return the covariance by one kernel, (n, m)."""
        if self._distances is None or not kernel.shared:
            return self._shift
        return np.asarray(self._shift + kernel.shared * np.exp(-kernel.reach * self._distances))


def _variance(crystals: ErrorInputs, kernel: SimilarityKernel) -> np.ndarray:
    return np.asarray(crystals.unit**2 / PRIOR + kernel.shared)


def _width(crystals: ErrorInputs, kernel: SimilarityKernel) -> np.ndarray:
    """Return the deviation with the noise, by which errors are divided: prior variance 1."""
    return np.asarray(np.sqrt(1 + _variance(crystals, kernel)))


def kernels(crystals: ErrorInputs) -> tuple[SimilarityKernel, ...]:
    """Return the kernels that are averaged over."""
    return (INDEPENDENT,) if crystals.vectors is None else (INDEPENDENT, *KERNELS)


def _shares(evidences: list[float]) -> np.ndarray:
    shares = np.exp(np.array(evidences) - max(evidences))
    return np.asarray(shares / shares.sum())


@dataclass(frozen=True, slots=True)
class ErrorProcess:
    """Process of standardised errors: computed minus predicted, in predicted deviations.

    The scale of all variances is unknown, with an inverse gamma prior of weight :data:`PRIOR` at 1.
    """

    known: ErrorInputs
    factors: tuple[tuple[SimilarityKernel, np.ndarray, np.ndarray, float], ...]
    """By kernel: Cholesky factor (n, n), weights (n,), scale of the variances."""
    shares: np.ndarray

    @classmethod
    def fit(cls, known: ErrorInputs, errors: np.ndarray) -> ErrorProcess:
        """Fit the process to errors (n,) of computed crystals."""
        n, factors, evidences = len(errors), [], []
        grams = Covariance(known, known)
        for kernel in kernels(known):
            width = _width(known, kernel)
            gram = (grams.of(kernel) + np.eye(n)) / np.outer(width, width)
            factor = cholesky(gram, lower=True)
            weights = cho_solve((factor, True), errors)
            misfit = float(errors @ weights)
            evidence = -np.log(np.diag(factor)).sum() - (PRIOR + n) / 2 * np.log1p(misfit / PRIOR)
            evidences.append(float(evidence + kernel.weight))
            factors.append((kernel, factor, weights, (PRIOR + misfit) / (PRIOR + n)))
        return cls(known, tuple(factors), _shares(evidences))

    def predict(self, crystals: ErrorInputs) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each crystal's error, (n,) both, in predicted deviations."""
        means, squares = np.zeros(len(crystals)), np.zeros(len(crystals))
        crosses = Covariance(self.known, crystals)
        for share, (kernel, factor, weights, scale) in zip(self.shares, self.factors, strict=True):
            cross = crosses.of(kernel) / np.outer(_width(self.known, kernel), _width(crystals, kernel))
            mean = cross.T @ weights
            explained = (solve_triangular(factor, cross, lower=True) ** 2).sum(0)
            means += share * mean
            squares += share * (scale * (1 - explained) + mean**2)
        return means, np.sqrt(squares - means**2)

    @property
    def p_shared(self) -> float:
        """Return the probability that similar crystals share errors."""
        return float(1 - self.shares[0])

    @property
    def similarity(self) -> SimilarityKernel:
        """Return the kernel with similarity that has the largest evidence."""
        return self.factors[1 + int(self.shares[1:].argmax())][0] if len(self.shares) > 1 else MIDDLE


@dataclass(frozen=True, slots=True)
class Zeros:
    """Probability of zero: the predicted log odds plus an error as above (Laplace's approximation).

    Variances and noise are :data:`ODDS` times as large.
    """

    known: ErrorInputs
    modes: tuple[tuple[SimilarityKernel, np.ndarray, np.ndarray, np.ndarray], ...]
    """By kernel: gradient at the mode (n,), root of the curvature (n,), Cholesky factor (n, n)."""
    shares: np.ndarray

    @classmethod
    def fit(cls, known: ErrorInputs, predicted: np.ndarray, zero: np.ndarray) -> Zeros:
        """Fit to predicted probabilities of zero (n,) and to whether DFT gave zero (n,)."""
        modes, evidences, grams = [], [], Covariance(known, known)
        for kernel in kernels(known):
            odds = _odds(predicted, ODDS * _variance(known, kernel))
            gradient, root, factor, evidence = _mode(odds, zero, ODDS * grams.of(kernel))
            modes.append((kernel, gradient, root, factor))
            evidences.append(evidence + kernel.weight)
        return cls(known, tuple(modes), _shares(evidences))

    def predict(self, crystals: ErrorInputs, predicted: np.ndarray) -> np.ndarray:
        """Return the corrected probability of zero, (n,)."""
        found, crosses = np.zeros(len(crystals)), Covariance(self.known, crystals)
        for share, (kernel, gradient, root, factor) in zip(self.shares, self.modes, strict=True):
            cross = ODDS * crosses.of(kernel)
            before = ODDS * _variance(crystals, kernel)
            explained = (solve_triangular(factor, root[:, None] * cross, lower=True) ** 2).sum(0)
            odds = _odds(predicted, before) + cross.T @ gradient
            found += share * expit(odds / np.sqrt(1 + pi / 8 * (before - explained)))
        return found


def _odds(predicted: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return log odds such that the probability averaged over the prior is the predicted one."""
    return np.asarray(logit(predicted.clip(EXTREME, 1 - EXTREME)) * np.sqrt(1 + pi / 8 * variance))


def _mode(
    odds: np.ndarray, zero: np.ndarray, gram: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Find the mode by Newton's method (Rasmussen and Williams 2006, algorithm 3.1).

    Returns:
        Gradient (n,), root of the curvature (n,), Cholesky factor (n, n), log evidence.
    """
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
