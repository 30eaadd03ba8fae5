"""BFGS minimisation of one crystal within its degrees of freedom, with limited steps.

The Hessian itself is kept (it is small here), from a given start. The potential is called elsewhere: the
minimiser takes a result and proposes the next geometry.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from invdesign.potentials.interface import Frame
from invdesign.relaxation.symmetry_coordinates import DegreesOfFreedom, displaced

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
        fmax: eV/Å, see ``relax.Relaxed``.
        embedding: of the potential, (d,).
    """

    frame: Frame
    energy: float
    enthalpy: float
    fmax: float
    embedding: np.ndarray


class Minimizer:
    """State of a minimisation: the accepted geometry, the next one, and the Hessian.

    Attributes:
        trial: geometry to be evaluated next.
        point: the accepted geometry; None before the first evaluation.
        hessian: (k, k) eV/Å².
        last_drop: eV/atom by which the last accepted step lowered the enthalpy; 0 before the first.
    """

    def __init__(self, start: Frame, freedom: DegreesOfFreedom, hessian: np.ndarray, pressure: float) -> None:
        """Begin.

        Args:
            start: first geometry to be evaluated.
            freedom: coordinates that may change, k of them.
            hessian: first guess, (k, k) eV/Å².
            pressure: eV/Å³.
        """
        self.trial = start
        self.point: Point | None = None
        self.last_drop = 0.0
        self.freedom, self.hessian = freedom, hessian
        self._pressure = pressure
        self._limit = MAX_STEP
        self._step = self._gradient = np.zeros(len(freedom))

    def update(self, energy: float, forces: np.ndarray, stress: np.ndarray, embedding: np.ndarray) -> None:
        """Update the Hessian, and accept the trial unless the enthalpy rose and the step can be shortened.

        Args:
            energy: eV per cell.
            forces: (n, 3) eV/Å.
            stress: (3, 3) eV/Å³.
            embedding: (d,).
        """
        n, volume = len(self.trial), self.trial.volume
        gradient = self.freedom.gradient(forces, (stress + self._pressure * np.eye(3)) * volume)
        enthalpy = energy + self._pressure * volume
        if self.point is not None:
            self._update_hessian(gradient - self._gradient)
            risen = enthalpy > self.point.enthalpy + RISE * n
            if risen and self.shorten():
                return
            self._limit = min(MAX_STEP, 1.5 * self._limit)
            self.last_drop = (self.point.enthalpy - enthalpy) / n
        self.point = Point(self.trial, energy, enthalpy, self.freedom.fmax(gradient), embedding)
        self._gradient = gradient

    def _update_hessian(self, change: np.ndarray) -> None:
        """Apply the BFGS formula for the gradient's change along the step."""
        step = self._step
        curvature = step @ change
        if curvature <= 1e-8:  # a maximum along the step, which no positive Hessian can describe
            return
        image = self.hessian @ step
        self.hessian += np.outer(change, change) / curvature - np.outer(image, image) / (step @ image)

    def shorten(self) -> bool:
        """Allow only shorter steps; return False when they are the shortest already."""
        if self._limit <= MIN_STEP:
            return False
        self._limit *= 0.4
        return True

    def propose(self) -> None:
        """Set the next trial: the Newton step from the accepted geometry, cut to the limit."""
        assert self.point is not None  # noqa: S101 - for the type checker; a first failure ends the crystal
        step = np.asarray(-np.linalg.solve(self.hessian, self._gradient))
        moves, strain = self.freedom.unpack(step)
        excess = max(
            float(np.linalg.norm(moves, axis=1).max()) / self._limit,
            float(np.abs(strain).max()) / (MAX_STRAIN * self._limit / MAX_STEP),
        )
        shrink = 1 / max(excess, 1.0)
        self._step = step * shrink
        self.trial = displaced(self.point.frame, moves * shrink, strain * shrink)
