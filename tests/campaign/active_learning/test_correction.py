"""Returned results shift and rescale what the models say, by as much as they weigh."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.campaign.active_learning.correction import fit_corrections
from invdesign.campaign.active_learning.extend import CorrectedRanker
from invdesign.campaign.active_learning.rescore import CLIP, standardised
from invdesign.campaign.active_learning.residual_gp import MIDDLE, ErrorInputs, ErrorProcess, Zeros
from invdesign.core.candidate import Z90, Candidate, Estimate
from invdesign.core.dft_result import DftResult
from invdesign.core.placement import Placement
from invdesign.crystal.gene import Gene

GENE = Gene(225, (("Na", "a"), ("Cl", "b")))
GAP = Estimate(1.5, 0.4, 0.1)
HEIGHT = Estimate(0.04, 0.03)
STIFF = Estimate(100.0, 20.0, lognormal=True)
BEFORE = {"band_gap": GAP, "e_above_hull": HEIGHT, "bulk_modulus_gpa": STIFF}

finite = st.floats(-3, 3)
estimates = st.builds(Estimate, st.floats(0.1, 6), st.floats(0.05, 1), st.floats(0, 1), st.booleans())


def computed(number: int, properties=BEFORE, **result) -> Candidate:
    result = result if "failed" in result else {"functional": "PBE"} | result
    return Candidate(f"c{number:06d}", GENE, properties=dict(properties), dft=DftResult(**result))


def biased(n: int, bias: float, spread: float = 0.4, seed: int = 0) -> list[Candidate]:
    errors = np.random.default_rng(seed).normal(size=n)
    errors -= errors.mean() if n > 1 else errors
    return [computed(i, band_gap=1.5 + bias + spread * e) for i, e in enumerate(errors)]


@given(st.lists(estimates, max_size=4))
def test_without_results_nothing_changes(before):
    assert fit_corrections([]).correct("band_gap", before) == before
    heights_alone = fit_corrections([computed(0, e_above_hull=0.1)])
    assert heights_alone.correct("band_gap", before) == before


def test_failed_runs_correct_nothing():
    corrections = fit_corrections([computed(0, failed="did not converge"), computed(1, failed="out of time")])
    assert corrections.correct_rows([BEFORE]) == [BEFORE]
    assert corrections.n == 0
    assert corrections.lines() == ["Failed, and not selected again: 2 candidates."]


@pytest.mark.parametrize(("n", "least", "most"), [(3, 0.1, 0.35), (30, 0.7, 0.85), (300, 0.95, 1.0)])
def test_a_constant_bias_is_recovered_by_shrinkage(n, least, most):
    (found,) = fit_corrections(biased(n, 0.3)).correct("band_gap", [GAP])
    assert least < (found.mean - GAP.mean) / 0.3 < most


@pytest.mark.parametrize("spread", [0.2, 0.4, 1.2])
def test_many_results_set_the_scale_of_intervals(spread):
    far = Estimate(9.0, 0.4, 0.1)
    errors = [result.dft.band_gap - 1.5 for result in biased(400, 0.2, spread)]
    results = [computed(i, {"band_gap": far}, band_gap=9 + error) for i, error in enumerate(errors)]
    (found,) = fit_corrections(results).correct("band_gap", [far])
    assert found.sigma == pytest.approx(spread, rel=0.1)
    assert found.mean == pytest.approx(9.2, abs=0.02)


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.floats(-0.4, 0.4), st.floats(0.5, 3.0))
def test_recalibrated_intervals_hold_ninety_percent(seed, bias, scale):
    rng = np.random.default_rng(seed)
    before = [Estimate(*pair) for pair in rng.uniform((4, 0.2), (9, 0.6), (600, 2)).tolist()]
    truth = np.array([e.mean + bias + scale * e.sigma * rng.normal() for e in before])
    known = [
        computed(i, {"band_gap": e}, band_gap=t)
        for i, (e, t) in enumerate(zip(before[:200], truth[:200], strict=True))
    ]
    found = fit_corrections(known).correct("band_gap", before[200:])
    inside = np.mean([e.low <= t <= e.high for e, t in zip(found, truth[200:], strict=True)])
    # against what the true intervals hold of the same draw, which itself is 0.9 only on average
    off = [abs(t - e.mean - bias) / e.sigma for e, t in zip(before, truth, strict=True)]
    right = np.mean(np.array(off[200:]) < Z90 * scale)
    assert abs(inside - right) < 0.08


@settings(max_examples=25)
@given(st.permutations(range(12)))
def test_the_order_of_results_is_immaterial(order):
    results = biased(12, 0.3)
    vectors = np.random.default_rng(1).normal(size=(12, 4))
    before, there = [GAP, HEIGHT], vectors[:2] + 0.1
    first = fit_corrections(results, vectors).correct("band_gap", before, there)
    again = fit_corrections([results[i] for i in order], vectors[list(order)]).correct(
        "band_gap", before, there
    )
    assert again == first


def test_zeros_move_the_probability_of_zero_alone():
    corrections = fit_corrections([computed(i, band_gap=0.0) for i in range(10)])
    (found,) = corrections.correct("band_gap", [GAP])
    assert found.p_zero > 1.8 * GAP.p_zero
    assert (found.mean, found.sigma) == (GAP.mean, GAP.sigma)
    assert "10 of them zero" in corrections.lines()[0]


@pytest.mark.parametrize(("n", "before", "expected"), [(10, 0.2, 0.6), (30, 0.2, 0.8), (10, 0.5, 0.75)])
def test_the_probability_of_zero_is_worth_ten_results(n, before, expected):
    """As a Beta prior of ten would have it."""
    crystals, chances = ErrorInputs(np.ones(n)), np.full(n, before)
    (zero,) = Zeros.fit(crystals, chances, np.ones(n, bool)).predict(ErrorInputs(np.ones(1)), chances[:1])
    assert zero == pytest.approx(expected, abs=0.05)


def test_a_perfect_result_widens_no_interval():
    known = fit_corrections([computed(0, {"band_gap": Estimate(9.0, 0.4)}, band_gap=9.0)])
    for sigma in (0.05, 0.4, 2.0):
        (found,) = known.correct("band_gap", [Estimate(9.0, sigma)])
        assert found.mean == pytest.approx(9.0)
        assert 0.9 * sigma < found.sigma <= sigma


def test_a_ranker_is_moved_but_keeps_its_widths():
    class Ranker:
        def predict(self, genes):
            return [{"band_gap": replace(GAP, sigma=0.8), "e_above_hull": HEIGHT} for _ in genes]

    corrections = fit_corrections(biased(30, 0.3, spread=0.1))
    assert corrections.correct("band_gap", [GAP])[0].sigma < 0.8 * GAP.sigma
    (row,) = CorrectedRanker(Ranker(), corrections, "corrected").predict([GENE])
    assert row["band_gap"].sigma == pytest.approx(0.8)
    assert row["band_gap"].mean > GAP.mean + 0.1
    assert row["band_gap"].p_zero < GAP.p_zero
    assert row["e_above_hull"] == HEIGHT


def test_the_similarity_is_that_of_the_first_property_with_results():
    rng = np.random.default_rng(0)
    vectors, heights = rng.normal(size=(20, 4)), [0.04 + 0.03 * off for off in rng.normal(size=20)]
    corrections = fit_corrections([computed(i, e_above_hull=h) for i, h in enumerate(heights)], vectors)
    assert corrections.similarity(["band_gap"]) is MIDDLE
    assert (
        corrections.similarity(["band_gap", "e_above_hull"])
        == corrections.by_property["e_above_hull"].errors.similarity
    )


def test_one_odd_crystal_is_not_unlike_all_others():
    features = np.concatenate([np.random.default_rng(0).normal(size=(200, 3)), [[1e6, np.nan, 0.0]]])
    units = standardised(features)
    assert np.abs(units).max() == CLIP
    assert units[-1, 1] == 0.0


def test_what_cannot_be_zero_stays_so():
    (found,) = fit_corrections([computed(i, e_above_hull=0.0) for i in range(10)]).correct(
        "e_above_hull", [HEIGHT]
    )
    assert found.p_zero == 0.0
    assert found.mean < HEIGHT.mean


def test_a_positive_property_is_corrected_in_its_logarithm():
    corrections = fit_corrections([computed(i, {"band_gap": STIFF}, band_gap=150.0) for i in range(50)])
    low, high = corrections.correct("band_gap", [STIFF, replace(STIFF, mean=300.0, sigma=60.0)])
    assert low.lognormal
    assert high.mean / low.mean == pytest.approx(3.0)
    assert 130 < low.mean < 150
    assert "× 1.4" in corrections.lines()[0]


def test_results_of_one_functional_count():
    results = [computed(i, band_gap=1.5) for i in range(3)]
    hybrid = computed(9, band_gap=3.0, functional="HSE06")
    corrections = fit_corrections([*results, hybrid])
    assert corrections.correct("band_gap", [GAP]) == fit_corrections(results).correct("band_gap", [GAP])
    assert corrections.lines()[-1] == "Left out: 1 result of other functionals than PBE."


def test_similar_crystals_share_errors_where_the_results_say_so():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(-2, 0.3, (30, 8)), rng.normal(2, 0.3, (30, 8))])
    offs = np.repeat([1.0, -1.0], 30) + 0.1 * rng.normal(size=60)
    results = [computed(i, band_gap=1.5 + off) for i, off in enumerate(offs)]
    corrections = fit_corrections(results[::2], vectors[::2])
    up, down = corrections.correct("band_gap", [GAP, GAP], vectors[[1, -1]])
    assert up.mean - GAP.mean == pytest.approx(1.0, abs=0.15)
    assert down.mean - GAP.mean == pytest.approx(-1.0, abs=0.15)
    assert corrections.by_property["band_gap"].errors.p_shared > 0.99
    # far from all results the model is as good as it says, or what they say of it on the whole
    (far,) = corrections.correct("band_gap", [GAP], np.full((1, 8), 40.0))
    assert abs(far.mean - GAP.mean) < 0.2


@settings(max_examples=25)
@given(st.floats(0.01, 0.99), st.integers(0, 100))
def test_the_first_result_hardly_moves_the_rest(before, seed):
    """Priors are scaled to what was before: without information, probabilities and deviations stay."""
    vectors = np.random.default_rng(seed).normal(size=(2, 16)) * 3
    one = np.ones(1)
    here, there = ErrorInputs(one, vectors[:1]), ErrorInputs(one, vectors[1:])
    (zero,) = Zeros.fit(here, np.array([0.5]), np.array([True])).predict(there, np.array([before]))
    assert abs(zero - before) < 0.06
    shift, scale = ErrorProcess.fit(here, np.array([1.0])).predict(there)
    assert abs(shift[0]) < 0.3
    assert 0.85 < scale[0] < 1.15


def test_energies_are_corrected_apart_for_each_potential_that_placed_crystals():
    """The finishing potential is 0.02 eV/atom too low, the first one 0.1 too high."""
    before, after = Estimate(0.15, 0.05), Estimate(0.03, 0.02)
    first = Placement(-1.0, before.mean, before.sigma, {}, 3, composition_known=False, crystal_known=False)
    last = replace(first, e_above_hull=after.mean, sigma=after.sigma)
    results = [
        replace(
            computed(i, {"e_above_hull": after, "band_gap": GAP}, e_above_hull=0.05, band_gap=GAP.mean),
            placement=last,
            first_placement=first,
        )
        for i in range(20)
    ]
    corrections = fit_corrections(results)
    assert corrections.by_property["e_above_hull"].n == corrections.unfinished["e_above_hull"].n == 20
    rows = [{"e_above_hull": after, "band_gap": GAP}, {"e_above_hull": before, "band_gap": GAP}]
    finished, other = corrections.correct_rows(rows, finished=[True, False])
    assert after.mean < finished["e_above_hull"].mean < 0.05
    assert 0.05 < other["e_above_hull"].mean < 0.1
    assert finished["band_gap"] == other["band_gap"]
    unlike = replace(results[0], id="c000100", first_placement=None, placement=first)
    unlike.properties = {"e_above_hull": before}
    mixed = fit_corrections([*results, unlike])
    assert mixed.by_property["e_above_hull"].n == 20
    assert mixed.unfinished["e_above_hull"].n == 21
    assert [line.split(":")[0] for line in mixed.lines()] == [
        "Energy above hull",
        "PBE gap",
        "Energy above hull before finishing",
    ]
