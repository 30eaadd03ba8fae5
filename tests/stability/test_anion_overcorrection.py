"""Anions that the cations cannot reduce are not corrected as if they were reduced."""

import pytest
from pymatgen.core import Composition

from invdesign.stability.anion_overcorrection import CORRECTIONS, overcorrection
from invdesign.stability.energy_corrections import fractions
from invdesign.stability.hull.hull import Hull


@pytest.fixture(scope="module")
def hull():
    return Hull.load()


def added(formula):
    return overcorrection(fractions(Composition(formula)))


@pytest.mark.parametrize(
    "formula",
    [
        "NaCl",
        "ZnS",
        "Al2S3",
        "SnSe",
        "Cu2ZnSnS4",
        "NiS",
        "MoTe2",
        "K2TeS3",
        "CdSeS",
        "Se",
        "CuAl2",
        "MgO2",
        "NaClO4",
    ],
)
def test_nothing_is_added_where_every_anion_can_be_reduced_or_is_none(formula):
    assert added(formula) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("formula", "anion", "reduced", "share"),
    [
        ("MgS2", "S", 1 / 2, 2 / 3),
        ("BaSe3", "Se", 1 / 3, 3 / 4),
        ("CsI3", "I", 1 / 3, 3 / 4),
        ("Na2Te2", "Te", 1 / 2, 1 / 2),
    ],
)
def test_the_correction_goes_with_the_charge(formula, anion, reduced, share):
    assert added(formula) == pytest.approx(CORRECTIONS[anion] * share * (1 - reduced))


@pytest.mark.parametrize("formula", ["MgS2", "CdS2", "ZnS2", "KBr3", "LiS4"])
def test_high_pressure_and_imagined_phases_leave_the_hull(hull, formula):
    composition = Composition(formula)
    (energy,) = [e for name, e in hull.phases(composition.as_dict()) if Composition(name) == composition]
    assert hull.e_above_hull(composition, energy).e_above_hull > 0.09


@pytest.mark.parametrize("formula", ["BaS2", "K2S2", "CsTe", "Cs2Se3", "Rb2Te3", "CsBr3", "ZrTe3"])
def test_known_chains_and_pairs_stay(hull, formula):
    composition = Composition(formula)
    reduced = composition.reduced_composition
    (energy,) = [
        e
        for name, e in hull.phases(composition.as_dict())
        if Composition(name).reduced_composition == reduced
    ]
    assert hull.e_above_hull(composition, energy).e_above_hull == pytest.approx(0.0, abs=0.01)
