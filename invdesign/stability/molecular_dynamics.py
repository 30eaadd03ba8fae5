"""Short molecular dynamics of a crystal at room temperature: does it keep its structure?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.crystal.supercell import multiples, reduced
from invdesign.potentials.batching import Pairs, neighbour_pairs
from invdesign.potentials.interface import Frame, Potential, frame_of

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

TEMPERATURE = 300.0  # K
DURATION = 2000.0  # fs; sites are averaged over the second half
TIME_STEP = 2.0  # fs, for a lightest atom of 10 amu; it goes with the root of the mass
LONGEST_STEP = 4.0  # fs
FRICTION = 0.005  # 1/fs, of the Langevin thermostat
SIDE = 7.0  # Å between periodic images
MOST_ATOMS = 64
MULTIPLES = (1, 2, 3, 4)
EVERY = 10  # steps between snapshots
HOTTEST = 5.0  # times the temperature; beyond, the crystal decomposes and the run ends
BOND = 1.2  # times an atom's shortest distance: up to which a pair is bonded
STRETCH = 1.3  # times its length: beyond which a bond is broken
LEAST_BONDS = 0.9  # share of bonds that a stable crystal keeps; layers may slide


@dataclass(frozen=True, slots=True)
class MDResult:
    """State of a crystal after molecular dynamics.

    Attributes:
        moved: Å, largest distance of an atom's mean position (second half) from its site.
        bonds: share of the bonds that are kept between mean positions.
        rms_displacement: Å, of all atoms from their sites, vibrations included.
        fs: duration.
        n_atoms: of the supercell.
    """

    moved: float
    bonds: float
    rms_displacement: float
    fs: float
    n_atoms: int


def run_dynamics(structure: Structure, potential: Potential, seed: tuple[int, ...]) -> MDResult | str:
    """Run molecular dynamics of a crystal at 300 K in its cell.

    Args:
        structure: an ordered crystal, near its minimum.
        potential: what gives energies and forces.
        seed: of the velocities and of the thermostat.

    Returns:
        The result, or the reason why the run ended early.
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
    snapshots = []
    for snapshot in range(1, round(DURATION / step / EVERY) + 1):
        try:
            motion.run(EVERY)
        except _CannotEvaluateError as error:
            return f"decomposes after {snapshot * EVERY * step / 1000:.2f} ps: {error}"
        if not atoms.get_temperature() < HOTTEST * TEMPERATURE:
            heat = atoms.get_temperature()
            return f"decomposes after {snapshot * EVERY * step / 1000:.2f} ps: {heat:.0f} K"
        if snapshot * EVERY * step > DURATION / 2:
            snapshots.append(atoms.get_positions() - atoms.get_positions().mean(axis=0))
    return _result(frame, np.array(snapshots), DURATION)


def _result(frame: Frame, snapshots: np.ndarray, fs: float) -> MDResult:
    """Compare mean positions with the sites; snapshots (m, n, 3) about their centre."""
    sites = frame.positions - frame.positions.mean(axis=0)
    mean = snapshots.mean(axis=0)
    pairs = _bonds(frame)
    vectors = pairs.vectors + (mean - sites)[pairs.second] - (mean - sites)[pairs.first]
    kept = np.linalg.norm(vectors, axis=1) <= STRETCH * pairs.distances
    return MDResult(
        float(np.linalg.norm(mean - sites, axis=1).max()),
        float(kept.mean()),
        float(np.sqrt(((snapshots - sites) ** 2).sum(axis=-1).mean())),
        fs,
        len(frame),
    )


def _bonds(frame: Frame) -> Pairs:
    """Return pairs up to ``BOND`` times the shortest distance of both atoms."""
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
    """The potential cannot evaluate the positions."""


def _atoms(frame: Frame, potential: Potential) -> Atoms:
    """Return ASE atoms that a potential evaluates."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes

    class PotentialCalculator(Calculator):
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

    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True, calculator=PotentialCalculator())
