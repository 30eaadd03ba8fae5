from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invdesign.composition.formula import composition_key
from invdesign.data.splits import grouped_split
from invdesign.errors import InputError

FORMULAS = [
    f"{a}{n}{b}" for a in ("Li", "Na", "K", "Rb", "Cs") for b in ("F", "Cl", "N") for n in range(1, 40)
]


@given(st.lists(st.sampled_from(FORMULAS), max_size=60), st.integers(0, 5))
def test_every_row_is_in_one_part_and_equal_compounds_together(formulas: list[str], seed: int) -> None:
    formulas = formulas + [f"({formula})2" for formula in formulas[::2]]
    parts = grouped_split(formulas, (0.7, 0.2, 0.1), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(formulas)))
    seen = [{composition_key(formulas[i]) for i in part} for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_same_compound_in_other_words_goes_the_same_way() -> None:
    for seed in range(20):
        assert sorted(len(part) for part in grouped_split(["NaN", "Na2N2", "N4Na4"], (0.5, 0.5), seed)) == [
            0,
            3,
        ]


def test_sizes_are_near_the_fractions_and_seeds_differ() -> None:
    first = grouped_split(FORMULAS, (0.8, 0.2), 1)
    assert 0.7 < len(first[0]) / len(FORMULAS) < 0.9
    assert not np.array_equal(first[1], grouped_split(FORMULAS, (0.8, 0.2), 2)[1])


def test_adding_rows_moves_none() -> None:
    before = {FORMULAS[i] for i in grouped_split(FORMULAS[:200], (0.8, 0.2), 0)[1]}
    after = {FORMULAS[i] for i in grouped_split(FORMULAS, (0.8, 0.2), 0)[1]}
    assert before <= after


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.5, -0.5), ()])
def test_bad_fractions(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="fractions"):
        grouped_split(["NaCl"], fractions, 0)
