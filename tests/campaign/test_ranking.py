import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.campaign.ranking import (
    gene_worth,
    goal_probabilities,
    hit_probability,
    pareto_ranks,
    select,
    shortlist,
    similarity,
    window_probability,
    worth,
)
from invdesign.composition.solid_solutions import LIKELIHOOD
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.target import Window, parse_target
from invdesign.crystal.gene import Gene

TARGET = parse_target(["band_gap=1.5±0.25", "e_above_hull<0.1"])
GENES = [
    Gene.parse(text)
    for text in (
        "225 Na@a Cl@b",
        "221 Na@a Cl@b",
        "225 K@a Br@b",
        "216 Zn@a S@c",
        "216 Ga@a As@c",
        "225 Ca@a F@c",
    )
]


def candidate(number: int, gene: Gene, gap: float, hull: float = 0.0) -> Candidate:
    properties = {"band_gap": Estimate(gap, 0.3), "e_above_hull": Estimate(hull, 0.05)}
    return Candidate(f"c{number:06d}", gene, properties=properties)


def test_hit_probability_is_the_product_of_its_parts():
    properties = {"band_gap": Estimate(1.5, 0.25 / 1.6448536), "e_above_hull": Estimate(0.1, 0.05)}
    assert hit_probability(properties, TARGET) == pytest.approx(0.9 * 0.5, abs=1e-6)


def test_a_likely_metal_is_not_a_likely_semiconductor():
    metal = {"band_gap": Estimate(1.5, 0.1, p_zero=0.9)}
    assert window_probability(metal, {"band_gap": Window(1.25, 1.75)}) < 0.1
    assert window_probability(metal, {"band_gap": Window(-math.inf, 0.0)}) >= 0.9


def test_a_property_without_an_estimate_does_not_enter():
    assert window_probability({}, TARGET.windows) == 1.0


def test_similarity_knows_chemistry():
    rocksalt, cscl, kbr, zns = GENES[:4]
    assert similarity(rocksalt, cscl) == 1.0
    assert similarity(rocksalt, kbr) > similarity(rocksalt, zns)
    assert similarity(rocksalt, zns) == similarity(zns, rocksalt) < 0.5


def test_shortlist_is_not_one_compound_ten_times():
    polymorphs = [candidate(i, GENES[i % 2], 1.5) for i in range(10)]
    other = [candidate(20, GENES[4], 1.6), candidate(21, GENES[3], 1.35)]
    picked = shortlist([*polymorphs, *other], TARGET, 3)
    assert {c.gene.formula for c in picked} == {"NaCl", "GaAs", "ZnS"}
    scores = [hit_probability(c.properties, TARGET) for c in picked]
    assert scores == sorted(scores, reverse=True)


@given(st.permutations(range(8)), st.integers(0, 10))
def test_shortlist_does_not_depend_on_order(order, n):
    pool = [candidate(i, GENES[i % len(GENES)], 1.5 + 0.1 * (i // 2)) for i in range(8)]
    picked = [c.id for c in shortlist([pool[i] for i in order], TARGET, n)]
    assert picked == [c.id for c in shortlist(pool, TARGET, n)]
    assert len(set(picked)) == min(n, 8)


@given(st.lists(st.tuples(st.sampled_from(GENES), st.floats(0, 1)), max_size=30), st.integers(1, 12))
def test_select_takes_n_best_first(scored, n):
    genes, scores = [g for g, _ in scored], [s for _, s in scored]
    chosen = select(genes, scores, n, per_formula=2, per_prototype=3)
    assert len(chosen) == len(set(chosen)) == min(n, len(genes))
    assert [scores[i] for i in chosen] == sorted((scores[i] for i in chosen), reverse=True)


def test_select_caps_formulas_while_others_wait():
    genes = [GENES[0]] * 5 + [GENES[3], GENES[4]]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.1]
    assert select(genes, scores, 4, per_formula=2, per_prototype=9) == [0, 1, 5, 6]
    assert select(genes, scores, 6, per_formula=2, per_prototype=9) == [0, 1, 2, 3, 5, 6]


def test_goals_are_the_windows_and_stability():
    properties = {"band_gap": Estimate(1.5, 0.2), "e_above_hull": Estimate(0.05, 0.05)}
    goals = goal_probabilities(properties, TARGET)
    assert list(goals) == ["band_gap", "e_above_hull"]
    assert math.prod(goals.values()) == pytest.approx(hit_probability(properties, TARGET))


def test_fronts_of_a_small_example():
    goals = [[0.9, 0.5], [0.5, 0.9], [0.5, 0.5], [0.9, 0.4], [0.4, 0.4], [0.902, 0.501]]
    assert pareto_ranks(np.array(goals)).tolist() == [1, 1, 2, 2, 3, 1]


percents = st.lists(st.tuples(*[st.integers(0, 100)] * 3), min_size=1, max_size=25)


@given(percents)
def test_fronts_hold_their_definition(points):
    goals = np.array(points) / 100
    ranks = pareto_ranks(goals)

    def beaten_by(i):
        return [j for j in range(len(goals)) if (goals[j] >= goals[i]).all() and (goals[j] > goals[i]).any()]

    for i, rank in enumerate(ranks):
        assert rank == 1 + max((ranks[j] for j in beaten_by(i)), default=0)
    assert ranks[goals.prod(axis=1).argmax()] == 1 or goals.prod(axis=1).max() == 0


@given(percents, st.randoms())
def test_fronts_do_not_depend_on_order(points, random):
    shuffled = random.sample(points, len(points))
    ranks = dict(zip(shuffled, pareto_ranks(np.array(shuffled) / 100).tolist(), strict=True))
    assert [ranks[point] for point in points] == pareto_ranks(np.array(points) / 100).tolist()


def test_what_would_be_a_solid_solution_or_lies_higher_is_worth_less():
    ordered, mixed = (Gene.parse(f"216 {x}@a Ca@b Sn@c S@d") for x in ("K", "Sr"))  # Sr and Ca share no size
    assert gene_worth({}, ordered, TARGET) == gene_worth({}, mixed, TARGET) == 1.0
    alike = Gene.parse("225 Cs@c Rb@b Bi@a Cl@e")
    likely = {"band_gap": Estimate(1.5, 0.3)}
    assert gene_worth(likely, alike, TARGET) == pytest.approx(LIKELIHOOD[4] * hit_probability(likely, TARGET))
    low, high = (candidate(n, GENES[0], 1.5, hull) for n, hull in ((0, -0.1), (1, 0.05)))
    ratio = worth(high, TARGET) / worth(low, TARGET)
    p_hit = [hit_probability(one.properties, TARGET) for one in (high, low)]
    assert ratio == pytest.approx(math.exp(-2) * p_hit[0] / p_hit[1])
    assert [one.id for one in shortlist([high, low], TARGET, 2)] == [low.id, high.id]
