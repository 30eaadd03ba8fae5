"""Elements that would share their sites."""

import pytest

from invdesign.composition.solid_solutions import FURTHER_ALKALI, LIKELIHOOD, mixing, ordered_likelihood


@pytest.mark.parametrize(
    ("formula", "pair"),
    [
        ("CsRb2BiCl6", {"Cs", "Rb"}),
        ("Ba2ZrHfO6", {"Zr", "Hf"}),
        ("CuInSSe", {"S", "Se"}),
        ("Li2NbTaO6", {"Nb", "Ta"}),
        ("KYErF7", {"Y", "Er"}),
        ("BaSn2SeTe3Cl2", {"Se", "Te"}),
        ("Na2LaF3Br2", {"F", "Br"}),
    ],
)
def test_like_ions_mix(formula, pair):
    assert pair in [set(found) for found in mixing(formula)]
    assert ordered_likelihood(formula) == LIKELIHOOD[4]


@pytest.mark.parametrize(
    "formula",
    [
        "Ba2AgBiCl7",
        "CuAgS",  # d10 metals of different radii
        "La2CuO4",
        "KAlSi3O8",
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


def test_a_second_alkali_metal_of_another_size_is_rarer():
    assert mixing("Cs2NaBiCl6") == ()
    assert ordered_likelihood("Cs2NaBiCl6") == FURTHER_ALKALI
    assert ordered_likelihood("CsNaLiBr3") == pytest.approx(FURTHER_ALKALI**2)
    assert ordered_likelihood("CsNaCl2") == 1.0
