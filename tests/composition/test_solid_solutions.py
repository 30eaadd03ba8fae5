"""Elements that would share their sites."""

import pytest

from invdesign.composition.solid_solutions import LIKELIHOOD, mixing, ordered_likelihood


@pytest.mark.parametrize(
    ("formula", "pair"),
    [
        ("CsRb2BiCl6", {"Cs", "Rb"}),
        ("Ba2ZrHfO6", {"Zr", "Hf"}),
        ("CuInSSe", {"S", "Se"}),
        ("Li2NbTaO6", {"Nb", "Ta"}),
        ("KYErF7", {"Y", "Er"}),
    ],
)
def test_like_ions_mix(formula, pair):
    assert pair in [set(found) for found in mixing(formula)]
    assert ordered_likelihood(formula) == LIKELIHOOD[4]


@pytest.mark.parametrize(
    "formula",
    [
        "Cs2NaBiCl6",  # caesium and sodium differ in size
        "CuAgS",  # d10 metals of different radii
        "La2CuO4",
        "KLiSO4",
        "SrTiO3",
        "Cu2ZnSnS4",
        "BaBiTe2Cl",
        "ZrHf",  # an alloy is one
        "Fe3O4",
    ],
)
def test_unlike_ions_keep_their_sites(formula):
    assert mixing(formula) == ()
    assert ordered_likelihood(formula) == 1.0
