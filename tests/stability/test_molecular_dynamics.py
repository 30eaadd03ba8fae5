import numpy as np
import pytest
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from invdesign.potentials.ase import AsePotential
from invdesign.potentials.interface import PotentialOutput, as_frames
from invdesign.stability import molecular_dynamics as dynamics
from invdesign.stability.molecular_dynamics import run_dynamics

POTENTIAL = AsePotential("emt", EMT())


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(dynamics, "DURATION", 400.0)


def fcc(edge=3.6):
    return Structure(Lattice(edge / 2 * (1 - np.eye(3))), ["Cu"], [[0, 0, 0]])


def test_a_good_crystal_holds():
    held = run_dynamics(fcc(), POTENTIAL, (0, 1))
    assert held.moved < 0.3
    assert held.bonds == 1.0
    assert 0.05 < held.rms_displacement < 0.4  # copper's atoms vibrate by 0.15 Å at 300 K


def test_the_same_seed_gives_the_same_and_another_another():
    one, same, other = (run_dynamics(fcc(), POTENTIAL, seed) for seed in ((0, 1), (0, 1), (0, 2)))
    assert one == same
    assert one.rms_displacement != other.rms_displacement


def test_what_does_not_hold_is_seen():
    simple_cubic = Structure(Lattice.cubic(2.4), ["Cu"], [[0, 0, 0]])
    held = run_dynamics(simple_cubic, POTENTIAL, (0, 1))
    assert isinstance(held, str) or held.moved > 0.5 or held.bonds < 0.9


class Explosive:
    """Pushes every atom away from where it is, the harder the farther it came."""

    name, digest, elements = "explosive", "", frozenset({"Cu"})

    def __init__(self, *, fails=False):
        self.fails = fails
        self.calls = 0

    def evaluate(self, crystals):
        self.calls += 1
        frames = as_frames(crystals)
        found = PotentialOutput.empty(frames)
        if self.fails and self.calls > 5:
            found.failures[0] = "two atoms are 0.31 Å apart"
            return found
        found.energy[0], found.stress[0] = 0.0, 0.0
        found.forces[0] = 5.0 * (frames[0].positions - frames[0].positions.mean(axis=0))
        return found


def test_what_explodes_is_reported_not_raised():
    assert "decomposes after" in run_dynamics(fcc(), Explosive(), (0, 1))
    assert "two atoms are 0.31 Å apart" in run_dynamics(fcc(), Explosive(fails=True), (0, 1))
