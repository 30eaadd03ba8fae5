import pytest
from pymatgen.core import Lattice, Structure

from invdesign.filters.alloys import alloy_of, like_elements
from invdesign.filters.novelty import Source
from invdesign.training.novelty import Crystal, index


def fcc(elements, a=3.9):
    return Structure(Lattice.cubic(a), elements, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3])


@pytest.fixture(scope="module")
def known():
    crystals = fcc(["Cu"] * 4), fcc(["Au"] * 4), SALT
    return index(Crystal.of(i, Source.MATERIALS_PROJECT, crystal, {}) for i, crystal in enumerate(crystals))


@pytest.mark.parametrize(
    ("pair", "like"), [(("K", "Rb"), True), (("Na", "Cl"), False), (("Li", "Cs"), False)]
)
def test_like_elements(pair, like):
    assert like_elements(*pair) is like
    assert like_elements(*pair[::-1]) is like


def test_an_ordering_of_copper_and_gold_is_an_alloy(known):
    told = alloy_of(fcc(["Cu", "Au", "Au", "Au"]), known)
    assert told == "Cu-Au: mp-0 and mp-1"
    strained = fcc(["Cu", "Cu", "Au", "Au"])
    strained.apply_strain([0.01, 0.01, -0.01])
    assert alloy_of(strained, known)  # a relaxed ordering is a little off its parent's symmetry


def test_compounds_are_none(known):
    assert alloy_of(SALT, known) == ""
    assert alloy_of(fcc(["Cu", "Pt", "Pt", "Pt"]), known) == ""  # one end alone is known
