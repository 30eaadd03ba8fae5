"""Fit the kernel regression of an ensemble."""

from __future__ import annotations

import numpy as np
import torch

from invdesign.predictors.features.composition_and_gene import FRACTIONS
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.predictors.models.kernel import CLIP, LOGIT, Kernel, gaussian
from invdesign.training.predictors.table import Table

ROUNDS = 6
"""Of reweighting; the error changes by less than a percent after them."""


def fit_kernel(
    standardised: np.ndarray, targets: np.ndarray, *, width: float, ridge: float, most: float
) -> Kernel:
    """Solve the ridge regression of each target on the rows where it is known, with Huber's loss.

    Found by reweighting: no row may pull harder than ``most``. A wrong label in twenty is common in computed
    properties; on AFLOW's bulk moduli this takes the error of the logarithm from 0.034 to 0.031.

    Args:
        standardised: features, (m, d).
        targets: (m, heads, 2) zero logit and mean, centred near 0; NaN where not known.
        width: of the kernel, as in :class:`Kernel`.
        ridge: added to the diagonal.
        most: largest weight of a row.
    """
    points = np.clip(standardised, -CLIP, CLIP).astype(np.float16)
    x = torch.from_numpy(points.astype(np.float32))
    gram = gaussian(x, x, width)
    weights = np.zeros(targets.shape, dtype=np.float32)
    for place in np.ndindex(*targets.shape[1:]):
        target = targets[(slice(None), *place)]
        known = np.flatnonzero(~np.isnan(target))
        if len(known):
            own = gram[np.ix_(known, known)]
            weights[(known, *place)] = _robust(own, torch.from_numpy(target[known]), ridge, most).numpy()
    return Kernel(points, weights, width)


def _robust(gram: torch.Tensor, target: torch.Tensor, ridge: float, most: float) -> torch.Tensor:
    """Weights (m,) of one target (m,)."""
    noise = torch.full_like(target, ridge)
    weights = target
    for _ in range(ROUNDS):
        factor = torch.linalg.cholesky(gram + torch.diag(noise))
        weights = torch.cholesky_solve(target[:, None].float(), factor)[:, 0]
        noise = ridge * (noise * weights / (ridge * most)).abs().clamp(min=1.0)
    return weights


RIDGES = ((0.003, 10.0), (0.01, 5.0), (0.03, 3.0))
"""Tried for a kernel regression: ridge, and how hard a row may pull."""


def best_kernel(
    ensemble: Ensemble, standardised: np.ndarray, table: Table, widths: tuple[float, ...]
) -> tuple[float, float, float]:
    """Width, ridge and hardest pull whose regression of the training rows errs least on validation."""
    targets, train, unseen = _targets(ensemble, table), table.rows("train"), table.rows("validation")

    def error(choice: tuple[float, float, float]) -> float:
        found = kernel_of(ensemble, standardised, table, choice, train).predict(standardised[unseen])
        return float(np.nanmean(np.abs(found - targets[unseen]) / (LOGIT, 1.0)))

    return min(((width, *ridge) for width in widths for ridge in RIDGES), key=error)


def kernel_of(
    ensemble: Ensemble,
    standardised: np.ndarray,
    table: Table,
    choice: tuple[float, float, float],
    rows: np.ndarray,
) -> Kernel:
    """Fit the kernel regression to some rows, without the columns of single elements."""
    width, ridge, most = choice
    seen = standardised[rows, FRACTIONS:]
    return fit_kernel(seen, _targets(ensemble, table)[rows], width=width, ridge=ridge, most=most)


def _targets(ensemble: Ensemble, table: Table) -> np.ndarray:
    """Return the targets (n, heads, 2): logit of zero and scaled label; nan: not known."""
    shift, unit = ensemble.label_scale[:, 0], ensemble.label_scale[:, 1]
    zero = np.array([head.zero for head in ensemble.heads])
    targets = np.full((*table.labels.shape, 2), np.nan, dtype=np.float32)
    signs = np.where(np.isnan(table.labels), np.nan, np.where(table.labels <= 0, LOGIT, -LOGIT))
    targets[..., 0] = np.where(zero, signs, np.nan)
    targets[..., 1] = np.where(zero & (table.labels <= 0), np.nan, (table.labels - shift) / unit)
    return targets
