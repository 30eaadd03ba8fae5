"""What a model from a few examples can be trusted with: cross-validation, learning curve, plain warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invdesign.io.progress import Progress
from invdesign.predictors.transfer import Calibrated, Regression, Rows, class_weights, fit_regression, nearest
from invdesign.training.conformal import COVERAGE
from invdesign.training.metrics import auc
from invdesign.training.predictors.transfer_examples import Examples

FOLDS, REPEATS = 5, 5
SIZES = (10, 20, 40, 80, 160, 320, 640)
FEW, FEW_OF_A_CLASS = 20, 5
DRAWS = 400  # of the bootstrap
MEAN = "always the mean"
TRANSFER, SCRATCH, COMPOSITION = "transfer", "from scratch", "composition baseline"


@dataclass(frozen=True, slots=True)
class LearningCurvePoint:
    """One method's error (MAE) or AUC with ``n`` examples: mean and standard deviation over repetitions."""

    method: str
    n: int
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Repeated cross-validation: what each method predicts for examples that it has not seen.

    Shapes: ``predictions`` by method (repeats, n); ``deviation`` (repeats, n) of transfer; ``curve``:
    rising n.
    """

    predictions: dict[str, np.ndarray]
    deviation: np.ndarray
    curve: tuple[LearningCurvePoint, ...]


def learn(rows: Rows, labels: np.ndarray, groups: np.ndarray, *, classes: bool) -> Regression:
    """Return a regression on examples; of two classes both count the same."""
    weights = class_weights(labels) if classes else np.ones(len(labels))
    return fit_regression(rows, labels, groups, weights)


def folds(groups: np.ndarray, labels: np.ndarray, rng: np.random.Generator, *, classes: bool) -> np.ndarray:
    """Fold of each row, (n,); a composition is in one fold, both classes are in each as far as they go."""
    names, first, where = np.unique(groups, return_index=True, return_inverse=True)
    order = rng.permutation(len(names))
    if classes:
        order = order[np.argsort(labels[first[order]], kind="stable")]
    fold = np.empty(len(names), dtype=int)
    fold[order] = np.arange(len(names)) % FOLDS
    return np.asarray(fold[where])


def measure(predictions: np.ndarray, labels: np.ndarray, *, classes: bool) -> float:
    """AUC of two classes, mean absolute error of numbers."""
    return auc(predictions, labels > 0) if classes else float(np.abs(predictions - labels).mean())


def cross_validate(
    seen: Mapping[str, Rows], examples: Examples, seed: int, progress: Progress
) -> CrossValidation:
    """Cross-validate every method with all and with fewer examples.

    Args:
        seen: what each method sees of the examples; the mean is added.
        examples: their labels and compositions.
        seed: of folds and draws.
        progress: called after each fold.
    """
    labels, groups, classes = examples.labels, examples.groups, bool(examples.classes)
    n = len(labels)
    full = round(n * (1 - 1 / FOLDS))
    sizes = [size for size in SIZES if size <= 0.8 * full] + [full]
    predictions = {(m, size): np.zeros((REPEATS, n)) for m in (*seen, MEAN) for size in sizes}
    deviation = np.zeros((REPEATS, n))
    for repeat in range(REPEATS):
        rng = np.random.default_rng((seed, repeat))
        fold = folds(groups, labels, rng, classes=classes)
        for place in range(FOLDS):
            test, rest = np.flatnonzero(fold == place), np.flatnonzero(fold != place)
            for size in sizes:
                drawn = rest if size == full else _drawn(rest, labels, size, rng, classes=classes)
                predictions[MEAN, size][repeat, test] = 0.0 if classes else labels[drawn].mean()
                for method, rows in seen.items():
                    fitted = learn(rows[drawn], labels[drawn], groups[drawn], classes=classes)
                    mean, std = fitted.predict(rows[test])
                    predictions[method, size][repeat, test] = mean
                    if method == TRANSFER and size == full:
                        deviation[repeat, test] = std
            done = (repeat * FOLDS + place + 1) / (REPEATS * FOLDS)
            progress(done, f"cross-validation {repeat + 1} of {REPEATS}")
    curve = []
    for (method, size), rows_said in predictions.items():
        metrics = [measure(one, labels, classes=classes) for one in rows_said]
        curve.append(LearningCurvePoint(method, size, float(np.mean(metrics)), float(np.std(metrics))))
    return CrossValidation({m: predictions[m, full] for m in (*seen, MEAN)}, deviation, tuple(curve))


def _drawn(
    rows: np.ndarray, labels: np.ndarray, size: int, rng: np.random.Generator, *, classes: bool
) -> np.ndarray:
    """Return some of the rows, of two classes at least two of each as far as there are."""
    shuffled = rng.permutation(rows)
    if classes:
        first = np.concatenate([shuffled[labels[shuffled] == sign][:2] for sign in (-1, 1)])
        shuffled = np.concatenate([first, shuffled[~np.isin(shuffled, first)]])
    return np.asarray(shuffled[:size])


def calibrate(validation: CrossValidation, regression: Regression, examples: Examples) -> Calibrated:
    """Intervals or probabilities that hold for what cross-validation left out, and the domain's reach.

    The scale is the finite-sample 90 % quantile of errors by uncalibrated deviations of left-out rows.
    """
    distance = nearest(regression.similarity, regression.similarity.points, examples.groups)
    reach = float(np.quantile(distance, 0.99))
    predictions, labels = validation.predictions[TRANSFER], examples.labels
    if examples.classes:
        from sklearn.linear_model import LogisticRegression

        again = np.tile(labels, len(predictions)) > 0
        fitted = LogisticRegression(C=10.0 / len(predictions)).fit(predictions.reshape(-1, 1), again)
        slope = max(float(fitted.coef_[0, 0]), 0.0)
        shift = float(fitted.intercept_[0]) if slope else float(np.log(again.mean() / (1 - again.mean())))
        return Calibrated(slope=slope, shift=shift, reach=reach)
    level = min(1.0, np.ceil((len(labels) + 1) * COVERAGE) / len(labels))
    scale = np.quantile(np.abs(predictions - labels) / validation.deviation, level, method="higher")
    return Calibrated(scale=float(scale), reach=reach)


def gain(validation: CrossValidation, method: str, examples: Examples, seed: int) -> tuple[float, float]:
    """How much better than another method transfer is, and the deviation of that over redrawn examples.

    Compositions are redrawn (bootstrap); the prediction of each method is the mean over repetitions.
    """
    classes = bool(examples.classes)
    transfer, other, labels = (
        validation.predictions[TRANSFER],
        validation.predictions[method],
        examples.labels,
    )
    rng = np.random.default_rng(seed)
    names = np.unique(examples.groups)
    members = [np.flatnonzero(examples.groups == name) for name in names]

    def better(rows: np.ndarray) -> float:
        pairs = [
            (measure(a[rows], labels[rows], classes=classes), measure(b[rows], labels[rows], classes=classes))
            for a, b in zip(transfer, other, strict=True)
        ]
        difference = np.mean([b - a for a, b in pairs])
        return float(-difference if classes else difference)

    drawn = [
        better(np.concatenate([members[i] for i in rng.integers(len(names), size=len(names))]))
        for _ in range(DRAWS)
    ]
    return better(np.arange(len(labels))), float(np.nanstd(drawn))


def warnings_of(validation: CrossValidation, examples: Examples, seed: int) -> list[str]:
    """Return what the data cannot support, as plain sentences."""
    found = []
    n = len(examples.labels)
    if n < FEW:
        found.append(
            f"{n} examples are few: below {FEW} neither the model nor its measured error can be relied on."
        )
    for name, sign in zip(examples.classes, (-1, 1), strict=False):
        n_class = int((examples.labels == sign).sum())
        if n_class < FEW_OF_A_CLASS:
            found.append(
                f"Only {n_class} examples are {name}: "
                f"at least {FEW_OF_A_CLASS} of a class are needed to evaluate."
            )
    metric = "AUC" if examples.classes else "error"
    for method, so in (
        (MEAN, "the examples do not support a model: do not use it"),
        (COMPOSITION, "by these examples a model of the composition alone would do"),
        (SCRATCH, "by these examples training on other data adds nothing"),
    ):
        if method not in validation.predictions:
            continue
        better, std = gain(validation, method, examples, seed)
        if better <= std:
            words = f"better by {better:.3g}" if better > 0 else f"worse by {-better:.3g}"
            found.append(
                f"Transfer is not better than {method} by more than "
                f"the standard deviation ({metric} {words}, "
                f"standard deviation {std:.2g}); {so}."
            )
    return found


def points(curve: Sequence[LearningCurvePoint], method: str) -> list[LearningCurvePoint]:
    """Return a method's points by rising n."""
    return sorted((point for point in curve if point.method == method), key=lambda point: point.n)
