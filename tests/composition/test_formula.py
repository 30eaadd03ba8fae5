from __future__ import annotations

import gzip
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.composition.formula import composition_key, formula_amounts, read_compositions, reduced_amounts
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("formula", "amounts"),
    [
        ("NaN", {"Na": 1, "N": 1}),
        ("InF", {"In": 1, "F": 1}),
        ("Ca3(PO4)2", {"Ca": 3, "P": 2, "O": 8}),
        ("K4[Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("Li0.5CoO2", {"Li": 0.5, "Co": 1, "O": 2}),
        ("CsMnCr(CN)6", {"Cs": 1, "Mn": 1, "Cr": 1, "C": 6, "N": 6}),
    ],
)
def test_formula_amounts(formula: str, amounts: dict[str, float]) -> None:
    assert formula_amounts(formula) == amounts


@pytest.mark.parametrize("bad", ["", "nacl", "Xy2", "Na(Cl", "NaCl)", "Na0Cl", "Na-Cl", "42", "()"])
def test_nonsense_is_an_input_error(bad: str) -> None:
    with pytest.raises(InputError, match="formula"):
        formula_amounts(bad)


def test_a_float_is_not_a_formula() -> None:
    with pytest.raises(InputError, match="sodium nitride"):
        composition_key(float("nan"))  # type: ignore[arg-type]


amounts = st.dictionaries(st.sampled_from(SYMBOLS[1:]), st.integers(1, 40), min_size=1, max_size=6)


@given(amounts, st.integers(1, 5))
def test_key_ignores_order_multiple_and_spelling(amounts: dict[str, int], factor: int) -> None:
    formula = "".join(f"{e}{n * factor}" for e, n in reversed(amounts.items()))
    charged = Composition({f"{e}+": n for e, n in amounts.items()})
    keys = {composition_key(amounts), composition_key(formula), composition_key(charged)}
    keys.add(composition_key(Composition(formula).reduced_formula))
    assert len(keys) == 1


@given(amounts)
def test_reduction_keeps_the_ratio_in_smallest_numbers(amounts: dict[str, int]) -> None:
    reduced = reduced_amounts(amounts)
    assert list(reduced) == sorted(reduced)
    parts = [reduced[e] * sum(amounts.values()) == amounts[e] * sum(reduced.values()) for e in amounts]
    assert all(parts)
    assert math.gcd(*reduced.values()) == 1


def test_fractional_amounts() -> None:
    assert reduced_amounts("Li0.5CoO2") == {"Co": 2, "Li": 1, "O": 4}
    assert reduced_amounts("La0.67Ca0.33MnO3") == {"Ca": 33, "La": 67, "Mn": 100, "O": 300}
    with pytest.raises(InputError, match="small whole numbers"):
        reduced_amounts("Li0.37Na0.1428CoO2")


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"formula,gap,note\nNaN,1.5,x\nInF,,y\n"))
    table = read_compositions(path)
    assert table.formulas == ["NaN", "InF"]
    np.testing.assert_equal(table.columns, {"gap": np.array([1.5, np.nan])})


@pytest.mark.parametrize(
    ("text", "reason"), [("gap\n1\n", "formula column"), ("formula\n", "no rows"), ("", "no rows")]
)
def test_bad_tables(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_compositions(path)
    with pytest.raises(InputError, match="no such file"):
        read_compositions(tmp_path / "absent.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"formula,gap\nNaCl,5\n" * 100)[:-12])
    with pytest.raises(InputError, match="to its end"):
        read_compositions(tmp_path / "cut.csv.gz")


@pytest.mark.parametrize(
    ("text", "told"),
    [("CuSO4.5H2O", "hydrate"), ("Fe(III)2O3", "oxidation state"), ("NaCl KCl", "one a line")],
)
def test_what_would_be_misread_is_refused(text, told):
    with pytest.raises(InputError, match=told):
        formula_amounts(text)


def test_subscripts_and_spaced_elements_are_read():
    assert formula_amounts("Li₂FeSiO₄") == {"Li": 2, "Fe": 1, "Si": 1, "O": 4}
    assert formula_amounts("Ba1 Ti1 O3") == {"Ba": 1, "Ti": 1, "O": 3}
