"""Regression trees as plain arrays: grown by LightGBM and scikit-learn, stored and evaluated without them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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


SURE = 4.0
"""The logit of a class that all extra trees agree on."""

DEEPEST = 16
"""Steps in an extra tree."""

FOREST = ".forest"
"""Ends the names of the extra trees that stand beside boosted ones."""

_ARRAYS = ("feature", "threshold", "right", "value")
_WORD = np.dtype([("left", "<u2"), ("feature", "<u2"), ("threshold", "<f4")])


@dataclass(frozen=True)
class Trees:
    """A sum of trees.

    Shapes (trees, nodes): ``feature`` int16 (-1 at a leaf), ``threshold`` float32, ``right`` int16 (child
    beyond the threshold; the other is the next node), ``value`` float32 (of leaves). ``depth`` steps reach
    every leaf.
    """

    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    value: np.ndarray
    depth: int

    @cached_property
    def _packed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
        """For fast reading: a word of 64 bits a node, the leaves' values, roots, and trees left by step.

        A word is (left child, feature, threshold); the right child comes after the left one. The deepest
        trees come first, so that those that are left to walk are the first ones.
        """
        inner = self.feature >= 0
        deeper = self._deeper()
        order = np.argsort(-deeper.sum(axis=0), kind="stable")
        first = np.arange(len(inner)) * inner.shape[1]
        place = np.zeros(inner.shape, np.int64)  # of each node in its tree's new order
        rank = np.cumsum(inner, axis=1)
        tree, node = np.nonzero(inner)
        place[tree, node + 1] = 2 * rank[tree, node] - 1
        place[tree, self.right[tree, node]] = 2 * rank[tree, node]
        used = place > 0
        used[:, 0] = True
        at = (place + first[:, None])[used]
        words = np.zeros(inner.size, _WORD)
        words["left"][at] = np.where(inner, 2 * rank - 1, place)[used]
        words["feature"][at] = self.feature[used].clip(0)
        words["threshold"][at] = np.where(inner, self.threshold, np.inf)[used]  # a leaf sends to itself
        values = np.zeros(inner.size, np.float32)
        values[at] = self.value[used]
        return words.view(np.int64), values, first[order], deeper.sum(axis=1).tolist()

    def _deeper(self) -> np.ndarray:
        """Whether each tree has an inner node at each step from the root, (depth, trees)."""
        inner, steps = self.feature >= 0, []
        here = np.zeros(inner.shape, bool)
        here[:, 0] = True
        for _ in range(self.depth):
            tree, node = np.nonzero(here & inner)
            steps.append((here & inner).any(axis=1))
            here = np.zeros(inner.shape, bool)
            here[tree, node + 1] = here[tree, self.right[tree, node]] = True
        return np.stack(steps)

    def predict(self, rows: np.ndarray, batch: int = 64) -> np.ndarray:
        """Sums over the trees for rows (n, d) without NaN, (n,)."""
        words, values, roots, left = self._packed
        sums = np.zeros(len(rows), dtype=np.float32)
        for start in range(0, len(rows), batch):
            x = rows[start : start + batch]
            own, flat = (np.arange(len(x)) * x.shape[1])[:, None], np.ravel(x)
            place = np.repeat(roots[None], len(x), axis=0)
            for n in left:
                word = words.take(place[:, :n], mode="clip")  # "clip" saves the check of bounds
                halves = word.view(np.uint16).reshape(*word.shape, 4)
                seen = flat.take(own + halves[..., 1], mode="clip")
                place[:, :n] = roots[:n] + halves[..., 0]
                place[:, :n] += seen > word.view(np.float32)[:, 1::2]
            sums[start : start + batch] = values.take(place, mode="clip").sum(axis=1)
        return sums

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays by name, as files keep them."""
        return {name: getattr(self, name) for name in _ARRAYS} | {"depth": np.array([self.depth])}

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Trees:
        """From what :meth:`tensors` gave."""
        return cls(**{name: tensors[name] for name in _ARRAYS}, depth=int(tensors["depth"][0]))


def said_by(trees: Mapping[str, Trees], rows: np.ndarray) -> dict[str, np.ndarray]:
    """What a head's trees say of rows (n, d), (n,) by part: the mean of boosted and extra ones."""
    said: dict[str, np.ndarray] = {}
    for part, own in trees.items():
        if not part.endswith(FOREST):
            beside = trees.get(part + FOREST)
            said[part] = (
                own.predict(rows) if beside is None else (own.predict(rows) + beside.predict(rows)) / 2
            )
    return said


