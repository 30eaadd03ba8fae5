from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.crystal.contacts import MIN_CONTACT, shortest_contact
from invdesign.filters.geometry import geometry_check


def rocksalt(a: float, cation: str = "Na", anion: str = "Cl") -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


KNOWN = {
    "NaCl": rocksalt(5.64),
    "UO2": Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.47), ["U", "O"], [[0, 0, 0], [0.25] * 3]),
    "diamond": Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.57), ["C"], [[0, 0, 0]]),
    "Fe": Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5] * 3]),
    "Cs": Structure(Lattice.cubic(6.14), ["Cs", "Cs"], [[0, 0, 0], [0.5] * 3]),
    "Os": Structure(
        Lattice.hexagonal(2.734, 4.317), ["Os", "Os"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_crystals_pass(name: str) -> None:
    verdict = geometry_check(KNOWN[name])
    assert verdict.passed, verdict.reason
    assert verdict.threshold == MIN_CONTACT


def test_contact_is_the_closest_pair_for_its_size() -> None:
    assert shortest_contact(KNOWN["NaCl"])[:2] in {("Na", "Cl"), ("Cl", "Na")}
    assert shortest_contact(KNOWN["NaCl"])[2] == pytest.approx(2.82)
    assert shortest_contact(KNOWN["diamond"])[2] == pytest.approx(1.546, abs=1e-3)


def test_an_atom_and_its_own_image_are_a_contact() -> None:
    copper = Structure(Lattice.cubic(2.3), ["Cu"], [[0, 0, 0]])
    assert shortest_contact(copper)[2] == pytest.approx(2.3)
    flat = Structure(Lattice.orthorhombic(1.2, 4, 4), ["Na"], [[0, 0, 0]])
    assert not geometry_check(flat).passed


@pytest.mark.parametrize("scale", [0.5, 0.65])
def test_compressed_is_rejected(scale: float) -> None:
    verdict = geometry_check(rocksalt(5.64 * scale))
    assert not verdict.passed
    assert "Å³ per atom" in verdict.reason


def test_blown_up_is_rejected() -> None:
    assert "times what its atoms need" in geometry_check(rocksalt(9.0)).reason


def test_atoms_on_top_of_each_other_are_rejected_with_the_pair() -> None:
    close = rocksalt(5.64)
    close.translate_sites([4], [0.42, 0.42, 0.42])
    verdict = geometry_check(close)
    assert not verdict.passed
    assert verdict.value is not None
    assert verdict.value < MIN_CONTACT
    assert "Na" in verdict.reason
    assert "Cl" in verdict.reason


def test_needle_cell_ends_quickly_as_a_rejection() -> None:
    needle = Structure(Lattice.orthorhombic(1e-4, 500, 900), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert not geometry_check(needle).passed
    assert not geometry_check(
        Structure(Lattice([[1, 0, 0], [2, 0, 0], [0, 0, 3]]), ["Na"], [[0, 0, 0]])
    ).passed


def test_verdict_does_not_depend_on_the_cell() -> None:
    cell = KNOWN["UO2"]
    sheared = cell.copy()
    sheared.make_supercell([[1, 1, 0], [0, 1, 2], [0, 0, 1]])
    assert geometry_check(sheared).value == geometry_check(cell).value
