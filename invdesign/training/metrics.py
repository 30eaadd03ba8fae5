"""How well a model does on held-out rows: errors, ranking, coverage of its intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from invdesign.core.candidate import Z90
from invdesign.predictors.models.ensemble import Distribution, Ensemble
from invdesign.predictors.property_predictor import LearnedProperty
from invdesign.training.predictors.table import Table

View = Callable[[np.ndarray], np.ndarray]


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative (ties half)."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return float("nan")
    return float(roc_auc_score(positive, score))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def calibration_error(probability: np.ndarray, happened: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: mean |predicted - observed share| over equal-width bins."""
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
    """Metrics of a zero-or-positive property, zeros classified first.

    ``mae`` and ``rmse`` are of the normal part on the crystals that truly are above zero;
    ``mae_all`` is of the point estimate (0 where zero is likelier) on all.
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
    """Metrics of a property that is asked to lie under a threshold: ranking and probability."""
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


def held_out(
    ensemble: Ensemble, table: Table, head: str, seen: View | None = None
) -> dict[str, tuple[Distribution, np.ndarray, np.ndarray]]:
    """Distribution, label and in-domain flag of the test rows that have a label, by source.

    Intervals are those of hypothetical crystals or of known ones, as the source is.
    ``seen`` changes the features, (n, d), to what the model is shown of them.
    """
    index = [h.name for h in ensemble.heads].index(head)
    rows = table.rows("test")
    rows = rows[~np.isnan(table.labels[rows, index])]
    features = table.features[rows]
    standardised = ensemble.standardise(seen(features) if seen else features)
    hypothetical = table.source[rows] == ensemble.heads[index].hypothetical
    found = ensemble.distributions(standardised, hypothetical=hypothetical)[head]
    inside = ensemble.inside(standardised)
    result = {}
    for source in dict.fromkeys(table.source[rows].tolist()):
        chosen = table.source[rows] == source
        part = Distribution(found.mean[chosen], found.sigma[chosen], found.p_zero[chosen])
        result[source] = (part, table.labels[rows[chosen], index], inside[chosen])
    return result


def trivial(table: Table, index: int, n: int, *, zero: bool) -> Distribution:
    """Predict the same for every crystal: the training rows' share at zero, median and deviation."""
    label = table.labels[table.rows("train"), index]
    label = label[~np.isnan(label)]
    share = float((label <= 0).mean()) if zero else 0.0
    label = label[label > 0] if zero else label
    deviation = float(np.quantile(np.abs(label - np.median(label)), 0.9)) / 1.6449
    return Distribution(np.full(n, np.median(label)), np.full(n, deviation), np.full(n, share))


def domain_metrics(ensemble: Ensemble, table: Table, head: str) -> dict[str, float | None]:
    """Return the errors of one head inside and outside the applicability domain, on the test rows."""
    found = held_out(ensemble, table, head).values()
    index = [h.name for h in ensemble.heads].index(head)
    counted = [
        (label > 0) if ensemble.heads[index].zero else np.ones(len(label), bool) for _, label, _ in found
    ]
    error = np.concatenate([np.abs(d.mean - y)[k] for (d, y, _), k in zip(found, counted, strict=True)])
    inside = np.concatenate([i[k] for (_, _, i), k in zip(found, counted, strict=True)])
    return inside_outside(error, inside)


def inside_outside(error: np.ndarray, inside: np.ndarray) -> dict[str, float | None]:
    """Return the mean errors (n,) inside and outside the applicability domain; None: no row there."""
    return {
        "n": len(inside),
        "n_outside": int((~inside).sum()),
        "mae_inside": float(error[inside].mean()) if inside.any() else None,
        "mae_outside": float(error[~inside].mean()) if not inside.all() else None,
    }


def property_metrics(
    ensemble: Ensemble, table: Table, name: str, measured: LearnedProperty
) -> dict[str, dict[str, float]]:
    """Metrics of one property on the test rows, by source; next to them the trivial prediction."""
    index = [head.name for head in ensemble.heads].index(name)
    columns = {}
    for source, (found, label, inside) in held_out(ensemble, table, name).items():
        if measured.zero and not (label > 0).any():
            continue  # nothing whose size could be measured
        columns[source] = measure(found, label, measured) | {"inside": float(inside.mean())}
        same = trivial(table, index, len(label), zero=measured.zero)
        columns[f"{source}, trivial"] = measure(same, label, measured)
    return columns


def measure(found: Distribution, label: np.ndarray, measured: LearnedProperty) -> dict[str, float]:
    """Metrics of one property on labelled rows."""
    if measured.zero:
        return gap_metrics(found, label)
    return interval_metrics(found, label, np.ones(len(label), dtype=bool))
