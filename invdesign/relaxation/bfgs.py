"""BFGS and FIRE as pure step-makers on a vector of coordinates; they evaluate nothing."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Optimiser(Protocol):
    """Turns gradients into steps; keeps what it learned."""

    downhill: bool  # whether a step that raises the energy is to be taken back

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """The step wanted at the accepted point; may be shortened by the caller, who then says so."""
        ...

    def learn(self, step: np.ndarray, change: np.ndarray) -> None:
        """Take in by how much the gradient changed along the step that was tried."""
        ...


class Bfgs:
    """BFGS on the Hessian itself (small here), starting from a given one."""

    downhill = True

    def __init__(self, hessian: np.ndarray) -> None:
        self.hessian = hessian

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """The Newton step."""
        return np.asarray(-np.linalg.solve(self.hessian, gradient))

    def learn(self, step: np.ndarray, change: np.ndarray) -> None:
        """The BFGS update, where the curvature along the step is positive."""
        curvature = step @ change
        if curvature <= 1e-8:  # a maximum along the step: nothing that a positive Hessian can hold
            return
        image = self.hessian @ step
        self.hessian += np.outer(change, change) / curvature - np.outer(image, image) / (step @ image)


class Fire:
    """FIRE (Bitzek et al., PRL 97, 170201 (2006)) with ASE's settings; the mass of a coordinate is 1."""

    downhill = False

    def __init__(self) -> None:
        self._velocity: np.ndarray | None = None
        self._dt, self._mixing, self._downhill_steps = 0.1, 0.1, 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """One step of damped dynamics."""
        force = -gradient
        if self._velocity is None:
            self._velocity = np.zeros_like(force)
        elif force @ self._velocity > 0:
            size = np.linalg.norm(self._velocity) / max(float(np.linalg.norm(force)), 1e-12)
            self._velocity = (1 - self._mixing) * self._velocity + self._mixing * size * force
            if self._downhill_steps > 5:
                self._dt, self._mixing = min(1.1 * self._dt, 1.0), 0.99 * self._mixing
            self._downhill_steps += 1
        else:
            self._velocity = np.zeros_like(force)
            self._dt, self._mixing, self._downhill_steps = 0.5 * self._dt, 0.1, 0
        self._velocity = self._velocity + self._dt * force
        return self._dt * self._velocity

    def learn(self, step: np.ndarray, change: np.ndarray) -> None:
        """FIRE keeps no Hessian."""
