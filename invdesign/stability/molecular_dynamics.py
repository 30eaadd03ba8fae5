"""A short molecular dynamics of a crystal at room temperature: whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.crystal.supercell import multiples, reduced
from invdesign.potentials.batching import Pairs, neighbour_pairs
from invdesign.potentials.interface import Frame, frame_of

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from invdesign.potentials.interface import Potential

TEMPERATURE = 300.0  # K
DURATION = 2000.0  # fs; sites are averaged over the second half
TIME_STEP = 2.0  # fs, for a lightest atom of 10 amu; it goes with the root of the mass
LONGEST_STEP = 4.0  # fs
FRICTION = 0.005  # 1/fs, of the Langevin thermostat
SIDE = 7.0  # Å between periodic images
MOST_ATOMS = 64
MULTIPLES = (1, 2, 3, 4)
EVERY = 10  # steps between looks
HOTTEST = 5.0  # times the temperature; beyond, the crystal falls apart and the run ends
BOND = 1.2  # times an atom's shortest distance: what counts as a bond of it
STRETCH = 1.3  # times its length: where a bond counts as broken
LEAST_BONDS = 0.9  # share of them that must be kept; atoms that only wander, as layers that slide, may


@dataclass(frozen=True, slots=True)
class Held:
    """How a crystal came through.

    Attributes:
        moved: Å, how far the atom that moved most lies from its site, averaged over the second half.
        bonds: share of the bonds that are, between averaged sites, still bonds.
        spread: Å, root mean square distance of all atoms from their sites, vibration included.
        fs: how long it ran.
        n_atoms: of the supercell.
    """

    moved: float
    bonds: float
    spread: float
    fs: float
    n_atoms: int


def hold(structure: Structure, potential: Potential, seed: tuple[int, ...]) -> Held | str:
    """Shake a crystal at 300 K in its cell; the reason where it cannot be followed to the end.

    Args:
        structure: an ordered crystal, near its minimum.
        potential: what gives energies and forces.
        seed: of the velocities and of the thermostat.
    """
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

    cell = reduced(structure)
    n = multiples(cell.lattice.matrix, len(cell), side=SIDE, most_atoms=MOST_ATOMS, allowed=MULTIPLES)
    frame = frame_of(cell * n)
    atoms, rng = _atoms(frame, potential), np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=rng)
    Stationary(atoms)
    step = min(LONGEST_STEP, TIME_STEP * (float(atoms.get_masses().min()) / 10) ** 0.5)
    motion = Langevin(
        atoms,
        step * units.fs,
        temperature_K=TEMPERATURE,
        friction=FRICTION / units.fs,
        fixcm=False,  # the centre may wander: it is taken off below
        rng=rng,
    )
    looks = []
    for look in range(1, round(DURATION / step / EVERY) + 1):
        try:
            motion.run(EVERY)
        except _CannotEvaluateError as error:
            return f"falls apart after {look * EVERY * step / 1000:.2f} ps: {error}"
        if not atoms.get_temperature() < HOTTEST * TEMPERATURE:
            heat = atoms.get_temperature()
            return f"falls apart after {look * EVERY * step / 1000:.2f} ps: {heat:.0f} K"
        if look * EVERY * step > DURATION / 2:
            looks.append(atoms.get_positions() - atoms.get_positions().mean(axis=0))
    return _held(frame, np.array(looks), DURATION)


def _held(frame: Frame, looks: np.ndarray, fs: float) -> Held:
    """What became of the sites, from positions (looks, n, 3) around their centre."""
    sites = frame.positions - frame.positions.mean(axis=0)
    mean = looks.mean(axis=0)
    pairs = _bonds(frame)
    vectors = pairs.vectors + (mean - sites)[pairs.second] - (mean - sites)[pairs.first]
    kept = np.linalg.norm(vectors, axis=1) <= STRETCH * pairs.distances
    return Held(
        float(np.linalg.norm(mean - sites, axis=1).max()),
        float(kept.mean()),
        float(np.sqrt(((looks - sites) ** 2).sum(axis=-1).mean())),
        fs,
        len(frame),
    )


def _bonds(frame: Frame) -> Pairs:
    """Pairs that are little longer than the shortest of one of their atoms."""
    cutoff = 4.0
    while True:
        try:
            pairs = neighbour_pairs(frame, cutoff)
            break
        except ValueError:  # an atom without a neighbour so near
            cutoff *= 1.5
    shortest = np.full(len(frame), np.inf)
    for ends in (pairs.first, pairs.second):
        np.minimum.at(shortest, ends, pairs.distances)
    near = pairs.distances <= BOND * np.minimum(shortest[pairs.first], shortest[pairs.second])
    fields = (pairs.first, pairs.second, pairs.vectors, pairs.distances, pairs.shifts)
    return Pairs(*(values[near] for values in fields))


class _CannotEvaluateError(Exception):
    """The potential has no answer for where the atoms went."""


def _atoms(frame: Frame, potential: Potential) -> Atoms:
    """ASE's atoms with a potential of ours."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes

    class Ours(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(
            self,
            atoms: Any = None,  # noqa: ANN401 - as ASE calls it
            properties: Any = None,  # noqa: ANN401
            system_changes: Any = all_changes,  # noqa: ANN401
        ) -> None:
            super().calculate(atoms, properties, system_changes)
            now = Frame(frame.numbers, self.atoms.get_positions(), frame.cell)
            evaluation = potential.evaluate([now])
            if evaluation.failures:
                raise _CannotEvaluateError(evaluation.failures[0])
            self.results = {"energy": float(evaluation.energy[0]), "forces": evaluation.forces[0]}

    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True, calculator=Ours())
