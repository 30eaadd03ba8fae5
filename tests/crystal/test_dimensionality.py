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
    "MoS2": (
        2,
        Structure.from_spacegroup(
            "P6_3/mmc",
            Lattice.hexagonal(3.16, 12.3),
            ["Mo", "S"],
            [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]],
        ),
    ),
    "CaI2, ions in layers": (
        2,
        Structure.from_spacegroup(
            "P-3m1", Lattice.hexagonal(4.49, 6.975), ["Ca", "I"], [[0] * 3, [1 / 3, 2 / 3, 0.255]]
        ),
    ),
    "Cs2O, cations outside": (
        2,
        Structure.from_spacegroup(
            "R-3m", Lattice.hexagonal(4.256, 18.99), ["O", "Cs"], [[0] * 3, [0, 0, 0.256]]
        ),
    ),
    "K2PtCl6": (
        3,
        Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(9.755), ["K", "Pt", "Cl"], [[0.25] * 3, [0] * 3, [0.239, 0, 0]]
        ),
    ),
    "a trigonal salt of WCl6 with long bonds to potassium": (
        3,
        Structure.from_spacegroup(
            "P-3m1",
            Lattice.hexagonal(7.05, 6.05),
            ["W", "K", "Cl"],
            [[0] * 3, [1 / 3, 2 / 3, 0.77], [0.164, 0.328, 0.23]],
        ),
    ),
    "NaAlCl4": (
        3,
        Structure.from_spacegroup(
            "P2_12_12_1",
            Lattice.orthorhombic(10.322, 9.886, 6.167),
            ["Na", "Al", "Cl", "Cl", "Cl", "Cl"],
            [
                *([0.127, 0.213, 0.689], [0.038, 0.487, 0.208], [0.037, 0.489, 0.555]),
                *([0.147, 0.314, 0.099], [0.845, 0.475, 0.1], [0.125, 0.668, 0.094]),
            ],
        ),
    ),
    "KFeS2": (
        3,
        Structure.from_spacegroup(
            "C2/c",
            Lattice.monoclinic(7.09, 11.27, 5.45, 113.2),
            ["K", "Fe", "S"],
            [[0, 0.357, 0.25], [0, 0.997, 0.25], [0.196, 0.111, 0.107]],
        ),
    ),
    "SnI4": (
        0,
        Structure.from_spacegroup(
            "Pa-3", Lattice.cubic(12.26), ["Sn", "I", "I"], [[0.129] * 3, [0.253] * 3, [0.009, 0.001, 0.253]]
        ),
    ),
    "Sb2S3": (
        1,
        Structure.from_spacegroup(
            "Pnma",
            Lattice.orthorhombic(11.31, 3.84, 11.23),
            ["Sb", "Sb", "S", "S", "S"],
            [
                *([0.028, 0.25, 0.674], [0.35, 0.25, 0.464], [0.048, 0.25, 0.123]),
                *([0.375, 0.25, 0.06], [0.208, 0.25, 0.808]),
            ],
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


@given(
    st.sampled_from(sorted(name for name in CRYSTALS if len(CRYSTALS[name][1]) <= 16)),
    st.permutations(range(3)),
    st.integers(0, 2),
)
def test_neither_cell_nor_order_matters(name, order, doubled):
    expected, structure = CRYSTALS[name]
    primitive = structure.get_primitive_structure()
    scaling = np.eye(3, dtype=int)[list(order)]
    scaling[doubled] *= 2
    scaling[0, 1] += 1
    cell = primitive.make_supercell(scaling, in_place=False)
    assert dimensionality(cell.get_sorted_structure(key=lambda site: site.frac_coords.sum())) == expected
