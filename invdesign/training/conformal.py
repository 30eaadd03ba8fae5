"""Split-conformal scales of intervals, and the temperature of a probability."""

from __future__ import annotations

import numpy as np

COVERAGE = 0.90
LEAST_IN_THIRD = 20
"""Errors in a third of the predictions; with fewer in one, all share a scale."""


def by_thirds(mean: np.ndarray, score: np.ndarray) -> tuple[list[float], list[float]]:
    """Split-conformal scales within thirds of the predicted mean; the same for all where one has few.

    Args:
        mean: predicted, (n,).
        score: errors in units of the half width before calibration, (n,).

    Returns:
        The two means between thirds, and the three scales.
    """
    edges = np.quantile(mean, [1 / 3, 2 / 3])
    third = np.digitize(mean, edges)
    if np.bincount(third, minlength=3).min() < LEAST_IN_THIRD:
        scales = [conformal(score)] * 3
    else:
        scales = [conformal(score[third == t]) for t in range(3)]
    return [float(edge) for edge in edges], scales


def conformal(score: np.ndarray) -> float:
    """Return the finite-sample quantile that covers ``COVERAGE`` of exchangeable cases."""
    level = min(1.0, np.ceil((len(score) + 1) * COVERAGE) / len(score))
    return float(np.quantile(score, level, method="higher"))


def temperature(logit: np.ndarray, zero: np.ndarray) -> float:
    """Return the divisor of the logit with the least cross-entropy."""
    from scipy.optimize import minimize_scalar

    sign = np.where(zero, 1.0, -1.0)
    found = minimize_scalar(
        lambda log_t: np.logaddexp(0.0, -sign * logit * np.exp(-log_t)).mean(), bounds=(-2.0, 3.0)
    )
    return float(np.exp(found.x))
