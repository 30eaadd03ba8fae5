import pytest
from pymatgen.core import Lattice, Structure

from invdesign.crystal.symmetry import gene_of
from invdesign.filters.alloys import alloy_of, like_elements


def fcc(elements, a=3.9):
    return Structure(Lattice.cubic(a), elements, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


class Known:
    """Copper, gold and NaCl."""

    def __init__(self):
        salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
        crystals = {"mp-Cu": fcc(["Cu"] * 4), "mp-Au": fcc(["Au"] * 4), "mp-NaCl": salt}
        self.ids = {gene_of(crystal)[0].hash: (name,) for name, crystal in crystals.items()}

    def known_gene(self, gene_hash):
        return self.ids.get(gene_hash, ())


@pytest.mark.parametrize(
    ("pair", "like"), [(("K", "Rb"), True), (("Na", "Cl"), False), (("Li", "Cs"), False)]
)
def test_like_elements(pair, like):
    assert like_elements(*pair) is like
    assert like_elements(*pair[::-1]) is like


def test_an_ordering_of_copper_and_gold_is_an_alloy():
    told = alloy_of(fcc(["Cu", "Au", "Au", "Au"]), Known())
    assert "mp-Cu" in told
    assert "mp-Au" in told
    strained = fcc(["Cu", "Cu", "Au", "Au"])
    strained.apply_strain([0.01, 0.01, -0.01])
    assert alloy_of(strained, Known())  # a relaxed ordering is a little off its parent's symmetry


def test_compounds_are_none():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    assert alloy_of(salt, Known()) == ""
    assert alloy_of(fcc(["Cu", "Pt", "Pt", "Pt"]), Known()) == ""  # one end alone is known
