import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.core.candidate import Estimate
from invdesign.core.measured_gap import METAL_TOO, agreeing, as_measured, as_pbe
from invdesign.core.properties import Window
from invdesign.core.target import parse_target

GAPS = st.floats(0.5, 10)


@given(GAPS, GAPS)
def test_there_and_back(one: float, other: float) -> None:
    window = Window(*sorted((one, other)))
    back = as_measured(as_pbe(window))
    assert (back.low, back.high) == pytest.approx((window.low, window.high))


def test_a_solar_window_by_pbe_is_told_as_measured() -> None:
    assert "measured: about 1.7 to 2.2 eV" in parse_target("band_gap=1.1..1.6").describe()
    assert "measured" not in parse_target("band_gap>5").describe()
    assert "measured: about" not in parse_target("band_gap=1..2 band_gap_experimental=1..2").describe()


def test_a_measured_gap_guides_by_the_pbe_gap_that_it_stands_for() -> None:
    window = parse_target("band_gap_experimental=1.1..1.6").guiding_windows["band_gap"]
    assert 0.5 < window.low < 0.8
    assert window.high < 1.2
    assert parse_target("band_gap=1..2").guiding_windows == {"band_gap": Window(1, 2)}


def test_no_metal_is_measured_where_pbe_opens_a_gap() -> None:
    estimates = {"band_gap": Estimate(2.0, 0.4, 0.02), "band_gap_experimental": Estimate(3.0, 0.5, 0.9)}
    measured = agreeing(estimates)["band_gap_experimental"]
    assert measured.value == pytest.approx(3.0)
    assert measured.low > 0


def test_a_metal_by_pbe_may_be_measured_as_a_semiconductor() -> None:
    """Germanium."""
    estimates = {"band_gap": Estimate(0.3, 0.3, 0.97), "band_gap_experimental": Estimate(0.8, 0.3, 0.05)}
    assert agreeing(estimates) == estimates


def test_a_metal_by_pbe_is_nearly_always_one():
    estimates = {
        "band_gap": Estimate(0.2, 0.2, p_zero=0.92),
        "band_gap_experimental": Estimate(1.8, 0.4, p_zero=0.05),
    }
    assert agreeing(estimates)["band_gap_experimental"].p_zero == pytest.approx(METAL_TOO * 0.92)
