"""In how many directions crystals are connected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.crystal.dimensionality import dimensionality


def rock_salt(a, *elements):
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), elements, [[0] * 3, [0.5] * 3])


CRYSTALS = {
    "rock salt": (
        3,
        rock_salt(5.64, "Na", "Cl"),
    ),
    "large ions": (
        3,
        rock_salt(7.15, "Tl", "I"),
    ),
    "perovskite": (
        3,
        Structure.from_spacegroup(
            "Pm-3m", Lattice.cubic(6.29), ["Cs", "Pb", "I"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
        ),
    ),
    "metal": (3, Structure.from_spacegroup("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0] * 3])),
    "SnSe2": (
        2,
        Structure.from_spacegroup(
            "P-3m1", Lattice.hexagonal(3.81, 6.14), ["Sn", "Se"], [[0] * 3, [1 / 3, 2 / 3, 0.25]]
        ),
    ),
    "tellurium": (
        1,
        Structure.from_spacegroup("P3_121", Lattice.hexagonal(4.45, 5.93), ["Te"], [[0.269, 0, 1 / 3]]),
    ),
    "CO2": (
        0,
        Structure.from_spacegroup("Pa-3", Lattice.cubic(5.62), ["C", "O"], [[0] * 3, [0.119] * 3]),
    ),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_of_the_textbook(name):
    expected, structure = CRYSTALS[name]
    assert dimensionality(structure) == expected


@given(st.sampled_from(sorted(CRYSTALS)), st.permutations(range(3)), st.integers(0, 2))
def test_neither_cell_nor_order_matters(name, order, doubled):
    expected, structure = CRYSTALS[name]
    primitive = structure.get_primitive_structure()
    scaling = np.eye(3, dtype=int)[list(order)]
    scaling[doubled] *= 2
    scaling[0, 1] += 1
    cell = primitive.make_supercell(scaling, in_place=False)
    assert dimensionality(cell.get_sorted_structure(key=lambda site: site.frac_coords.sum())) == expected
