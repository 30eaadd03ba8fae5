"""The way down of one crystal within what may move: takes evaluations in, proposes the next geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from invdesign.relaxation.symmetry_coordinates import displaced

if TYPE_CHECKING:
    from invdesign.potentials.interface import Frame
    from invdesign.relaxation.bfgs import Optimiser
    from invdesign.relaxation.symmetry_coordinates import Freedom

MAX_STEP = 0.2  # Å, of any atom in one step
MIN_STEP = 0.02  # Å; a step shorter than this is taken even if the energy rises
MAX_STRAIN = 0.06  # largest component of the log-strain of one step
RISE = 0.01  # eV/atom by which a step may raise the energy


class Point(NamedTuple):
    """An evaluated geometry.

    Attributes:
        frame: the geometry.
        energy: eV per cell.
        enthalpy: energy plus pressure times volume, eV per cell; what is minimised.
        fmax: eV/Å, see ``relaxation.Relaxed``.
        embedding: of the potential, (d,), where it has one.
    """

    frame: Frame
    energy: float
    enthalpy: float
    fmax: float
    embedding: np.ndarray | None


class Descent:
    """Minimisation from a start.

    Attributes:
        trial: geometry to be evaluated next.
        point: the geometry that stands so far; None before the first evaluation.
        predicted_drop: eV/atom down to the minimum of the optimiser's model, at the point.
        last_drop: eV/atom by which the last accepted step lowered the enthalpy; 0 before the first.
    """

    def __init__(self, start: Frame, freedom: Freedom, optimiser: Optimiser, pressure: float) -> None:
        """Begin.

        Args:
            start: first geometry to be evaluated.
            freedom: what may move.
            optimiser: makes the steps, in the freedom's coordinates.
            pressure: eV/Å³.
        """
        self.trial = start
        self.point: Point | None = None
        self.predicted_drop, self.last_drop = np.nan, 0.0
        self.freedom, self.optimiser = freedom, optimiser
        self._pressure = pressure
        self._limit = MAX_STEP
        self._step = self._gradient = np.zeros(len(freedom))

    def consider(
        self, energy: float, forces: np.ndarray, stress: np.ndarray, embedding: np.ndarray | None
    ) -> None:
        """Learn from the trial, and accept it unless the enthalpy rose and the step can be shortened.

        Args:
            energy: eV per cell.
            forces: (n, 3) eV/Å.
            stress: (3, 3) eV/Å³.
            embedding: (d,), where the potential has one.
        """
        n, volume = len(self.trial), self.trial.volume
        gradient = self.freedom.gradient(forces, (stress + self._pressure * np.eye(3)) * volume)
        enthalpy = energy + self._pressure * volume
        if self.point is not None:
            self.optimiser.learn(self._step, gradient - self._gradient)
            risen = enthalpy > self.point.enthalpy + RISE * n
            if risen and self.optimiser.downhill and self.shorten():
                return
            self._limit = min(MAX_STEP, 1.5 * self._limit)
            self.last_drop = (self.point.enthalpy - enthalpy) / n
        self.point = Point(self.trial, energy, enthalpy, self.freedom.fmax(gradient), embedding)
        self._gradient = gradient

    def shorten(self) -> bool:
        """Allow shorter steps only; False when they are the shortest already."""
        if self._limit <= MIN_STEP:
            return False
        self._limit *= 0.4
        return True

    def propose(self) -> None:
        """Set the next trial: the optimiser's step from the point, cut to the limit."""
        assert self.point is not None  # noqa: S101 - for the type checker; a first failure ends the crystal
        step = self.optimiser.step(self._gradient)
        self.predicted_drop = -0.5 * float(step @ self._gradient) / len(self.trial)
        moves, strain = self.freedom.unpack(step)
        excess = max(
            float(np.linalg.norm(moves, axis=1).max()) / self._limit,
            float(np.abs(strain).max()) / (MAX_STRAIN * self._limit / MAX_STEP),
        )
        shrink = 1 / max(excess, 1.0)
        self._step = step * shrink
        self.trial = displaced(self.point.frame, moves * shrink, strain * shrink)
