"""Boosted regression trees as plain arrays: grown by LightGBM, stored and evaluated without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GROWTH = {
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

    def predict(self, rows: np.ndarray, batch: int = 256) -> np.ndarray:
        """Sums over the trees for rows (n, d), (n,)."""
        n_trees, n_nodes = self.feature.shape
        first = np.arange(n_trees) * n_nodes
        feature = self.feature.clip(0).astype(np.intp).ravel()
        # at a leaf both children are the leaf itself
        children = np.stack([self.right, self.left], axis=-1) + first[:, None, None]
        children, threshold, value = children.ravel(), self.threshold.ravel(), self.value.ravel()
        sums = np.zeros(len(rows), dtype=np.float32)
        for start in range(0, len(rows), batch):
            x = rows[start : start + batch]
            own, flat = (np.arange(len(x)) * x.shape[1])[:, None], np.ravel(x)
            place = np.broadcast_to(first, (len(x), n_trees))
            for _ in range(self.depth):
                # "clip" saves the check of bounds
                seen = flat.take(feature.take(place, mode="clip") + own, mode="clip")
                low = seen <= threshold.take(place, mode="clip")
                place = children.take(2 * place + low, mode="clip")
            sums[start : start + batch] = value.take(place, mode="clip").sum(axis=1)
        return sums

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays by name, as files keep them."""
        names = ("feature", "threshold", "left", "right", "value")
        return {name: getattr(self, name) for name in names} | {"depth": np.array([self.depth])}

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Trees:
        """From what :meth:`tensors` gave."""
        return cls(**{k: v for k, v in tensors.items() if k != "depth"}, depth=int(tensors["depth"][0]))


def fit_trees(
    x: np.ndarray,
    y: np.ndarray,
    *,
    n_trees: int,
    seed: int,
    binary: bool = False,
    leaves: int = 31,
    depth: int = -1,
) -> Trees:
    """Grow trees on rows (n, d) with targets (n,).

    Args:
        x: features without NaN.
        y: targets; 0 or 1 where ``binary``, and the trees then sum to a logit.
        n_trees: how many.
        seed: of the draws of rows and features.
        binary: classification.
        leaves: most of a tree; where there are few rows one a hundred, at least 31.
        depth: most; -1: any.

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
    most = min(leaves, max(31, len(x) // 100))
    size = {"num_leaves": most, "max_depth": depth}
    settings = {**_GROWTH, **size, "learning_rate": rate, "objective": objective, "seed": seed}
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