def words(said: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a head's trees say, ``zero`` and ``mean`` (n,), as features for other trees, (n, 3).

    These are the logit of zero, the mean, and the expected value.
    """
    logit, mean = said["zero"], said["mean"]
    return np.stack([logit, mean, mean / (1.0 + np.exp(logit))], axis=1).astype(np.float32)


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
        raise InputError(
            "trees: lightgbm is not installed; pip install 'invdesign[train]', or set trees: 0 in the recipe."
        ) from error
    objective = "binary" if binary else "regression"
    # many trees learn slowly, so that their number only says how fine the steps are
    rate = min(0.1, 20 / n_trees)
    most = min(leaves, max(31, len(x) // 100))
    size = {"num_leaves": most, "max_depth": depth}
    settings = {**_GROWTH, **size, "learning_rate": rate, "objective": objective, "seed": seed}
    grown = lightgbm.train(settings, lightgbm.Dataset(x, y), n_trees)
    return _arrays([info["tree_structure"] for info in grown.dump_model()["tree_info"]])


def fit_forest(x: np.ndarray, y: np.ndarray, *, n_trees: int, seed: int, binary: bool = False) -> Trees:
    """Extra trees on rows (n, d) with targets (n,): their mean.

    They err otherwise than boosted trees: of a few thousand rows the mean of both errs less than either.

    Args:
        x: features without NaN.
        y: targets; 0 or 1 where ``binary``, and the trees then sum to ``SURE`` times (2 p - 1).
        n_trees: how many.
        seed: of the draws.
        binary: classification.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    target = SURE * (2 * y - 1) if binary else y
    settings = {"max_features": 0.3, "min_samples_leaf": 2, "max_depth": DEEPEST}
    grown = ExtraTreesRegressor(n_trees, random_state=seed, **settings).fit(x, target)
    return _stacked([_of_sklearn(tree.tree_, 1 / n_trees) for tree in grown.estimators_], DEEPEST)


def _of_sklearn(tree: Any, share: float) -> list[np.ndarray]:  # noqa: ANN401 - scikit-learn's has no type
    """Columns of a tree's nodes, as ``_ARRAYS``."""
    leaf = tree.children_left < 0
    return [
        np.where(leaf, -1, tree.feature),
        np.where(leaf, 0.0, tree.threshold),
        tree.children_right.clip(0),
        np.where(leaf, share * tree.value[:, 0, 0], 0.0),
    ]


def _arrays(roots: Sequence[dict[str, Any]]) -> Trees:
    flat, depth = [], 1
    for root in roots:
        nodes: list[tuple[int, float, int, float]] = []
        depth = max(depth, _flatten(root, nodes))
        flat.append(nodes)
    columns = [[np.array(column) for column in zip(*nodes, strict=True)] for nodes in flat]
    return _stacked(columns, depth)


def _stacked(trees: Sequence[Sequence[np.ndarray]], depth: int) -> Trees:
    """Trees of columns as ``_ARRAYS``."""
    shape = (len(trees), max(len(columns[0]) for columns in trees))
    feature = np.full(shape, -1, np.int16)
    right = np.zeros_like(feature)
    threshold, value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    arrays: tuple[np.ndarray, ...] = (feature, threshold, right, value)
    for row, columns in enumerate(trees):
        for array, column in zip(arrays, columns, strict=True):
            array[row, : len(column)] = column
    return Trees(feature, threshold, right, value, depth)


def _flatten(node: dict[str, Any], nodes: list[tuple[int, float, int, float]]) -> int:
    """Append a subtree to ``nodes``, the left child next to its parent; returns its depth."""
    own = len(nodes)
    if "split_feature" not in node:
        nodes.append((-1, 0.0, 0, float(node["leaf_value"])))
        return 0
    nodes.append((0, 0.0, 0, 0.0))
    depth_left = _flatten(node["left_child"], nodes)
    right = len(nodes)
    depth_right = _flatten(node["right_child"], nodes)
    nodes[own] = (int(node["split_feature"]), float(node["threshold"]), right, 0.0)
    return 1 + max(depth_left, depth_right)
