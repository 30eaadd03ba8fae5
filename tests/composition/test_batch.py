from __future__ import annotations

import numpy as np
import pytest

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import composition_key, reduced_amounts, text_hash
from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.errors import InputError

GOOD = ["CsPbI3", "NaN", "Na2Cl2", "Ca3(PO4)2", "Li0.5CoO2", "CH3OH", "Fe", "Al2 O3", "H2O", "Fe150O999"]


def test_formulas_are_read_as_one_by_one() -> None:
    batch, wrong = CompositionBatch.of(GOOD)
    assert not wrong
    assert batch.formulas()[:6] == ["CsPbI3", "NaN", "NaCl", "Ca3(PO4)2", "LiCo2O4", "CH4O"]
    assert batch.keys().tolist() == [text_hash(composition_key(formula)) for formula in GOOD]
    for numbers, amounts, formula in zip(batch.numbers, batch.amounts, GOOD, strict=True):
        expected = {ATOMIC_NUMBER[e]: n for e, n in reduced_amounts(formula).items()}
        assert {z: n for z, n in zip(numbers.tolist(), amounts.tolist(), strict=True) if z} == expected
    assert batch.numbers.dtype == np.uint8
    assert batch.amounts.dtype == np.int32


def test_each_bad_formula_is_reported_with_its_place_and_the_others_stay() -> None:
    bad = ["", "Xx", "Na0Cl", "Ca3(PO4", "é", "NaCl\nK", "nan", float("nan"), "Tl(I)I", "Fe1000O", "7"]
    mixed = ["NaCl", *bad, "KCl"]
    batch, wrong = CompositionBatch.of(mixed)  # type: ignore[arg-type]
    assert batch.formulas() == ["NaCl", "KCl"]
    assert list(wrong) == list(range(1, len(bad) + 1))
    for row, said in wrong.items():
        if mixed[row] == "Fe1000O":
            assert "more than 999 atoms" in said
            continue
        with pytest.raises(InputError) as error:
            reduced_amounts(mixed[row])  # type: ignore[arg-type]
        assert said == str(error.value)


def test_random_formulas_agree_with_the_one_by_one_reader() -> None:
    rng = np.random.default_rng(1)
    symbols = [*ATOMIC_NUMBER, "A", "x", "(", ")2", "0", "."]
    texts = [
        "".join(f"{rng.choice(symbols)}{rng.choice(['', 1, 2, 12, 345])}" for _ in range(rng.integers(1, 5)))
        for _ in range(500)
    ]
    batch, wrong = CompositionBatch.of(texts)
    keys = iter(batch.keys().tolist())
    for row, text in enumerate(texts):
        if "more than 999 atoms" in wrong.get(row, ""):
            assert max(reduced_amounts(text).values()) > 999
        elif row in wrong:
            with pytest.raises(InputError):
                reduced_amounts(text)
        else:
            assert next(keys) == text_hash(composition_key(text))


def test_counts_and_rows() -> None:
    batch, _ = CompositionBatch.of(["NaCl", "CsPbI3"])
    counts = batch.counts()
    assert counts.shape == (2, 104)
    assert counts[0].sum() == 2
    assert counts[1, ATOMIC_NUMBER["I"]] == 3
    assert batch.take(np.array([1])).formulas() == ["CsPbI3"]
    assert batch.take(slice(0, 1)).counts().sum() == 2


def test_nothing_gives_nothing() -> None:
    batch, wrong = CompositionBatch.of([])
    assert len(batch) == 0
    assert not wrong
    assert batch.formulas() == []
    assert batch.keys().shape == (0,)
    assert batch.counts().shape == (0, 104)


def test_fractions_are_dropped_on_request() -> None:
    batch, wrong = CompositionBatch.of(["Li0.5CoO2", "Na0.5", "Ca3(PO4)2"], truncate_fractions=True)
    assert list(wrong) == [1]
    assert batch.amounts.tolist() == [[0, 1, 2], [3, 2, 8]]
