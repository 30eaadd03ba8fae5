"""An ensemble of small networks on feature vectors: calibrated, and it knows its training domain.

All networks live in one module with stacked weights, so that one batched product serves them all. Boosted
trees may be averaged with them, or a kernel regression takes their place and they give its uncertainty.
Every head predicts a share at exactly zero (``zero`` heads: metals have no gap) and a normal for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import nn

from invdesign.core.candidate import Estimate, Estimates
from invdesign.predictors.features.composition_and_gene import VERSION
from invdesign.predictors.models.files import read_model, weights_of, write_model
from invdesign.predictors.models.kernel import Kernel
from invdesign.predictors.models.trees import Trees, predict_trees, stacking_features

MIN_SIGMA = 1e-3


@dataclass(frozen=True, slots=True)
class Head:
    """One predicted property.

    ``zero``: a share of crystals has exactly zero. ``calibrated_on``: the one source whose rows the
    intervals must cover; all of them if empty. ``hypothetical``: the source of hypothetical crystals,
    where their errors are of another size than those of the rest; both then have separate intervals.
    ``trees_alone``: the networks only give the uncertainty. ``after``: the head whose trees' out-of-fold
    predictions are features of this one's trees (stacking).
    """

    name: str
    zero: bool = False
    calibrated_on: str = ""
    hypothetical: str = ""
    trees_alone: bool = False
    after: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What fixes the network's parameters."""

    n_features: int
    heads: tuple[Head, ...]
    members: int = 5
    width: int = 256
    depth: int = 3
    dropout: float = 0.1


@dataclass(slots=True)
class IntervalCalibration:
    """What maps raw outputs to honest distributions, per head name.

    ``temperature`` divides the zero logit. ``scales`` multiply sigma; ``edges`` (two predicted
    means) determine which of the three scales a prediction takes. ``known_…``: the same for known crystals,
    of heads that distinguish them from hypothetical ones.
    """

    temperature: dict[str, float] = field(default_factory=dict)
    edges: dict[str, list[float]] = field(default_factory=dict)
    scales: dict[str, list[float]] = field(default_factory=dict)
    known_edges: dict[str, list[float]] = field(default_factory=dict)
    known_scales: dict[str, list[float]] = field(default_factory=dict)

    def factors(self, name: str, mean: np.ndarray, *, hypothetical: np.ndarray | bool) -> np.ndarray:
        """Return what multiplies the sigma of each predicted mean (n,) of a head, (n,)."""
        found = np.ones(len(mean))
        if name in self.scales:
            found = np.take(self.scales[name], np.digitize(mean, self.edges[name]))
        if name in self.known_scales:
            known = np.take(self.known_scales[name], np.digitize(mean, self.known_edges[name]))
            found = np.where(hypothetical, found, known)
        return found


@dataclass(frozen=True, slots=True)
class Domain:
    """Distance to the nearest training cluster in whitened principal components.

    Shapes: ``axes`` (d, k), ``centres`` (c, k). ``threshold`` holds 99 % of the calibration rows.
    """

    axes: np.ndarray
    centres: np.ndarray
    threshold: float

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray], config: Mapping[str, float] | None) -> Domain | None:
        """Return the domain in a model's files, if it has one."""
        if config is None:
            return None
        return cls(tensors["domain.axes"], tensors["domain.centres"], **config)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return what is stored next to the threshold."""
        return {"domain.axes": self.axes, "domain.centres": self.centres}

    def distance(self, standardised: np.ndarray) -> np.ndarray:
        """Distances of standardised feature rows (n, d), as (n,)."""
        points = torch.from_numpy(standardised @ self.axes)
        return torch.cdist(points, torch.from_numpy(self.centres)).min(dim=1).values.numpy()


@dataclass(frozen=True, slots=True)
class Distribution:
    """Arrays (n,) of one head: the normal part and the share at zero."""

    mean: np.ndarray
    sigma: np.ndarray
    p_zero: np.ndarray


class StackedLinear(nn.Module):
    """A linear layer per member: (members, n, in) → (members, n, out)."""

    def __init__(self, members: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(members, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the weights of every member."""
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleNetwork(nn.Module):
    """Residual multilayer perceptrons, one per member, side by side."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.inward = StackedLinear(shape.members, shape.n_features, shape.width)
        self.blocks = nn.ModuleList(
            StackedLinear(shape.members, shape.width, shape.width) for _ in range(shape.depth - 1)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(shape.width, elementwise_affine=False) for _ in range(shape.depth - 1)
        )
        self.outward = StackedLinear(shape.members, shape.width, 3 * len(shape.heads))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw outputs (zero logit, mean, log sigma).

        Args:
            x: standardised features, (members, n, d).

        Returns:
            (members, n, heads, 3)
        """
        h = self.inward(x)  # (m, n, width)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            h = h + block(self.dropout(nn.functional.silu(norm(h))))
        out: torch.Tensor = self.outward(nn.functional.silu(h))
        return out.view(*out.shape[:2], len(self.shape.heads), 3)


