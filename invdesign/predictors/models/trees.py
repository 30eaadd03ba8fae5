"""Regression trees as plain arrays: grown by LightGBM and scikit-learn, stored and evaluated without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SURE = 4.0
"""The logit of a class that all extra trees agree on."""


FOREST = ".forest"
"""Ends the names of the extra trees that are averaged with boosted ones."""

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
        """Return sums over the trees for rows (n, d) without NaN, (n,)."""
        words, values, roots, left = self._packed
        sums = np.zeros(len(rows), dtype=np.float32)
        for start in range(0, len(rows), batch):
            x = rows[start : start + batch]
            offset, flat = (np.arange(len(x)) * x.shape[1])[:, None], np.ravel(x)
            place = np.repeat(roots[None], len(x), axis=0)
            for n in left:
                word = words.take(place[:, :n], mode="clip")  # "clip" saves the check of bounds
                halves = word.view(np.uint16).reshape(*word.shape, 4)
                seen = flat.take(offset + halves[..., 1], mode="clip")
                place[:, :n] = roots[:n] + halves[..., 0]
                place[:, :n] += seen > word.view(np.float32)[:, 1::2]
            sums[start : start + batch] = values.take(place, mode="clip").sum(axis=1)
        return sums

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, as files keep them."""
        return {name: getattr(self, name) for name in _ARRAYS} | {"depth": np.array([self.depth])}

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Trees:
        """From what :meth:`tensors` gave."""
        return cls(**{name: tensors[name] for name in _ARRAYS}, depth=int(tensors["depth"][0]))


def predict_trees(trees: Mapping[str, Trees], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Predict with a head's trees for rows (n, d), (n,) by part: the mean of boosted and extra ones."""
    predictions: dict[str, np.ndarray] = {}
    for part, boosted in trees.items():
        if not part.endswith(FOREST):
            forest = trees.get(part + FOREST)
            predictions[part] = (
                boosted.predict(rows)
                if forest is None
                else (boosted.predict(rows) + forest.predict(rows)) / 2
            )
    return predictions


def stacking_features(predictions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Turn a head's tree predictions, ``zero`` and ``mean`` (n,), into features for other trees, (n, 3).

    These are the logit of zero, the mean, and the expected value.
    """
    logit, mean = predictions["zero"], predictions["mean"]
    return np.stack([logit, mean, mean / (1.0 + np.exp(logit))], axis=1).astype(np.float32)
