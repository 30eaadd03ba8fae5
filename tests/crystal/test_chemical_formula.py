"""Formulas as chemists write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import composition_key, formula_amounts
from invdesign.crystal.chemical_formula import chemical_formula, formula_of
from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.gene import Gene

WRITTEN = [
    "CuInSe2",
    "KCu2S4",
    "FeAs2",
    "SbSI",
    "LaFeAsO",
    "BiOCl",
    "H2O",
    "LiOH",
    "Ca(OH)2",
    "NH4Cl",
    "(NH4)2SO4",
    "(NH4)2PtCl6",
    "SiC",
    "LiFePO4",
    "Ca3(PO4)2",
    "Ca5(PO4)3F",
    "NaHCO3",
    "KH2PO4",
    "H2SO4",
    "HNO3",
    "Na2SO4",
    "Al2(SO4)3",
    "Mg(NO3)2",
    "K4Fe(CN)6",
    "KCN",
    "NaNO2",
    "CsPbI3",
    "K2PtCl6",
    "Mg(BH4)2",
    "TiO2",
    "O2",
    "Na2O2",
    "CO2",
    "NiAl",
    "PrSe3Br",
    "Cu2ZnSnS4",
    "Li7La3Zr2O12",
    "Mg3Al2(SiO4)3",
    "SrTiO3",
    "Al(OH)3",
    "NH3",
    "XeF2",
    "ZnSnP2",
    "Na3PS4",
    "Li2FeSiO4",
    "NaN2O4",
    "P2O5",
    "GaAs",
    "Bi2Te3",
]


@pytest.mark.parametrize("formula", WRITTEN)
def test_formulas_of_the_textbook(formula):
    amounts = formula_amounts(formula)
    assert chemical_formula(dict(sorted(amounts.items()))) == formula
    assert chemical_formula({symbol: 3 * n for symbol, n in amounts.items()}) == formula
    assert formula_of(Composition(formula)) == formula
    assert CompositionBatch.of([formula])[0].formulas() == [formula]


@given(st.dictionaries(st.sampled_from(SYMBOLS[1:]), st.integers(1, 12), min_size=1, max_size=6))
def test_every_formula_is_read_back(amounts):
    formula = chemical_formula(amounts)
    assert composition_key(formula) == composition_key(amounts)
    assert CompositionBatch.of([formula])[0].formulas() == [formula]


def test_fractions_become_whole():
    assert chemical_formula({"Li": 0.5, "Co": 1, "O": 2}) == "LiCo2O4"
    assert chemical_formula({"Fe": 0.9471, "Co": 0.317, "O": 1}) == "Fe0.9471Co0.317O"


def test_genes_have_it():
    assert Gene.parse("225 Na@a Cl@b").formula == "NaCl"
    assert Gene.parse("122 Cu@a In@b Se@d").formula == "CuInSe2"
