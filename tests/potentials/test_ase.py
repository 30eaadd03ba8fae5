"""ASE calculators as potentials: equal to ASE, unharmed by bad crystals, refused with a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from invdesign.errors import InputError
from invdesign.potentials.ase import AsePotential
from invdesign.potentials.interface import Frame, Potential, frame_of
from invdesign.potentials.registry import load_potential

NAME = "ase:ase.calculators.emt:EMT"


class WithoutStress(EMT):
    implemented_properties = ("energy", "forces")


class Late(EMT):
    """Promises stresses and does not keep it."""

    def get_stress(self, atoms=None):
        raise PropertyNotImplementedError


class Blind(EMT):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["energy"] = np.nan


def fails():
    raise OSError("no licence file")


def gives_a_number():
    return 3


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    """This file as an importable module."""
    monkeypatch.setitem(sys.modules, "ase_calculators_of_this_test", sys.modules[__name__])
    return "ase_calculators_of_this_test"


@pytest.fixture
def alloys() -> list[Structure]:
    rng = np.random.default_rng(0)
    structures = []
    for a, species in ((3.7, ["Cu", "Au", "Au", "Au"]), (3.9, ["Pt"] * 4), (4.0, ["Al"] * 3 + ["Ni"])):
        structure = Structure(
            Lattice.cubic(a), species, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
        )
        structure.apply_strain(rng.normal(0, 0.01, 3))
        structure.perturb(0.05)
        structures.append(structure)
    return structures


def test_equal_to_the_calculator(alloys: list[Structure]) -> None:
    potential = load_potential(NAME)
    assert isinstance(potential, Potential)
    assert potential.name == NAME
    assert load_potential(NAME) is potential
    result = potential.evaluate(alloys)
    assert result.failures == {}
    for k, structure in enumerate(alloys):
        atoms = structure.to_ase_atoms()
        atoms.calc = EMT()
        assert result.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(result.forces[k], atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(result.stress[k], atoms.get_stress(voigt=False), atol=1e-9)


def test_stress_is_the_energy_s_derivative(alloys: list[Structure]) -> None:
    potential = load_potential(NAME)
    frame = frame_of(alloys[0])
    h, strain = 1e-5, np.array([[0.3, 0.1, 0.0], [0.1, -0.2, 0.4], [0.0, 0.4, 0.5]])
    stretch = [np.eye(3) + sign * h * strain for sign in (1, -1)]
    energy = potential.evaluate([Frame(frame.numbers, frame.positions @ f, frame.cell @ f) for f in stretch])
    slope = (energy.energy[0] - energy.energy[1]) / (2 * h * frame.volume)
    assert slope == pytest.approx((potential.evaluate([frame]).stress[0] * strain).sum(), abs=1e-6)


def test_bad_crystals_end_alone(alloys: list[Structure]) -> None:
    good = frame_of(alloys[1])
    ion = alloys[1].copy()
    ion.set_charge(-1)
    bad = {
        f"{NAME} failed: No EMT-potential for Xe": Structure(Lattice.cubic(5), ["Xe"], [[0, 0, 0]]),
        "per atom": Frame(good.numbers, good.positions * 0.1, good.cell * 0.1),
        "Å apart": Frame(good.numbers, good.positions * 0.01, good.cell),
        "not finite": Frame(good.numbers, good.positions * np.nan, good.cell),
        "no atoms": Frame(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.eye(3) * 4),
        "disordered": Structure(Lattice.cubic(3), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]),
        "charge of -1": ion,
    }
    result = load_potential(NAME).evaluate([good, *bad.values(), good])
    assert sorted(result.failures) == list(range(1, len(bad) + 1))
    for k, words in enumerate(bad, start=1):
        assert words in result.failures[k]
        assert np.isnan(result.energy[k])
    assert np.isfinite(result.energy[[0, -1]]).all()
    assert result.energy[0] == pytest.approx(result.energy[-1], abs=1e-12)


def test_sizes(alloys: list[Structure]) -> None:
    copper = frame_of(alloys[1] * (5, 5, 5))
    one = Structure.from_ase_atoms(bulk("Cu"))
    result = load_potential(NAME).evaluate([one, copper])
    assert result.failures == {}
    assert [len(forces) for forces in result.forces] == [1, 500]


def test_nan_and_missing_stress_are_failures(alloys: list[Structure]) -> None:
    assert "not finite" in AsePotential("blind", Blind()).evaluate(alloys[:1]).failures[0]
    assert (
        "late failed: PropertyNotImplementedError"
        in AsePotential("late", Late()).evaluate(alloys[:1]).failures[0]
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ase:", "not of the form"),
        ("ase:ase.calculators.emt", "not of the form"),
        ("ase:no.such.module:EMT", "cannot be imported"),
        ("ase:ase.calculators.emt:ETM", "has no callable ETM"),
        ("ase:ase.calculators.emt:parameters", "has no callable parameters"),
        ("ase:HERE:fails", r"fails\(\) fails \(no licence file\)"),
        ("ase:HERE:gives_a_number", "is a int"),
        ("ase:HERE:WithoutStress", "gives no stress"),
    ],
)
def test_names_that_give_no_potential_are_refused(name: str, words: str, here: str) -> None:
    with pytest.raises(InputError, match=words):
        load_potential(name.replace("HERE", here))


def test_a_file_next_to_the_user_s_work_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_calculator.py").write_text(
        "from ase.calculators.lj import LennardJones\n\n\ndef argon():\n"
        "    return LennardJones(sigma=3.4, epsilon=0.0104, rc=10)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    argon = Structure.from_ase_atoms(bulk("Ar", a=5.3))
    energy = load_potential("ase:my_calculator:argon").evaluate([argon]).energy[0]
    assert -0.1 < energy < -0.05  # the crystal's cohesive energy is 0.08 eV
