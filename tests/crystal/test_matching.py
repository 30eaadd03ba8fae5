from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from invdesign.crystal.matching import rmsd, same_crystal, unique_groups


def rock_salt(a: float, cation: str = "Na", anion: str = "Cl") -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


NACL = rock_salt(5.64)
CSCL_TYPE = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
ANATASE = Structure.from_spacegroup(
    "I4_1/amd", Lattice.tetragonal(3.785, 9.514), ["Ti", "O"], [[0, 0, 0], [0, 0, 0.2081]]
)
SODIUM_NITRIDE = rock_salt(5.0, "Na", "N")  # its formula is "NaN"


def test_cell_origin_and_volume_do_not_matter() -> None:
    supercell = NACL * (2, 1, 1)
    supercell.translate_sites(range(len(supercell)), [0.13, 0.21, 0.37])
    assert same_crystal(NACL, supercell)
    assert same_crystal(NACL, NACL.get_primitive_structure())
    assert same_crystal(NACL, rock_salt(7.0))


def test_polymorphs_and_compounds_differ() -> None:
    assert not same_crystal(RUTILE, ANATASE)
    assert not same_crystal(NACL, CSCL_TYPE)
    assert not same_crystal(NACL, rock_salt(5.64, "K"))


def test_anti_structure_differs() -> None:
    fluorite = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.4), ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    anti = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.4), ["F", "Ca"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    assert not same_crystal(fluorite, anti)


def test_groups_are_numbered_by_first_occurrence() -> None:
    structures = [RUTILE, NACL, ANATASE, RUTILE * (1, 1, 2), SODIUM_NITRIDE, rock_salt(5.9), SODIUM_NITRIDE]
    assert unique_groups(structures) == [0, 1, 2, 0, 3, 1, 3]
    assert unique_groups([]) == []


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), noise=st.floats(0.0, 0.08))
def test_same_crystal_is_symmetric_and_survives_noise(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    disturbed = Structure(
        RUTILE.lattice,
        RUTILE.species,
        RUTILE.cart_coords + rng.uniform(-noise, noise, (6, 3)),
        coords_are_cartesian=True,
    )
    assert same_crystal(RUTILE, disturbed)
    assert same_crystal(disturbed, RUTILE)
    assert unique_groups([RUTILE, ANATASE, disturbed]) == [0, 1, 0]


def test_rmsd_is_in_angstrom() -> None:
    shifted = Structure(Lattice.cubic(4.2), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.55]])
    ideal = Structure(Lattice.cubic(4.2), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    # 0.21 Å between the two sites, shared by both: 0.105 Å each
    assert rmsd(ideal, shifted) == pytest.approx(0.105, abs=1e-3)
    assert rmsd(ideal, ideal) == pytest.approx(0.0, abs=1e-6)
    # expansion alone is no displacement
    assert rmsd(NACL, rock_salt(6.0)) == pytest.approx(0.0, abs=1e-6)


def test_rmsd_of_different_crystals_is_none() -> None:
    assert rmsd(NACL, CSCL_TYPE) is None
    assert rmsd(RUTILE, NACL) is None
