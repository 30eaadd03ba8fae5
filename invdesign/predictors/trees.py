"""Boosted regression trees as plain arrays: grown by LightGBM, stored and evaluated without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GROWTH = {
    "num_leaves": 31,
    "min_data_in_leaf": 8,
    "feature_fraction": 0.2,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 3.0,
    "verbose": -1,
    "num_threads": 1,
    "deterministic": True,
}


@dataclass(frozen=True, slots=True)
class Trees:
    """A sum of trees.

    Shapes (trees, nodes): ``feature`` int16 (-1 at a leaf), ``threshold`` float32, ``left`` and ``right``
    int16 (a leaf points at itself), ``value`` float32 (of leaves). ``depth`` steps reach every leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    depth: int

    def predict(self, rows: np.ndarray, batch: int = 1024) -> np.ndarray:
        """Sums over the trees for rows (n, d), (n,)."""
        n_trees, n_nodes = self.feature.shape
        flat = [
            torch.from_numpy(array.astype(kind).ravel())
            for array, kind in (
                (self.feature.clip(0), np.int64),
                (self.threshold, np.float32),
                (self.left, np.int64),
                (self.right, np.int64),
                (self.value, np.float32),
            )
        ]
        feature, threshold, left, right, value = flat
        first = torch.arange(n_trees) * n_nodes
        sums = []
        for x in torch.split(torch.from_numpy(rows), batch):
            place = first.expand(len(x), -1)
            for _ in range(self.depth):
                low = torch.gather(x, 1, feature[place]) <= threshold[place]
                place = torch.where(low, left[place], right[place]) + first
            sums.append(value[place].sum(1))
        return torch.cat(sums).numpy() if sums else np.zeros(0, np.float32)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays by name, as files keep them."""
        names = ("feature", "threshold", "left", "right", "value")
        return {name: getattr(self, name) for name in names} | {"depth": np.array([self.depth])}

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Trees:
        """From what :meth:`tensors` gave."""
        return cls(**{k: v for k, v in tensors.items() if k != "depth"}, depth=int(tensors["depth"][0]))


def fit_trees(x: np.ndarray, y: np.ndarray, *, n_trees: int, seed: int, binary: bool = False) -> Trees:
    """Grow trees on rows (n, d) with targets (n,).

    Args:
        x: features without NaN.
        y: targets; 0 or 1 where ``binary``, and the trees then sum to a logit.
        n_trees: how many.
        seed: of the draws of rows and features.
        binary: classification.

    Raises:
        InputError: LightGBM is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        msg = (
            "trees: lightgbm is not installed; pip install 'invdesign[train]', or set trees: 0 in the recipe."
        )
        raise InputError(msg) from error
    objective = "binary" if binary else "regression"
    # many trees learn slowly, so that their number only says how fine the steps are
    rate = min(0.1, 20 / n_trees)
    settings = {**_GROWTH, "learning_rate": rate, "objective": objective, "seed": seed}
    grown = lightgbm.train(settings, lightgbm.Dataset(x, y), n_trees)
    return _arrays([info["tree_structure"] for info in grown.dump_model()["tree_info"]])


def _arrays(roots: Sequence[dict[str, Any]]) -> Trees:
    flat, depth = [], 1
    for root in roots:
        nodes: list[tuple[int, float, int, int, float]] = []
        depth = max(depth, _flatten(root, nodes))
        flat.append(nodes)
    widest = max(map(len, flat))
    shape = (len(flat), widest)
    feature = np.full(shape, -1, np.int16)
    left, right = np.zeros_like(feature), np.zeros_like(feature)
    threshold, value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row, nodes in enumerate(flat):
        columns = [np.array(column) for column in zip(*nodes, strict=True)]
        arrays: tuple[np.ndarray, ...] = (feature, threshold, left, right, value)
        for array, column in zip(arrays, columns, strict=True):
            array[row, : len(nodes)] = column
    return Trees(feature, threshold, left, right, value, depth)


def _flatten(node: dict[str, Any], nodes: list[tuple[int, float, int, int, float]]) -> int:
    """Append a subtree to ``nodes``; returns its depth."""
    own = len(nodes)
    if "split_feature" not in node:
        nodes.append((-1, 0.0, own, own, float(node["leaf_value"])))
        return 0
    nodes.append((0, 0.0, 0, 0, 0.0))
    left = len(nodes)
    depth_left = _flatten(node["left_child"], nodes)
    right = len(nodes)
    depth_right = _flatten(node["right_child"], nodes)
    nodes[own] = (int(node["split_feature"]), float(node["threshold"]), left, right, 0.0)
    return 1 + max(depth_left, depth_right)
