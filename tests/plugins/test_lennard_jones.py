"""A batched potential in its own distribution: one module and an entry point."""

import csv

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.errors import InputError
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax

SIGMA = 3.40
NEAREST = 1.0902  # of σ; nearest neighbours in the fcc crystal of lowest energy, all pairs summed
N_SHELLS_TOLERANCE = 0.001  # of it: pairs beyond 6 σ are left out


def argon(nearest: float) -> Structure:
    cubic = Lattice.cubic(nearest * SIGMA * np.sqrt(2))
    return Structure.from_spacegroup("Fm-3m", cubic, ["Ar"], [[0, 0, 0]])


@pytest.fixture
def potential(install_plugin):
    install_plugin("lennard_jones")
    load_potential.cache_clear()
    yield load_potential("lennard-jones")
    load_potential.cache_clear()


def test_argon_relaxes_to_its_lattice_constant(potential):
    ends = relax([argon(1.02).get_primitive_structure(), argon(1.2)], potential, fmax=1e-4)
    for end in ends:
        assert end.converged
        edge = (4 * end.structure.volume / len(end.structure)) ** (1 / 3)
        assert edge / np.sqrt(2) / SIGMA == pytest.approx(NEAREST, rel=N_SHELLS_TOLERANCE)
    assert ends[0].energy == pytest.approx(-8.61 * 0.0104, rel=0.01)  # all pairs: -8.610 ε an atom
    assert ends[1].energy == pytest.approx(4 * ends[0].energy, abs=1e-4)


def test_forces_and_stress_are_the_energy_s_derivatives(potential):
    crystal = argon(1.05)
    crystal.perturb(0.1)
    frame = frame_of(crystal)
    output = potential.evaluate([frame_of(argon(1.2)), frame])
    h, rng = 1e-4, np.random.default_rng(1)
    move, strain = rng.normal(size=frame.positions.shape), rng.normal(size=(3, 3))
    strain = strain + strain.T
    moved = [Frame(frame.numbers, frame.positions + sign * h * move, frame.cell) for sign in (1, -1)]
    stretch = [np.eye(3) + sign * h * strain for sign in (1, -1)]
    strained = [Frame(frame.numbers, frame.positions @ f, frame.cell @ f) for f in stretch]
    energy = potential.evaluate(moved + strained).energy
    assert (energy[0] - energy[1]) / (2 * h) == pytest.approx(-(output.forces[1] * move).sum(), rel=1e-4)
    by_strain = frame.volume * (output.stress[1] * strain).sum()
    assert (energy[2] - energy[3]) / (2 * h) == pytest.approx(by_strain, rel=1e-4)


def test_checks_and_memory_come_from_the_package(potential, monkeypatch):
    salt = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    collapsed = Frame(np.array([18, 18]), np.zeros((2, 3)), 4 * np.eye(3))
    expected = potential.evaluate([argon(1.1)]).energy[0]
    compute = type(potential).compute

    def small_only(self, batch):
        if len(batch) > 1:
            raise MemoryError
        return compute(self, batch)

    monkeypatch.setattr(type(potential), "compute", small_only)
    output = potential.evaluate([argon(1.1), salt, collapsed, argon(1.1)])
    assert output.energy[[0, 3]] == pytest.approx(expected)
    assert "does not know Cl, Na" in output.failures[1]
    assert "apart" in output.failures[2]


def test_the_command_takes_its_name(potential, tmp_path):
    from invdesign.cli.app import app

    argon(1.15).to(filename=str(tmp_path / "argon.cif"))
    arguments = ["relax", str(tmp_path / "argon.cif"), "--out", str(tmp_path / "out"), "--fmax", "0.001"]
    run = CliRunner().invoke(app, [*arguments, "--potential", "lennard-jones", "--workers", "1"])
    assert run.exit_code == 0, run.output
    (row,) = csv.DictReader((tmp_path / "out" / "relaxed.csv").open())
    edge = float(row["volume"]) ** (1 / 3)
    assert edge / np.sqrt(2) / SIGMA == pytest.approx(NEAREST, rel=2 * N_SHELLS_TOLERANCE)


def test_what_is_no_potential_is_refused(install_plugin, monkeypatch):
    install_plugin("lennard_jones")
    load_potential.cache_clear()
    import lennard_jones

    monkeypatch.setattr(lennard_jones, "LennardJones", dict)
    with pytest.raises(InputError, match="makes a dict, which is no potential"):
        load_potential("lennard-jones")
