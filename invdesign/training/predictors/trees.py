"""Growing the trees of an ensemble: boosted, extra trees beside them, and what one head tells another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import SYMBOLS
from invdesign.predictors.models.trees import FOREST, Trees, fit_forest, fit_trees, said_by, words

if TYPE_CHECKING:
    from invdesign.predictors.models.ensemble import Ensemble, Head
    from invdesign.training.predictors.ensemble import Settings, Table

FOLDS = 2
"""Parts that what is told of the one is learned on the others; compounds of the pupil are few among all."""


def grow(
    ensemble: Ensemble,
    standardised: np.ndarray,
    table: Table,
    settings: Settings,
    *,
    seed: int,
    rows: np.ndarray,
    told: dict[str, np.ndarray],
) -> dict[str, Trees]:
    """Trees for every head, grown on some rows.

    Args:
        ensemble: has the heads.
        standardised: features of all rows of the table, (n, d).
        table: has their labels.
        settings: how many and how large.
        seed: of the draws of rows and features.
        rows: to learn from.
        told: as :func:`tell` gave it.
    """
    grown: dict[str, Trees] = {}
    for index, head in enumerate(ensemble.heads):
        features = standardised
        if head.after:
            features = np.concatenate([standardised, told[head.name]], axis=1)
        parts = _grow_head(head, features, table.labels[:, index], rows, settings=settings, seed=seed)
        grown |= {f"{head.name}.{part}": trees for part, trees in parts.items()}
    return grown


def tell(
    ensemble: Ensemble,
    standardised: np.ndarray,
    table: Table,
    settings: Settings,
    *,
    seed: int,
    rows: np.ndarray,
) -> dict[str, np.ndarray]:
    """What the trees of one head say to those of another, (n, 3), by the name of the latter.

    They say it of some rows, each time having seen none of the row's composition; of others, and of those
    that do not teach the latter head, nan. Arguments as of :func:`grow`.
    """
    found = {}
    names = [head.name for head in ensemble.heads]
    for pupil, head in enumerate(ensemble.heads):
        if not head.after:
            continue
        index = names.index(head.after)
        shares = table.features[:, : len(SYMBOLS) - 1].round(5)
        compound = np.unique(shares, axis=0, return_inverse=True)[1].ravel()
        pupils = rows[~np.isnan(table.labels[rows, pupil])]
        fold = np.random.default_rng(seed).integers(0, FOLDS, compound.max() + 1)[compound]
        told = np.full((len(standardised), 3), np.nan, dtype=np.float32)
        for number in range(FOLDS):
            own = pupils[fold[pupils] == number]
            others = rows[~np.isin(compound[rows], compound[own])]
            label = table.labels[:, index]
            parts = _grow_head(
                ensemble.heads[index], standardised, label, others, settings=settings, seed=seed
            )
            told[own] = words(said_by(parts, standardised[own]))
        found[head.name] = told
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
    own = rows[~np.isnan(label[rows])]
    tasks = {"mean": (own, label[own], seed + 1)}
    if head.zero:
        above = own[label[own] > 0]
        tasks = {
            "zero": (own, (label[own] <= 0).astype(float), seed),
            "mean": (above, label[above], seed + 1),
        }
    grown = {}
    for part, (learned, target, own_seed) in tasks.items():
        x, binary = features[learned], part == "zero"
        size = {"n_trees": settings.trees, "leaves": settings.tree_leaves, "depth": settings.tree_depth}
        grown[part] = fit_trees(x, target, seed=own_seed, binary=binary, **size)
        if head.name in settings.forest:
            n = settings.forest[head.name]
            grown[part + FOREST] = fit_forest(x, target, n_trees=n, seed=seed, binary=binary)
    return grown
