"""How well a model does on held-out rows: errors, ranking, coverage of its intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.candidate import Z90

if TYPE_CHECKING:
    from invdesign.predictors.models.ensemble import Distribution


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative (ties half)."""
    from scipy.stats import rankdata

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def calibration_error(probability: np.ndarray, happened: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of predicted and observed share over equal-width bins."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    total = np.bincount(place, minlength=bins)
    gap = np.abs(np.bincount(place, probability, bins) - np.bincount(place, happened, bins))
    return float(gap[total > 0].sum() / len(probability))


def covered(found: Distribution, label: np.ndarray) -> np.ndarray:
    """Whether the 90 % interval of the normal part holds the label, (n,) bool."""
    return np.asarray(np.abs(label - found.mean) <= Z90 * found.sigma)


def interval_metrics(found: Distribution, label: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Error and coverage of the normal part on ``rows``: overall and by thirds of the predicted mean."""
    mean, label_rows = found.mean[rows], label[rows]
    inside = covered(found, label)[rows]
    third = np.digitize(mean, np.quantile(mean, [1 / 3, 2 / 3]))
    error = mean - label_rows
    return {
        "n": len(mean),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "coverage_90": float(inside.mean()),
        **{
            f"coverage_90_third_{t + 1}": float(inside[third == t].mean()) if (third == t).any() else np.nan
            for t in range(3)
        },
        "mean_width_90": float(2 * Z90 * found.sigma[rows].mean()),
    }


def gap_metrics(found: Distribution, label: np.ndarray) -> dict[str, float]:
    """Figures of a zero-or-positive property, zeros told from the rest first.

    ``mae`` and ``rmse`` are of the normal part on the crystals that truly are above zero;
    ``mae_all`` is of the single best figure (0 where zero is likelier) on all.
    """
    zero = label <= 0
    best = np.where(found.p_zero > 0.5, 0.0, found.mean)
    return {
        **interval_metrics(found, label, ~zero),
        "n_all": len(label),
        "auc_zero": auc(found.p_zero, zero),
        "ece_zero": calibration_error(found.p_zero, zero),
        "mae_all": float(np.abs(best - label).mean()),
        "mae_best_on_nonzero": float(np.abs(best - label)[~zero].mean()),
    }


def rank_metrics(found: Distribution, label: np.ndarray, threshold: float) -> dict[str, float]:
    """Figures of a property that is asked to lie under a threshold: ranking and probability."""
    from scipy.special import ndtr

    under = label < threshold
    probability = ndtr((threshold - found.mean) / found.sigma)
    return {
        **interval_metrics(found, label, np.ones(len(label), dtype=bool)),
        "spearman": spearman(found.mean, label),
        "share_under": float(under.mean()),
        "auc_under": auc(-found.mean, under),
        "auc_probability": auc(probability, under),
        "ece_under": calibration_error(probability, under),
        "share_under_best_tenth": float(under[np.argsort(-probability)[: max(1, len(label) // 10)]].mean()),
    }
