"""SevenNet, rewritten: sevenn's own numbers, whatever the batch, and the gradient of its energy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.campaign import Components
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.registry import load_potential
from invdesign.potentials.sevennet.potential import SevenNetPotential
from invdesign.relaxation.relax import relax


def perovskite(seed: int) -> Structure:
    crystal = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]]
    )
    return distorted(crystal, seed)


def distorted(crystal: Structure, seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    strain = rng.normal(0, 0.02, (3, 3))
    cell = crystal.lattice.matrix @ (np.eye(3) + strain + strain.T)
    places = crystal.frac_coords + rng.normal(0, 0.02, crystal.frac_coords.shape)
    return Structure(Lattice(cell), crystal.species, places)


SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
CRYSTALS = [perovskite(0), distorted(SALT.get_primitive_structure(), 1), distorted(SALT, 2)]


@pytest.fixture(scope="module", params=["7net-0", pytest.param("7net-l3i5", marks=pytest.mark.slow)])
def name(request):
    return request.param


def test_it_gives_what_its_ase_calculator_gives(name: str) -> None:
    from sevenn.calculator import SevenNetCalculator

    output = load_potential(name).evaluate(CRYSTALS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator = SevenNetCalculator(name, device="cpu")
    for k, crystal in enumerate(CRYSTALS):
        atoms = crystal.to_ase_atoms(msonable=False)
        atoms.calc = calculator
        assert output.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        assert output.forces[k] == pytest.approx(atoms.get_forces(), abs=1e-5)
        assert output.stress[k] == pytest.approx(atoms.get_stress(voigt=False), abs=1e-6)


def test_a_crystal_has_one_answer_alone_and_in_a_batch(name: str) -> None:
    potential = load_potential(name)
    together = potential.evaluate(CRYSTALS)
    for k, crystal in enumerate(CRYSTALS):
        alone = potential.evaluate([crystal])
        assert alone.energy[0] == pytest.approx(together.energy[k], abs=1e-5)
        assert alone.forces[0] == pytest.approx(together.forces[k], abs=1e-5)
    assert potential.evaluate_energies(CRYSTALS).energy == pytest.approx(together.energy, abs=1e-5)


def test_forces_and_stress_are_the_energys_derivatives(name: str) -> None:
    potential = load_potential(name)
    frame = frame_of(CRYSTALS[0])
    output = potential.evaluate([frame])
    rng = np.random.default_rng(3)
    step = 3e-3
    moves = rng.normal(size=(3, *frame.positions.shape))
    strains = rng.normal(size=(3, 3, 3)) / 5
    strains += strains.transpose(0, 2, 1)

    def energies(sign: int) -> np.ndarray:
        moved = [Frame(frame.numbers, frame.positions + sign * step * move, frame.cell) for move in moves]
        grown = [np.eye(3) + sign * step * strain for strain in strains]
        strained = [Frame(frame.numbers, frame.positions @ by, frame.cell @ by) for by in grown]
        return potential.evaluate_energies([*moved, *strained]).energy

    # five points: three leave 0.01 of the third derivative, or of rounding
    differences = 8 * (energies(1) - energies(-1)) - (energies(2) - energies(-2))
    derivatives = differences / (12 * step)
    expected = [-(output.forces[0] * move).sum() for move in moves]
    expected += [frame.volume * (output.stress[0] * strain).sum() for strain in strains]
    assert derivatives == pytest.approx(expected, rel=3e-3, abs=3e-3)


def test_what_it_does_not_know_is_named() -> None:
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    output = load_potential("7net-0").evaluate([polonium, CRYSTALS[1]])
    assert output.failures == {0: "7net-0 does not know Po"}
    assert np.isfinite(output.energy[1])


def test_the_network_is_built_when_it_is_first_used() -> None:
    potential = SevenNetPotential("7net-0")
    assert (potential.digest, "Si" in potential.elements, potential.cutoff) == ("7052cb42b7b3be42", True, 5.0)
    assert "_network" not in vars(potential)


def test_what_it_cannot_relax_ends_with_a_reason_and_the_rest_goes_on() -> None:
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    apart = Structure.from_spacegroup("Fm-3m", Lattice.cubic(12), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    loose = Structure(Lattice.cubic(4.5), ["Ne"], [[0, 0, 0]])
    crystals = [polonium, apart.get_primitive_structure(), loose, SALT.get_primitive_structure()]
    *lost, salt = relax(crystals, load_potential("7net-0"), fmax=0.05, max_steps=60)
    assert [result.converged for result in lost[:2]] == [False, False]
    assert "7net-0 does not know Po" in lost[0].reason
    assert "no neighbour within 5 Å" in lost[1].reason
    assert salt.converged


def test_its_calibration_is_of_these_weights_and_puts_rock_salt_on_the_hull(name: str) -> None:
    components = Components(potential=name)
    components.check_scale()
    salt = SALT.get_primitive_structure()
    energy = components.get("potential").evaluate([salt]).energy[0]
    assert components.placement(salt, energy).e_above_hull == pytest.approx(0, abs=0.02)
