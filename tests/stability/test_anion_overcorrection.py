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
        "CoTe",
        "K2TeS3",
        "CdSeS",
        "Se",
        "CuAl2",
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


@pytest.mark.parametrize("formula", ["K2Se4N", "Rb2Te5O", "BaS3F", "CsSe4Cl"])
def test_beside_other_anions_a_compound_is_compared_as_it_is(hull, formula):
    composition = Composition(formula)
    assert added(formula) is None
    published = hull.as_published().e_above_hull(composition, -0.5)
    assert hull.e_above_hull(composition, -0.5) == published


def test_what_is_published_stays_at_hand(hull):
    sulfide = Composition("MgS2")
    corrected, published = (
        one.e_above_hull(sulfide, -1.165).e_above_hull for one in (hull, hull.as_published())
    )
    assert published == pytest.approx(0.0, abs=1e-3)
    assert corrected > 0.1
    energies = dict(hull.comparable_phases(["Mg", "S"]))
    assert energies["MgS"] == dict(hull.phases(["Mg", "S"]))["MgS"]
    assert energies["MgS2"] > dict(hull.phases(["Mg", "S"]))["MgS2"] + 0.1


@pytest.mark.parametrize(("formula", "measured"), [("IBr", -0.05), ("ICl", -0.18), ("TeSe2", 0.0)])
def test_bonds_between_would_be_anions_are_not_corrected(hull, formula, measured):
    """Heats of formation, eV/atom, of interhalogens (NIST); tellurium and selenium mix without any."""
    assert hull.e_above_hull(Composition(formula), 0.0).hull_energy == pytest.approx(measured, abs=0.06)
