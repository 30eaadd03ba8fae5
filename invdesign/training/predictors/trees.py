"""Growing the trees of an ensemble: boosted trees, extra trees, and stacking of one head on another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError
from invdesign.predictors.models.ensemble import Ensemble, Head
from invdesign.predictors.models.trees import FOREST, SURE, Trees, predict_trees, stacking_features
from invdesign.training.predictors.table import Settings, Table

FOLDS = 2
"""Folds of the out-of-fold predictions; compounds with the stacked label are few among all."""


def grow(
    ensemble: Ensemble,
    standardised: np.ndarray,
    table: Table,
    settings: Settings,
    *,
    seed: int,
    rows: np.ndarray,
    stacked: dict[str, np.ndarray],
) -> dict[str, Trees]:
    """Trees for every head, grown on some rows.

    Args:
        ensemble: has the heads.
        standardised: features of all rows of the table, (n, d).
        table: has their labels.
        settings: how many and how large.
        seed: of the draws of rows and features.
        rows: to learn from.
        stacked: from :func:`out_of_fold_features`.
    """
    grown: dict[str, Trees] = {}
    for index, head in enumerate(ensemble.heads):
        features = standardised
        if head.after:
            features = np.concatenate([standardised, stacked[head.name]], axis=1)
        parts = _grow_head(head, features, table.labels[:, index], rows, settings=settings, seed=seed)
        grown |= {f"{head.name}.{part}": trees for part, trees in parts.items()}
    return grown


def out_of_fold_features(
    ensemble: Ensemble,
    standardised: np.ndarray,
    table: Table,
    settings: Settings,
    *,
    seed: int,
    rows: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return out-of-fold predictions of one head's trees as features, (n, 3), by the head that gets them.

    No tree has seen the composition of the row that it predicts. NaN for other rows than ``rows``
    and for those without a label of the latter head. Arguments as of :func:`grow`.
    """
    found = {}
    names = [head.name for head in ensemble.heads]
    for place, head in enumerate(ensemble.heads):
        if not head.after:
            continue
        index = names.index(head.after)
        shares = table.features[:, : len(SYMBOLS) - 1].round(5)
        compound = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
        stacked_rows = rows[~np.isnan(table.labels[rows, place])]
        fold = np.random.default_rng(seed).integers(0, FOLDS, compound.max() + 1)[compound]
        stacked = np.full((len(standardised), 3), np.nan, dtype=np.float32)
        for number in range(FOLDS):
            unseen = stacked_rows[fold[stacked_rows] == number]
            others = rows[~np.isin(compound[rows], compound[unseen])]
            label = table.labels[:, index]
            parts = _grow_head(
                ensemble.heads[index], standardised, label, others, settings=settings, seed=seed
            )
            stacked[unseen] = stacking_features(predict_trees(parts, standardised[unseen]))
        found[head.name] = stacked
    return found


def _grow_head(
    head: Head,
    features: np.ndarray,
    label: np.ndarray,
    rows: np.ndarray,
    *,
    settings: Settings,
    seed: int,
) -> dict[str, Trees]:
    """Trees by part: ``zero`` where the head has zeros, and ``mean``; with ``FOREST`` the extra ones."""
    known = rows[~np.isnan(label[rows])]
    tasks = {"mean": (known, label[known], seed + 1)}
    if head.zero:
        above = known[label[known] > 0]
        tasks = {
            "zero": (known, (label[known] <= 0).astype(float), seed),
            "mean": (above, label[above], seed + 1),
        }
    grown = {}
    for part, (learned, target, part_seed) in tasks.items():
        x, binary = features[learned], part == "zero"
        size = {"n_trees": settings.trees, "leaves": settings.tree_leaves, "depth": settings.tree_depth}
        grown[part] = fit_trees(x, target, seed=part_seed, binary=binary, **size)
        if head.name in settings.forest:
            n = settings.forest[head.name]
            grown[part + FOREST] = fit_forest(x, target, n_trees=n, seed=seed, binary=binary)
    return grown


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
DEEPEST = 16
"""Steps in an extra tree."""


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
    # many trees learn slowly, so that their number only sets how fine the steps are
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
    place = len(nodes)
    if "split_feature" not in node:
        nodes.append((-1, 0.0, 0, float(node["leaf_value"])))
        return 0
    nodes.append((0, 0.0, 0, 0.0))
    depth_left = _flatten(node["left_child"], nodes)
    right = len(nodes)
    depth_right = _flatten(node["right_child"], nodes)
    nodes[place] = (int(node["split_feature"]), float(node["threshold"]), right, 0.0)
    return 1 + max(depth_left, depth_right)
