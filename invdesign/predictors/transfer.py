"""A model from a few dozen examples: a released model's frozen networks under a small kernel regression.

Crystals are similar if a released model's inputs (CHGNet's embedding among them) and its last hidden layers
say so; what it predicts of its properties may add a straight line. How much each counts, how far
similarity reaches and how noisy the labels are is chosen by leaving out one composition at a time, which this
regression gives in closed form. No weight of the networks changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from invdesign.core.candidate import Z90
from invdesign.io.artifacts import find
from invdesign.predictors.features.composition_and_gene import FRACTIONS
from invdesign.predictors.models.ensemble import MIN_SIGMA, Distribution, Ensemble
from invdesign.predictors.models.files import CONFIG, FILES, read_model, write_model

KIND = "transfer"
BACKBONE = "backbone"
"""Folder of the frozen model within that of the model it carries."""

CAUTION = 0.3  # of the standard error, roughly; 0 and 1 were tried too (docs/guide/few-examples.md)

SURE = 1e-6  # deviation of a class, which is 0 or 1

CLIP = 3.0  # standard deviations of the examples; a straight line must not run away


@dataclass(frozen=True, slots=True)
class Rows:
    """Inputs (n, d), hidden (n, h), predictions (n, p) that the regression sees; h and p may be 0."""

    inputs: np.ndarray
    hidden: np.ndarray
    predictions: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Rows:
        """Return some of the crystals."""
        return Rows(self.inputs[rows], self.hidden[rows], self.predictions[rows])

    def __len__(self) -> int:
        """How many crystals."""
        return len(self.inputs)


def inputs_alone(inputs: np.ndarray) -> Rows:
    """Rows without anything that a model learned elsewhere."""
    nothing = inputs[:, :0]
    return Rows(inputs, nothing, nothing)


def represent(backbone: Ensemble, standardised: np.ndarray) -> Rows:
    """Return what a frozen model makes of standardised feature rows (n, d)."""
    layers: list[np.ndarray] = []
    outward = backbone.network.outward
    hook = outward.register_forward_pre_hook(lambda _, given: layers.append(given[0].numpy()))
    raw = backbone.raw(standardised)
    hook.remove()
    hidden = np.concatenate(layers, axis=1)  # (members, n, width)
    learners = backbone.learners(standardised, raw)  # (learners, n, heads, 2)
    zero = np.array([(head.zero, True) for head in backbone.heads])
    n = len(standardised)
    return Rows(
        standardised[:, FRACTIONS:].astype(float),
        hidden.transpose(1, 0, 2).reshape(n, -1).astype(float),
        learners.transpose(1, 0, 2, 3)[..., zero].reshape(n, -1).astype(float),
    )


@dataclass(frozen=True, slots=True)
class RegressionSetting:
    """What is chosen: share of the hidden layers in similarity, weight of the line, inverse reach, noise."""

    hidden: float
    line: float
    width: float
    noise: float


def settings(rows: Rows) -> list[RegressionSetting]:
    """Every setting that these rows allow."""
    shares = (0.0, 0.5, 1.0) if rows.hidden.shape[1] else (0.0,)
    lines = (0.0, 0.3, 3.0) if rows.predictions.shape[1] else (0.0,)
    return [
        RegressionSetting(*one)
        for one in product(shares, lines, (0.03, 0.1, 0.3, 1.0), (0.003, 0.01, 0.03, 0.1, 0.3, 1.0))
    ]


class Similarity:
    """Similarity of rows to the examples, each part in units of its deviation over the examples."""

    def __init__(self, points: Rows) -> None:
        self.points = points
        self.units = [max(_squared(part, part).mean() / 2, 1e-12) for part in (points.inputs, points.hidden)]
        self.centre = points.predictions.mean(0)
        self.std = np.maximum(points.predictions.std(0), 1e-6)

    def parts(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Squared distances by inputs and hidden layers, and products of predictions, each (n, points)."""
        inputs = _squared(rows.inputs, self.points.inputs) / self.units[0]
        hidden = _squared(rows.hidden, self.points.hidden) / self.units[1]
        line = self._scaled(rows) @ self._scaled(self.points).T / max(len(self.centre), 1)
        return inputs, hidden, line

    def variance(self, rows: Rows, setting: RegressionSetting) -> np.ndarray:
        """Covariance of each row with itself, (n,)."""
        return np.asarray(1 + setting.line * (self._scaled(rows) ** 2).sum(1) / max(len(self.centre), 1))

    def _scaled(self, rows: Rows) -> np.ndarray:
        return np.asarray(np.clip((rows.predictions - self.centre) / self.std, -CLIP, CLIP))


