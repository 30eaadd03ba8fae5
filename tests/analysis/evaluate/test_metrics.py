"""Rates and their intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.analysis.evaluate.metrics import Rate


@given(st.integers(1, 10_000), st.data())
def test_wilson_interval_holds_the_share(n: int, data: st.DataObject) -> None:
    rate = Rate(data.draw(st.integers(0, n)), n)
    low, high = rate.interval
    assert 0.0 <= low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= high <= 1.0
    assert high > low  # no certainty, not even at 0 and 1


def test_wilson_interval_against_a_published_value() -> None:
    # Newcombe 1998, table I: 81 of 263, 95 %: 0.2553 to 0.3662
    assert Rate(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)