class Ensemble:
    """Network, feature and label scales, calibration and domain: everything a prediction needs.

    Shapes: ``feature_mean`` and ``feature_std`` (d,) of the features;
    ``label_scale`` (heads, 2): mean and scale.
    """

    def __init__(
        self,
        network: EnsembleNetwork,
        feature_mean: np.ndarray,
        feature_std: np.ndarray,
        label_scale: np.ndarray,
    ) -> None:
        self.network = network.eval()
        self.feature_mean = feature_mean.astype(np.float32)
        self.feature_std = feature_std.astype(np.float32)
        self.label_scale = label_scale.astype(np.float32)
        self.calibration = IntervalCalibration()
        self.domain: Domain | None = None
        self.kernel: Kernel | None = None
        self.trees: dict[str, Trees] = {}
        """By head and part: ``band_gap.zero`` (logit), ``band_gap.mean`` (in label units), ``….forest``."""
        self.about: dict[str, Any] = {}
        """Further fields of ``config.json``, for the code that computes the features."""

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads in the order of the outputs."""
        return self.network.shape.heads

    def standardise(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) on the scale of training; NaN (unknown) becomes the training mean."""
        scaled = (features.astype(np.float32) - self.feature_mean) / self.feature_std
        return np.asarray(np.nan_to_num(np.clip(scaled, -8.0, 8.0), nan=0.0))

    def raw(self, standardised: np.ndarray, batch: int = 4096) -> np.ndarray:
        """Uncalibrated outputs of every member, (members, n, heads, 3): zero logit, mean, sigma."""
        parts = []
        with torch.inference_mode():
            for rows in torch.split(torch.from_numpy(standardised), batch):
                x = rows.expand(self.network.shape.members, *rows.shape)
                parts.append(self.network(x).numpy())
        out = np.concatenate(parts, axis=1)
        shift, unit = self.label_scale[:, 0], self.label_scale[:, 1]
        mean = out[..., 1] * unit + shift
        sigma = np.exp(np.clip(out[..., 2], -7.0, 3.0)) * unit
        return np.stack([out[..., 0], mean, sigma], axis=-1)

    def learners(self, standardised: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Predict with each kind of learner, (learners, n, heads, 2): zero logit and mean; networks first.

        Args:
            standardised: rows (n, d).
            raw: of the networks, (members, n, heads, 3).
        """
        predictions = [raw[..., :2].mean(0)]
        if self.kernel is not None:
            of_kernel = self.kernel.predict(standardised)
            of_kernel[..., 1] = of_kernel[..., 1] * self.label_scale[:, 1] + self.label_scale[:, 0]
            predictions.append(of_kernel)
        if self.trees:
            of_trees = predictions[0].copy()  # a head without trees keeps the networks' prediction
            for index, parts in self._tree_predictions(standardised).items():
                for part, values in parts.items():
                    of_trees[:, index, ("zero", "mean").index(part)] = values
            predictions.append(of_trees)
        return np.stack(predictions)

    def _tree_predictions(self, standardised: np.ndarray) -> dict[int, dict[str, np.ndarray]]:
        """Predict with the trees, (n,) by head index and part; stacked heads last."""
        found: dict[int, dict[str, np.ndarray]] = {}
        names = [head.name for head in self.heads]
        for head in sorted(self.heads, key=lambda head: head.after != ""):
            seen = standardised
            if head.after:
                stacked = stacking_features(found[names.index(head.after)])
                seen = np.concatenate([standardised, stacked], axis=1)
            prefix = f"{head.name}."
            trees = {k.removeprefix(prefix): v for k, v in self.trees.items() if k.startswith(prefix)}
            found[names.index(head.name)] = predict_trees(trees, seen)
        return found

    def logits(self, standardised: np.ndarray) -> np.ndarray:
        """Uncalibrated logits of zero, (n, heads)."""
        predictions = self.learners(standardised, self.raw(standardised))
        return np.stack(
            [self._combined(predictions, index)[..., 0].mean(0) for index in range(len(self.heads))], axis=1
        )

    def _combined(self, predictions: np.ndarray, index: int) -> np.ndarray:
        """Select the learners that count for a head, (learners, n, 2): no networks next to a kernel."""
        if self.heads[index].trees_alone:
            return predictions[-1:, :, index]
        return predictions[1:, :, index] if self.kernel is not None else predictions[:, :, index]

    def distributions(
        self, standardised: np.ndarray, *, hypothetical: np.ndarray | bool = True
    ) -> dict[str, Distribution]:
        """Calibrated distributions of every head.

        Args:
            standardised: rows (n, d).
            hypothetical: whether the crystal is hypothetical, of all or of each (n,), for heads that ask.
        """
        raw = self.raw(standardised)
        predictions = self.learners(standardised, raw)
        result = {}
        for index, head in enumerate(self.heads):
            mean, sigma = raw[:, :, index, 1], raw[:, :, index, 2]  # each (members, n)
            logit, middle = self._combined(predictions, index).mean(0).T
            deviation = np.sqrt((sigma**2).mean(0) + mean.var(0) + predictions[:, :, index, 1].var(0))
            deviation = deviation * self.calibration.factors(head.name, middle, hypothetical=hypothetical)
            temperature = self.calibration.temperature.get(head.name, 1.0)
            p_zero = expit(logit / temperature) if head.zero else np.zeros(len(middle))
            result[head.name] = Distribution(middle, np.maximum(deviation, MIN_SIGMA), p_zero)
        return result

    def predict(self, features: np.ndarray) -> list[dict[str, Estimate]]:
        """Estimates of every reported head, one dictionary per feature row (n, d)."""
        if len(features) == 0:
            return []
        standardised = self.standardise(features)
        inside = self.inside(standardised)
        columns = {
            name: Estimates(found.mean, found.sigma, found.p_zero, inside).rows()
            for name, found in self.distributions(standardised).items()
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def inside(self, standardised: np.ndarray) -> np.ndarray:
        """Whether each standardised row lies in the training domain, (n,) bool."""
        if self.domain is None:
            return np.ones(len(standardised), dtype=bool)
        return self.domain.distance(standardised) <= self.domain.threshold

    def save(self, folder: Path, kind: str) -> None:
        """Write ``model.safetensors`` and ``config.json``; ``kind`` names the kind of features."""
        tensors = {f"network.{k}": v.numpy() for k, v in self.network.state_dict().items()}
        tensors |= {
            "feature_mean": self.feature_mean,
            "feature_std": self.feature_std,
            "label_scale": self.label_scale,
        }
        if self.domain is not None:
            tensors |= self.domain.tensors()
        if self.kernel is not None:
            tensors |= {"kernel.points": self.kernel.points, "kernel.weights": self.kernel.weights}
        for name, trees in self.trees.items():
            tensors |= {f"trees.{name}.{part}": array for part, array in trees.tensors().items()}
        config = {
            "kind": kind,
            "features_version": VERSION,
            "shape": asdict(self.network.shape),
            "calibration": asdict(self.calibration),
            "domain": self.domain and {"threshold": self.domain.threshold},
            "kernel_width": self.kernel and self.kernel.width,
            "about": self.about,
        }
        write_model(folder, config, tensors)

    @classmethod
    def load(cls, name: str | Path, kind: str) -> Ensemble:
        """Return the ensemble of a released model (by name) or of a user's folder.

        Raises:
            InputError: the folder or a file is missing, is not what ``save`` writes, or is a model of
                another kind or of features that this version computes otherwise.
        """
        with read_model(name, kind, features_version=VERSION) as (config, tensors):
            heads = tuple(Head(**head) for head in config["shape"]["heads"])
            network = EnsembleNetwork(Shape(**{**config["shape"], "heads": heads}))
            network.load_state_dict(weights_of(tensors, "network."))
            ensemble = cls(network, tensors["feature_mean"], tensors["feature_std"], tensors["label_scale"])
            ensemble.calibration = IntervalCalibration(**config["calibration"])
            ensemble.domain = Domain.of(tensors, config["domain"])
            if "kernel.points" in tensors:
                width = config["kernel_width"]
                ensemble.kernel = Kernel(tensors["kernel.points"], tensors["kernel.weights"], width)
            ensemble.trees = _trees(tensors)
            ensemble.about = config.get("about", {})
            return ensemble


def _trees(tensors: Mapping[str, np.ndarray]) -> dict[str, Trees]:
    """Trees by head and part from a file's tensors, ``trees.<head>.<part>.<array>``."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for key, array in tensors.items():
        if key.startswith("trees."):
            name, _, field_name = key.removeprefix("trees.").rpartition(".")
            parts.setdefault(name, {})[field_name] = array
    return {name: Trees.of(arrays) for name, arrays in parts.items()}
