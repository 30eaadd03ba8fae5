from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.hhi import HHIModel
from pymatgen.core import Composition
from smact import Element

from invdesign.composition.supply import (
    HHI,
    TOXIC,
    _table,
    scarcer_than,
    scarcest,
    supply_of,
    supply_risk,
    too_concentrated,
    unconcentrated,
)
from invdesign.crystal.elements import ATOMIC_NUMBER, EXCLUDED_BY_DEFAULT, RADIOACTIVE, SYMBOLS
from invdesign.predictors.features.composition_and_gene import counts_of

WITH_INDEX = [symbol for symbol, z in ATOMIC_NUMBER.items() if z > 1 and not np.isnan(_table()[HHI[0]][z])]
MISPRINTED = {"S", "Nb", "Lu", "Ru"}  # in smact 4.0
formulas = st.dictionaries(st.sampled_from(WITH_INDEX), st.integers(1, 20), min_size=1, max_size=6)


@given(st.lists(formulas, min_size=1, max_size=5))
def test_supply_risk_is_pymatgens(compositions):
    expected = [HHIModel().get_hhi(Composition(amounts)) for amounts in compositions]
    np.testing.assert_allclose(supply_risk(counts_of(compositions)), expected, rtol=1e-4)


@given(formulas, st.integers(1, 9))
def test_supply_risk_lies_between_those_of_the_elements(amounts, times):
    found = supply_risk(counts_of([amounts]))[0]
    alone = supply_risk(counts_of([{symbol: 1} for symbol in amounts]))
    assert np.all(found >= alone.min(axis=0) - 0.01)
    assert np.all(found <= alone.max(axis=0) + 0.01)
    scaled = counts_of([{symbol: n * times for symbol, n in amounts.items()}])
    np.testing.assert_allclose(supply_risk(scaled)[0], found, rtol=1e-5)


def test_an_element_without_index_leaves_none():
    risk = supply_risk(counts_of([{"Th": 1, "O": 2}, {"Ca": 1, "H": 2}]))
    assert np.isnan(risk[0]).all()
    assert np.isfinite(risk[1]).all()


def test_abundances_are_the_handbooks():
    for symbol, number in ATOMIC_NUMBER.items():
        theirs = Element(symbol).crustal_abundance
        if theirs is not None and symbol not in MISPRINTED:
            assert _table()["abundance"][number] == pytest.approx(theirs)
    assert _table()["abundance"][ATOMIC_NUMBER["S"]] == 350  # smact: 3.5


@given(st.floats(1e-4, 1e5))
def test_scarcest_and_scarcer_agree(limit):
    every = np.eye(len(SYMBOLS))[1:]
    scarce = {SYMBOLS[i + 1] for i in np.flatnonzero(scarcest(every) < limit)}
    assert scarce == scarcer_than(limit)


def test_scarcest_takes_the_scarcest():
    assert scarcest(counts_of([{"Cu": 1, "In": 1, "S": 2}, {"Na": 1, "Cl": 1}])) == pytest.approx([0.25, 145])
    assert scarcest(counts_of([{"Pu": 1, "O": 2}])) == [0]


FEW = ["Nd", "O", "Fe", "Cs", "Mg", "U"]


@given(
    st.floats(400, 9000),
    st.frozensets(st.sampled_from(FEW), min_size=1, max_size=3),
    st.integers(3, 4),
)
def test_what_is_too_concentrated_is_in_no_compound(limit, required, n_atoms):
    open_ = frozenset(FEW)
    ruled_out = too_concentrated(limit, required, open_, n_atoms)
    met = set()
    for chosen in combinations_with_replacement(sorted(open_), n_atoms):
        amounts = Counter(chosen)
        if required <= amounts.keys() and max(supply_of(amounts)[:2]) <= limit:
            met |= amounts.keys()
    assert not met & ruled_out
    assert limit > 500 or "Nd" in ruled_out


def test_what_is_unconcentrated_stays_so_in_compounds():
    safe = unconcentrated(2500)
    assert {"O", "Fe", "Cu"} <= safe
    assert not {"Nd", "U", "Mg"} & safe
    assert max(supply_of(dict.fromkeys(safe, 1))[:2]) <= 2500


def test_groups_of_elements():
    assert {"Pb", "Cd", "Hg", "As", "Tl"} <= TOXIC
    assert not TOXIC & {"Sn", "Bi", "Zn", "Ba", "Sb"}
    assert {"U", "Th", "Tc", "Pu"} <= RADIOACTIVE
    assert "Bi" not in RADIOACTIVE
    assert {"U", "Th"} == RADIOACTIVE - EXCLUDED_BY_DEFAULT


def test_one_compound():
    found = supply_of({"Cs": 1, "Pb": 1, "I": 3})
    assert found.toxic == ("Pb",)
    assert found.abundance == 0.45
    assert (found.hhi_production, found.hhi_reserves) == pytest.approx(HHIModel().get_hhi("CsPbI3"), rel=1e-4)
