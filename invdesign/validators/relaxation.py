"""Batched relaxation of positions and cell.

Every crystal has its own quasi-Newton optimiser (BFGS on positions and log-strain, with a step limit);
all of them are evaluated together. One that converges or fails leaves the batch at once and the next one
enters. Against FIRE with a Fréchet cell filter this needs a third of the evaluations, and torch-sim 0.3
counts steps for the batch, not for each crystal: ``docs/decisions.md`` has the measurement.

The cell moves by symmetric log-strain relative to the current cell, ``cell → cell · exp(U)``: it cannot
rotate, and the gradient by ``U`` is the stress times the volume, with no derivative of the matrix
exponential to evaluate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InputError
from invdesign.validators.potential import Frame, frame_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from invdesign.validators.potential import Evaluation, Potential

IN_FLIGHT = 256  # crystals evaluated together; the potential cuts them into passes that fit its device
MAX_STEP = 0.2  # Å, of any atom in one step
MIN_STEP = 0.02  # Å; a step shorter than this is taken even if the energy rises
MAX_STRAIN = 0.06  # largest component of the log-strain of one step
RISE = 0.01  # eV/atom by which a step may raise the energy
STIFFNESS = 10.0  # eV/Å², the first guess of the Hessian
STRAIN_LENGTH = 1.0  # Å: a strain u of n atoms counts as a move of u · sqrt(n) · this length
VOLUME_RATIO = (0.25, 4.0)  # of the start; beyond, it is another crystal
MIN_ENERGY_PER_ATOM = -50.0  # eV; below, the potential is outside anything that it was trained on


@dataclass(frozen=True, slots=True)
class Relaxed:
    """How one relaxation ended.

    Attributes:
        structure: the last geometry accepted (the given one where not even that could be evaluated).
        energy: eV per cell; nan where it could not be evaluated.
        fmax: eV/Å, the larger of the largest force on an atom and the largest row of
            ``stress · volume / number of atoms``.
        n_steps: steps tried; each is one evaluation.
        converged: whether ``fmax`` came under the limit; anything else is not a result.
        reason: how it ended, in words.
    """

    structure: Structure
    energy: float
    fmax: float
    n_steps: int
    converged: bool
    reason: str


def relax(
    structures: Sequence[Structure],
    potential: Potential,
    *,
    fmax: float = 0.1,
    max_steps: int = 150,
    relax_cell: bool = True,
) -> list[Relaxed]:
    """Relax crystals to their nearest minimum; nothing that one of them does can end the others.

    The same list gives the same result to the last bit on the same machine with the same number of threads.

    Args:
        structures: ordered crystals.
        potential: what gives energies, forces and stresses.
        fmax: eV/Å; forces and ``stress · volume / number of atoms`` must come under it. 0.1 leaves about
            1 GPa and a few meV/atom.
        max_steps: steps that one crystal may try.
        relax_cell: False keeps the cell and looks at forces alone.

    Raises:
        InputError: ``fmax`` or ``max_steps`` makes no sense.
    """
    if not fmax > 0 or max_steps < 0:
        msg = (
            f"fmax={fmax:g} and max_steps={max_steps}: give fmax above 0 (eV/Å) and max_steps of at least 0."
        )
        raise InputError(msg)
    results: dict[int, Relaxed] = {}
    waiting: deque[tuple[int, _Walker]] = deque()
    for index, structure in enumerate(structures):
        try:
            waiting.append((index, _Walker(frame_of(structure), relax_cell=relax_cell)))
        except InputError as error:
            results[index] = Relaxed(structure, np.nan, np.nan, 0, converged=False, reason=str(error))
    flying: list[tuple[int, _Walker]] = []
    while waiting or flying:
        while waiting and len(flying) < IN_FLIGHT:
            flying.append(waiting.popleft())
        evaluation = potential.evaluate([walker.trial for _, walker in flying])
        still = []
        for place, (index, walker) in enumerate(flying):
            reason = walker.advance(evaluation, place, fmax, max_steps)
            if reason is None:
                still.append((index, walker))
            else:
                results[index] = walker.result(structures[index], reason)
        flying = still
    return [results[index] for index in range(len(structures))]


class _Walker:
    """The optimiser of one crystal: ``trial`` is what it wants evaluated next."""

    def __init__(self, frame: Frame, *, relax_cell: bool) -> None:
        self.trial = frame
        self._accepted: Frame | None = None
        self._relax_cell = relax_cell
        self._n = len(frame)
        self._volume = frame.volume
        self._scale = STRAIN_LENGTH * float(np.sqrt(self._n))  # Å per unit strain
        self._hessian = STIFFNESS * np.eye(3 * self._n + 6 * relax_cell)
        self._gradient: np.ndarray = np.zeros(len(self._hessian))
        self._step: np.ndarray = np.zeros(len(self._hessian))
        self._limit = MAX_STEP
        self._energy = np.nan
        self._fmax = np.nan
        self._n_steps = 0
        self._converged = False

    def advance(self, evaluation: Evaluation, place: int, fmax: float, max_steps: int) -> str | None:
        """Take in what the potential says of ``trial`` and choose the next one.

        Returns:
            Why this crystal is done, or None while it goes on.
        """
        self._n_steps += self._accepted is not None
        fault = evaluation.failures.get(place)
        if fault is None:
            fault = self._absurd(float(evaluation.energy[place]))
        if fault is None:
            self._consider(
                float(evaluation.energy[place]), evaluation.forces[place], evaluation.stress[place]
            )
        elif self._accepted is None or not self._shorten():
            return f"ended at step {self._n_steps}: {fault}"
        if self._fmax <= fmax:
            self._converged = True
            return f"converged after {self._n_steps} steps ({self._fmax:.3f} eV/Å)"
        if self._n_steps >= max_steps:
            return f"not converged after {self._n_steps} steps ({self._fmax:.3f} eV/Å; wanted {fmax:g})"
        self._propose()
        return None

    def result(self, structure: Structure, reason: str) -> Relaxed:
        """The outcome, as a structure with the species of the given one."""
        from pymatgen.core import Lattice, Structure

        if self._accepted is not None:
            structure = Structure(
                Lattice(self._accepted.cell),
                structure.species,
                self._accepted.positions,
                coords_are_cartesian=True,
                to_unit_cell=True,
            )
        return Relaxed(structure, self._energy, self._fmax, self._n_steps, self._converged, reason)

    def _absurd(self, energy: float) -> str | None:
        low, high = VOLUME_RATIO
        ratio = self.trial.volume / self._volume
        if not low <= ratio <= high:
            return f"the volume went to {ratio:.2f} of its start"
        if energy / self._n < MIN_ENERGY_PER_ATOM:
            return f"an energy of {energy / self._n:.0f} eV/atom is none that the potential knows"
        return None

    def _consider(self, energy: float, forces: np.ndarray, stress: np.ndarray) -> None:
        """Learn from the trial, and accept it unless the energy rose and the step can be shortened."""
        virial = stress * self.trial.volume
        gradient = -forces.ravel()
        if self._relax_cell:
            gradient = np.concatenate([gradient, _components(virial) / self._scale])
        if self._accepted is not None:
            self._learn(gradient - self._gradient)
            if energy > self._energy + RISE * self._n and self._shorten():
                return
            self._limit = min(MAX_STEP, 1.5 * self._limit)
        self._accepted, self._energy, self._gradient = self.trial, energy, gradient
        self._fmax = _longest(forces)
        if self._relax_cell:
            self._fmax = max(self._fmax, _longest(virial) / self._n)

    def _learn(self, change: np.ndarray) -> None:
        """BFGS update of the Hessian from the gradient's change along the last step."""
        curvature = self._step @ change
        if curvature <= 1e-8:  # a maximum along the step: nothing that a positive Hessian can hold
            return
        image = self._hessian @ self._step
        self._hessian += np.outer(change, change) / curvature - np.outer(image, image) / (self._step @ image)

    def _shorten(self) -> bool:
        """Allow shorter steps only; False when they are the shortest already."""
        if self._limit <= MIN_STEP:
            return False
        self._limit *= 0.4
        return True

    def _propose(self) -> None:
        """The Newton step from the accepted geometry, cut to the limit."""
        from scipy.linalg import expm

        accepted = self._accepted
        assert accepted is not None  # noqa: S101 - for the type checker; a first failure ends the crystal
        step = -np.linalg.solve(self._hessian, self._gradient)
        moves, strain = step[: 3 * self._n].reshape(-1, 3), step[3 * self._n :] / self._scale
        excess = _longest(moves) / self._limit
        if self._relax_cell:
            excess = max(excess, float(np.abs(strain).max()) / (MAX_STRAIN * self._limit / MAX_STEP))
        shrink = 1 / max(excess, 1.0)
        self._step = step * shrink
        positions = accepted.positions + moves * shrink
        deformation = expm(_matrix(strain * shrink)) if self._relax_cell else np.eye(3)
        self.trial = Frame(accepted.numbers, positions @ deformation, accepted.cell @ deformation)


def _longest(rows: np.ndarray) -> float:
    """Length of the longest row."""
    return float(np.linalg.norm(rows, axis=1).max())


def _components(matrix: np.ndarray) -> np.ndarray:
    """Six components of a symmetric matrix, such that dot products equal those of the matrices."""
    root = np.sqrt(2)
    a, b, c = np.diag(matrix)
    return np.array([a, b, c, root * matrix[1, 2], root * matrix[0, 2], root * matrix[0, 1]])


def _matrix(components: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_components`."""
    root = np.sqrt(0.5)
    a, b, c, d, e, f = components * np.array([1, 1, 1, root, root, root])
    return np.array([[a, f, e], [f, b, d], [e, d, c]])
