"""What to compute for information: BoTorch's acquisition, spread out, and where a hit is in doubt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.campaign.active_learning.acquisition import most_informative
from invdesign.campaign.active_learning.residual_gp import MIDDLE


def crystals(seed: int, n: int, d: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(1, 8))
def test_picks_are_distinct_and_the_same_again(seed, n_computed, n):
    pool, computed = crystals(seed, 20), crystals(seed + 1, n_computed)
    chances = np.random.default_rng(seed).uniform(size=20)
    picks = most_informative(n, chances, pool, computed, MIDDLE)
    assert len(set(picks)) == n
    assert most_informative(n, chances, pool, computed, MIDDLE) == picks
    assert most_informative(3, chances, pool, computed, MIDDLE) == picks[:3] or n < 3


def test_a_small_pool_is_taken_whole():
    assert sorted(most_informative(9, np.full(3, 0.5), crystals(0, 3), crystals(1, 2), MIDDLE)) == [0, 1, 2]


def test_duplicates_are_not_both_picked():
    pool = np.repeat(np.eye(4) * 8, 5, axis=0)  # four kinds of crystal, five of each
    picks = most_informative(4, np.full(20, 0.5), pool, np.zeros((1, 4)), MIDDLE)
    assert {pick // 5 for pick in picks} == {0, 1, 2, 3}


def test_what_is_known_or_certain_is_not_asked():
    pool = np.repeat(np.eye(3) * 8, 4, axis=0)
    chances = np.array([0.5] * 4 + [0.5] * 4 + [0.0] * 4)  # the last kind is certainly no hit
    (pick,) = most_informative(1, chances, pool, np.repeat(pool[:1], 5, axis=0), MIDDLE)
    assert 4 <= pick < 8  # the first kind was computed five times


def test_botorch_picks_the_same():
    torch = pytest.importorskip("torch")
    pytest.importorskip("botorch")
    from botorch.acquisition.active_learning import qNegIntegratedPosteriorVariance
    from botorch.models import SingleTaskGP
    from botorch.optim.optimize import optimize_acqf_discrete
    from gpytorch.kernels import RBFKernel, ScaleKernel
    from gpytorch.means import ZeroMean

    pool, computed = (torch.from_numpy(crystals(seed, n)) for seed, n in ((0, 30), (1, 6)))
    kernel = ScaleKernel(RBFKernel())
    kernel.outputscale = MIDDLE.shared
    kernel.base_kernel.lengthscale = (pool.shape[1] / (2 * MIDDLE.reach)) ** 0.5
    labels = torch.zeros(len(computed), 1, dtype=torch.double)
    model = SingleTaskGP(
        computed,
        labels,
        labels + 1,
        covar_module=kernel.double(),
        mean_module=ZeroMean(),
        outcome_transform=None,
    )
    acquisition = qNegIntegratedPosteriorVariance(model, mc_points=pool)
    picks: list[int] = []
    for _ in range(4):
        left = [i for i in range(len(pool)) if i not in picks]
        found, _ = optimize_acqf_discrete(acquisition, 1, pool[left])
        picks.append(left[int((pool[left] - found).abs().sum(1).argmin())])
        acquisition.set_X_pending(pool[picks])
    assert most_informative(4, np.full(30, 0.5), pool.numpy(), computed.numpy(), MIDDLE) == picks