def _squared(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    products = left @ right.T
    return np.asarray(((left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * products).clip(0))


def _covariance(parts: tuple[np.ndarray, np.ndarray, np.ndarray], setting: RegressionSetting) -> np.ndarray:
    inputs, hidden, line = parts
    distance = (1 - setting.hidden) * inputs + setting.hidden * hidden
    return np.asarray(np.exp(-setting.width * distance) + setting.line * line)


class Regression:
    """Kernel regression (mean and deviation of a Gaussian process) on examples.

    ``labels`` (n,), ``weights`` (n,): a row of weight 2 counts as if it were there twice.
    """

    def __init__(
        self,
        similarity: Similarity,
        labels: np.ndarray,
        weights: np.ndarray,
        setting: RegressionSetting,
        parts: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.similarity, self.labels, self.weights, self.setting = similarity, labels, weights, setting
        gram = _covariance(parts or similarity.parts(similarity.points), setting)
        self.inverse = np.linalg.inv(gram + np.diag(setting.noise / weights))
        self.middle = float(np.average(labels, weights=weights))
        self.coefficients = self.inverse @ (labels - self.middle)

    def predict(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Mean and uncalibrated deviation of each row, (n,) each."""
        covariance = _covariance(self.similarity.parts(rows), self.setting)
        explained = np.einsum("nm,mk,nk->n", covariance, self.inverse, covariance, optimize=True)
        variance = self.similarity.variance(rows, self.setting) + self.setting.noise - explained
        return self.middle + covariance @ self.coefficients, np.sqrt(variance.clip(1e-9))

    def errors_left_out(self, several: Sequence[np.ndarray]) -> np.ndarray:
        """Label less prediction of each example by a fit without its composition, (n,).

        Args:
            several: the examples of each composition that has more than one, from :func:`of_one_composition`.
        """
        errors: np.ndarray = self.coefficients / np.diag(self.inverse)
        for rows in several:
            errors[rows] = np.linalg.solve(self.inverse[np.ix_(rows, rows)], self.coefficients[rows])
        return errors


def of_one_composition(groups: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the rows of each group (n,) that has several."""
    names, counts = np.unique(groups, return_counts=True)
    return [np.flatnonzero(groups == name) for name in names[counts > 1]]


def fit_regression(rows: Rows, labels: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> Regression:
    """Return the regression whose setting errs least on compositions left out one at a time.

    What the released model learned must lower that error somewhat to be let in: with ten examples chance
    picks.

    Args:
        rows: of the examples.
        labels: (n,).
        groups: composition of each, (n,).
        weights: (n,).
    """
    similarity = Similarity(rows)
    parts, several = similarity.parts(rows), of_one_composition(groups)
    caution = 1 + CAUTION * len(labels) ** -0.5

    def error(one: Regression) -> float:
        error = float(weights @ np.abs(one.errors_left_out(several)))
        return error * caution if one.setting.hidden or one.setting.line else error

    return min((Regression(similarity, labels, weights, one, parts) for one in settings(rows)), key=error)


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Weights (n,) by which both classes of labels -1 and 1 count the same."""
    share = np.where(labels > 0, (labels > 0).mean(), (labels < 0).mean())
    return np.asarray(0.5 / share)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What cross-validation found.

    ``scale`` multiplies a number's deviation; ``slope`` and ``shift`` turn a score into the logit of the
    second class. ``reach``: largest distance to the nearest example inside the domain.
    """

    scale: float = 1.0
    slope: float = 1.0
    shift: float = 0.0
    reach: float = np.inf


class Transferred:
    """A frozen model and a regression on what it makes of crystals; stands in for an ``Ensemble``.

    ``about`` is as an ensemble's; ``classes`` are the names of 0 and 1 where the property is one of two.
    """

    def __init__(
        self,
        backbone: Ensemble,
        regression: Regression,
        calibrated: Calibrated,
        about: dict[str, Any],
        classes: Sequence[str] = (),
    ) -> None:
        self.backbone, self.regression, self.calibrated = backbone, regression, calibrated
        self.about, self.classes = about, tuple(classes)
        self.feature_mean, self.feature_std = backbone.feature_mean, backbone.feature_std

    def standardise(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) on the scale of the frozen model."""
        return self.backbone.standardise(features)

    def inside(self, standardised: np.ndarray) -> np.ndarray:
        """Whether each row lies in the frozen model's domain and near some example, (n,) bool."""
        near = nearest(self.regression.similarity, represent(self.backbone, standardised))
        return np.asarray(self.backbone.inside(standardised) & (near <= self.calibrated.reach))

    def distributions(
        self,
        standardised: np.ndarray,
        *,
        hypothetical: bool = True,  # noqa: ARG002
    ) -> dict[str, Distribution]:
        """Calibrated distribution of the property for standardised rows (n, d).

        ``hypothetical`` is there as for an ensemble; the examples do not have it.
        """
        mean, deviation = self.regression.predict(represent(self.backbone, standardised))
        name = next(iter(self.about["properties"]))
        if self.classes:
            p_first = expit(-(self.calibrated.slope * mean + self.calibrated.shift))
            return {name: Distribution(np.ones_like(mean), np.full_like(mean, SURE), p_first)}
        sigma = np.maximum(self.calibrated.scale * deviation / Z90, MIN_SIGMA)
        return {name: Distribution(mean, sigma, np.zeros_like(mean))}

    def save(self, folder: Path, standardised: np.ndarray) -> None:
        """Write the frozen model to ``backbone/`` and the rest next to it.

        Args:
            folder: to make.
            standardised: rows of the examples, (n, d).
        """
        self.backbone.save(folder / BACKBONE, "property")
        tensors: dict[str, np.ndarray] = {
            "examples": standardised.astype(np.float32),
            "labels": self.regression.labels.astype(np.float64),
            "weights": self.regression.weights.astype(np.float64),
        }
        config = {
            "kind": KIND,
            "setting": asdict(self.regression.setting),
            "calibration": asdict(self.calibrated),
            "classes": self.classes,
            "about": self.about,
        }
        write_model(folder, config, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Transferred:
        """Return what :meth:`save` wrote.

        Raises:
            InputError: a file is missing or damaged.
        """
        backbone = Ensemble.load(find("models", folder, needs=FILES) / BACKBONE, kind="property")
        with read_model(folder, KIND) as (config, tensors):
            similarity = Similarity(represent(backbone, tensors["examples"]))
            setting = RegressionSetting(**config["setting"])
            regression = Regression(similarity, tensors["labels"], tensors["weights"], setting)
            calibrated = Calibrated(**config["calibration"])
            return cls(backbone, regression, calibrated, config["about"], config["classes"])


def is_transferred(folder: str | Path) -> bool:
    """Whether a model's folder holds one of these."""
    config = find("models", folder, needs=FILES) / CONFIG
    return f'"kind": "{KIND}"' in config.read_text(errors="replace")


def nearest(similarity: Similarity, rows: Rows, groups: np.ndarray | None = None) -> np.ndarray:
    """Distance of each row to the nearest example, (n,); of examples, to the nearest of another group."""
    inputs, hidden, _ = similarity.parts(rows)
    distance = np.sqrt(inputs + hidden)
    if groups is not None:
        distance[groups[:, None] == groups] = np.inf
    return np.asarray(distance.min(1))
