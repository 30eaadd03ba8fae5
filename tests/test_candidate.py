"""Estimates as distributions."""

from math import inf

import pytest

from invdesign.candidate import Estimate
from invdesign.properties import Window


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
