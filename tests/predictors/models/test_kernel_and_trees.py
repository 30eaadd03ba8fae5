"""Kernel regression and trees: they learn, survive a file, and are evaluated without what grew them."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign.predictors.models.kernel import LOGIT
from invdesign.predictors.models.trees import SURE, Trees, predict_trees
from invdesign.training.predictors.ensemble import fit_kernel
from invdesign.training.predictors.trees import fit_forest, fit_trees


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    return x, (np.sin(x[:, 0]) + x[:, 1] * (x[:, 2] > 0)).astype(np.float32)


def test_kernel_learns_each_target_from_the_rows_that_have_it() -> None:
    x, y = rows(600, 0)
    targets = np.full((600, 2, 2), np.nan, dtype=np.float32)
    targets[:, 0, 1] = y
    targets[:300, 1, 0] = np.where(y[:300] > 0, LOGIT, -LOGIT)
    kernel = fit_kernel(x, targets, width=1.0, ridge=0.03, most=10.0)
    fresh, truth = rows(200, 1)
    found = kernel.predict(fresh)
    assert np.abs(found[:, 0, 1] - truth).mean() < 0.35 * np.abs(truth).mean()
    assert ((found[:, 1, 0] > 0) == (truth > 0)).mean() > 0.8
    assert not found[:, 0, 0].any()  # no target, no opinion
    assert kernel.predict(fresh[:0]).shape == (0, 2, 2)


def test_trees_are_what_lightgbm_grew() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    x, y = rows(500, 0)
    trees = fit_trees(x, y, n_trees=40, seed=0)
    from invdesign.training.predictors.trees import _GROWTH

    grown = lightgbm.train({**_GROWTH, "objective": "regression", "seed": 0}, lightgbm.Dataset(x, y), 40)
    np.testing.assert_allclose(trees.predict(x), grown.predict(x), atol=1e-5)
    again = Trees.of(trees.tensors())
    np.testing.assert_array_equal(again.predict(x), trees.predict(x))
    binary = fit_trees(x, (y > 0).astype(float), n_trees=40, seed=0, binary=True)
    assert ((binary.predict(x) > 0) == (y > 0)).mean() > 0.9
    assert trees.predict(x[:0]).shape == (0,)


def test_a_forest_is_what_scikit_learn_grew_and_mixes_with_boosted_trees() -> None:
    pytest.importorskip("lightgbm")
    x, y = rows(500, 0)
    forest = fit_forest(x, y, n_trees=20, seed=0)
    from sklearn.ensemble import ExtraTreesRegressor

    settings = {"max_features": 0.3, "min_samples_leaf": 2, "max_depth": 16}
    grown = ExtraTreesRegressor(20, random_state=0, **settings).fit(x, y)
    np.testing.assert_allclose(forest.predict(x), grown.predict(x), atol=1e-4)
    boosted = fit_trees(x, y, n_trees=40, seed=0)
    mean = (forest.predict(x) + boosted.predict(x)) / 2
    np.testing.assert_allclose(
        predict_trees({"mean": boosted, "mean.forest": forest}, x)["mean"], mean, atol=1e-5
    )
    again = Trees.of(forest.tensors())
    np.testing.assert_array_equal(again.predict(x), forest.predict(x))
    classes = fit_forest(x, (y > 0).astype(float), n_trees=20, seed=0, binary=True)
    assert np.abs(classes.predict(x)).max() <= SURE + 1e-5
    assert ((classes.predict(x) > 0) == (y > 0)).mean() > 0.9


def test_company_and_batches_do_not_change_what_trees_say() -> None:
    x, y = rows(300, 0)
    forest = fit_forest(x, y, n_trees=7, seed=0)
    alone = np.concatenate([forest.predict(row[None]) for row in x])
    np.testing.assert_array_equal(forest.predict(x), alone)


def test_a_kernel_sees_the_last_features() -> None:
    x, y = rows(100, 0)
    targets = np.full((100, 1, 2), np.nan, dtype=np.float32)
    targets[:, 0, 1] = y
    kernel = fit_kernel(x[:, 2:], targets, width=1.0, ridge=0.03, most=10.0)
    np.testing.assert_array_equal(kernel.predict(x), kernel.predict(x[:, 2:]))
