"""Kernel regression and trees: they learn, survive a file, and are evaluated without what grew them."""

from __future__ import annotations

import numpy as np
import pytest

from invdesign.predictors.kernel import LOGIT, fit_kernel
from invdesign.predictors.trees import Trees, fit_trees


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
    from invdesign.predictors.trees import _GROWTH

    grown = lightgbm.train({**_GROWTH, "objective": "regression", "seed": 0}, lightgbm.Dataset(x, y), 40)
    np.testing.assert_allclose(trees.predict(x), grown.predict(x), atol=1e-5)
    again = Trees.of(trees.tensors())
    np.testing.assert_array_equal(again.predict(x), trees.predict(x))
    binary = fit_trees(x, (y > 0).astype(float), n_trees=40, seed=0, binary=True)
    assert ((binary.predict(x) > 0) == (y > 0)).mean() > 0.9
    assert trees.predict(x[:0]).shape == (0,)
