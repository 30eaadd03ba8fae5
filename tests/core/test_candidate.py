"""Estimates as distributions."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.core.candidate import Candidate, Estimate, Estimates, Selection
from invdesign.core.properties import Window
from invdesign.crystal.gene import Gene
from invdesign.verdict import Verdict


def test_what_a_notebook_shows_is_short():
    candidate = Candidate("c000003", Gene.parse("225 Na@a Cl@b"), properties={"band_gap": Estimate(5.0, 0.3)})
    assert repr(candidate.properties) == "{'band_gap': <5 [4.51, 5.49]>}"
    candidate.selection = Selection(p_hit=0.4, rank=2)
    assert repr(candidate) == f"<c000003: {candidate.gene}, rank 2>"
    candidate.record(Verdict("hull", passed=False, reason="too high"))
    assert "rejected by hull" in repr(candidate)


def test_a_metal_is_no_hit_for_any_gap_at_all():
    metal = Estimate(mean=0.5, sigma=0.3, p_zero=0.9)
    assert metal.probability(Window(0.0, inf)) == pytest.approx(0.1)
    assert metal.probability(Window(0.0, 0.5)) == pytest.approx(0.95)
    assert metal.probability(Window(-inf, 0.5)) == metal.probability(Window(0.0, 0.5))
    assert (metal.value, metal.low) == (0.0, 0.0)


def test_interval_of_a_plain_estimate_is_the_normal_one():
    estimate = Estimate(mean=-1.0, sigma=0.1)
    assert estimate.low == pytest.approx(-1.1645, abs=1e-4)
    assert estimate.high == pytest.approx(-0.8355, abs=1e-4)
    assert estimate.probability(Window(-1.1645, -0.8355)) == pytest.approx(0.9, abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(0.05, 5), st.floats(0.01, 2), st.sampled_from([0.0, 0.3, 0.7])), min_size=1),
    st.booleans(),
    st.sampled_from([Window(0.0, inf), Window(1.0, 2.0), Window(-inf, 0.5), Window(0.5, inf)]),
)
def test_many_estimates_mean_what_each_means(rows, lognormal, window):
    mean, sigma, p_zero = np.array(rows).T
    if lognormal:
        p_zero = np.zeros_like(p_zero)
    many = Estimates(mean, sigma, p_zero, np.ones(len(mean), bool), lognormal)
    each = many.rows()
    assert each == [many[i] for i in range(len(many))]
    for array, figure in (
        (many.value, lambda e: e.value),
        (many.quantile(0.05), lambda e: e.low),
        (many.quantile(0.95), lambda e: e.high),
        (many.probability(window), lambda e: e.probability(window)),
    ):
        assert array == pytest.approx([figure(e) for e in each], rel=1e-9, abs=1e-9)
