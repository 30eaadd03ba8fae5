import sys

import numpy as np
import pytest
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from invdesign.crystal.supercell import multiples
from invdesign.errors import InputError
from invdesign.potentials.ase import AsePotential
from invdesign.stability import phonons as module
from invdesign.stability.phonons import describe_wave_vector, phonons, require_phonopy

EMT_POTENTIAL = AsePotential("emt", EMT())


def fcc(symbol="Cu", edge=3.6):
    return Structure(Lattice(edge / 2 * (1 - np.eye(3))), [symbol], [[0, 0, 0]])


def test_a_crystal_at_its_minimum_has_no_imaginary_mode():
    found = phonons(fcc(), EMT_POTENTIAL)
    assert found.lowest > 1.0
    assert 6.0 < found.highest < 9.0  # measured: 7.2 THz
    assert (found.n_atoms, found.n_displacements) == (64, 1)  # the primitive cell, four times each way


def test_a_saddle_has_an_imaginary_mode_and_its_wave_vector():
    simple_cubic = Structure(Lattice.cubic(2.4), ["Cu"], [[0, 0, 0]])
    found = phonons(simple_cubic, EMT_POTENTIAL)
    assert found.lowest < -2.0
    assert np.abs(found.at).max() > 0


def test_frequencies_are_those_of_finite_differences():
    """The mode that moves the two atoms of a cell against each other, from the energy alone."""
    found = phonons(fcc("Al", 4.05), EMT_POTENTIAL)
    edge = 3.994  # EMT's minimum
    cell = Structure(
        Lattice.tetragonal(edge / 2**0.5, edge), ["Al", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )  # planes (001): the mode at X along z
    moved = []
    for shift in (-0.02, 0.0, 0.02):
        crystal = cell.copy()
        crystal.translate_sites([1], [0, 0, shift / edge])
        moved.append(EMT_POTENTIAL.evaluate([crystal]).energy[0])
    stiffness = (moved[0] - 2 * moved[1] + moved[2]) / 0.02**2
    reduced_mass = 26.98 / 2
    frequency = 15.633302 * (stiffness / reduced_mass) ** 0.5  # THz from eV/Å²/amu
    assert found.highest == pytest.approx(frequency, rel=0.02)


def test_what_cannot_be_evaluated_is_reported_not_raised():
    overlapping = Structure(Lattice.cubic(3.0), ["Cu", "Cu"], [[0, 0, 0], [0.01, 0, 0]])
    assert "no minimum to start from" in phonons(overlapping, EMT_POTENTIAL)
    assert "EMT" in phonons(fcc("Xe"), EMT_POTENTIAL) or "emt" in phonons(fcc("Xe"), EMT_POTENTIAL)


def test_without_phonopy_one_sentence_says_how_to_get_it(monkeypatch):
    require_phonopy()
    monkeypatch.setitem(sys.modules, "phonopy", None)
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'invdesign\[phonons\]'"):
        require_phonopy()


def test_wave_vectors_are_written_as_fractions():
    assert describe_wave_vector((0.5, 0.0, -0.25)) == "(1/2, 0, -1/4)"


@pytest.mark.parametrize(
    ("edges", "n_atoms", "expected"),
    [
        ((4.0, 4.0, 4.0), 5, (4, 4, 4)),
        ((4.0, 4.0, 4.0), 20, (2, 2, 2)),
        ((4.0, 4.0, 12.0), 10, (4, 4, 1)),
        ((12.0, 12.0, 12.0), 10, (1, 1, 1)),
        ((4.0, 4.0, 4.0), 1000, (1, 1, 1)),
    ],
)
def test_supercells_are_as_large_as_needed_and_allowed(edges, n_atoms, expected):
    found = multiples(np.diag(edges), n_atoms, side=9.0, most_atoms=320, allowed=(1, 2, 4, 6))
    assert found == expected
