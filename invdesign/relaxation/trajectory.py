"""One crystal's relaxation: its legs, and when it is done.

A relaxation that keeps symmetry has two legs. The first moves only what the symmetry leaves free: few
coordinates, so few steps. At its end the forces that would break the symmetry are zero whether the crystal
is stable against them or not; so the second leg shakes it a little and lets everything move, for a few
steps. Falling back is the rule; a crystal that ends lower was on a saddle, and takes its new form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.relaxation.bfgs import Bfgs, Fire
from invdesign.relaxation.early_stopping import Progress
from invdesign.relaxation.line_step import Descent, Point
from invdesign.relaxation.symmetry_coordinates import Freedom, displaced, symmetrised

if TYPE_CHECKING:
    from invdesign.potentials.interface import Frame, PotentialOutput
    from invdesign.relaxation.early_stopping import AbandonmentRule

STIFFNESS = 10.0  # eV/Å², the first guess of the Hessian
VOLUME_RATIO = (0.25, 4.0)  # of the start; beyond, it is another crystal
MIN_ENERGY_PER_ATOM = -50.0  # eV; below, the potential is outside anything that it was trained on
SHAKE = 0.05  # Å, root mean square of an atom's move before the free leg
STRAIN = 0.01  # of a component of the log-strain before the free leg
FREE_STEPS = 15  # of the free leg, while it has not come below where it started
FREE_WITHIN = 0.05  # eV/atom above the ceiling; a symmetric minimum that lies higher is not set free
EXACT = 1e-6  # Å
LOWER = 0.005  # eV/atom by which the free leg must end lower for the symmetry to count as broken
GPA = 160.21766208  # in 1 eV/Å³


@dataclass(frozen=True, slots=True)
class Settings:
    """How to relax; see ``relaxation.relax``."""

    fmax: float
    max_steps: int
    relax_cell: bool
    pressure_gpa: float
    keep_symmetry: bool
    optimiser: Literal["bfgs", "fire"]
    rule: AbandonmentRule | None


class Walker:
    """The relaxation of one crystal.

    Attributes:
        n_steps: evaluations after the first.
        minimum: enthalpy of the minimum it converged to, eV/atom (inf: none).
        converged, abandoned, symmetry_kept, trace: see ``relaxation.Relaxed``.
    """

    def __init__(self, frame: Frame, settings: Settings) -> None:
        self.n_steps = 0
        self.minimum = np.inf
        self.converged = self.abandoned = False
        self.symmetry_kept: bool | None = None
        self.trace: list[Progress] = []
        self._settings = settings
        self._start = frame
        self._symmetric: Point | None = None  # where the first leg ended
        self._leg: Descent | None = None

    @property
    def trial(self) -> Frame:
        """Geometry to be evaluated next."""
        return self._start if self._leg is None else self._leg.trial

    @property
    def point(self) -> Point | None:
        """The geometry that stands so far; None where nothing could be evaluated."""
        return (self._leg and self._leg.point) or self._symmetric

    def advance(self, evaluation: PotentialOutput, place: int, ceiling: float) -> str | None:
        """Take in what the potential says of ``trial`` and choose the next one.

        Args:
            evaluation: of the whole flight.
            place: this crystal's in it.
            ceiling: eV/atom; an end above it is of no use.

        Returns:
            Why this crystal is done, or None while it goes on.
        """
        energy = float(evaluation.energy[place])
        fault = evaluation.failures.get(place) or self._absurd(energy)
        if self._leg is None:
            if fault is not None:
                return f"ended at step 0: {fault}"
            self._leg = self._first_leg()
            if not _same(self._leg.trial, self._start):
                return None  # its symmetry was not exact, and had to be restored first
        else:
            self.n_steps += 1
        if fault is None:
            seen = evaluation.embeddings[place].copy()
            self._leg.consider(energy, evaluation.forces[place], evaluation.stress[place], seen)
        elif self._leg.point is None or not self._leg.shorten():
            unharmed = self._symmetric is not None and self._drop <= LOWER
            return self._keep() if unharmed else f"ended at step {self.n_steps}: {fault}"
        self._leg.propose()
        return self._end(self._leg, ceiling)

    def _absurd(self, energy: float) -> str | None:
        n, (low, high) = len(self._start), VOLUME_RATIO
        ratio = self.trial.volume / self._start.volume
        if not low <= ratio <= high:
            return f"the volume went to {ratio:.2f} of its start"
        if energy / n < MIN_ENERGY_PER_ATOM:
            return f"an energy of {energy / n:.0f} eV/atom is none that the potential knows"
        return None

    def _first_leg(self) -> Descent:
        settings, start = self._settings, self._start
        if settings.keep_symmetry:
            start = symmetrised(start)
            freedom = Freedom.symmetric(start, relax_cell=settings.relax_cell)
        else:
            freedom = Freedom.whole(start, relax_cell=settings.relax_cell)
        optimiser = Fire() if settings.optimiser == "fire" else Bfgs(STIFFNESS * np.eye(len(freedom)))
        return Descent(start, freedom, optimiser, settings.pressure_gpa / GPA)

    def _end(self, leg: Descent, ceiling: float) -> str | None:
        """How it ends at the accepted point, if it does; may turn to the second leg instead."""
        point, settings, n = leg.point, self._settings, len(self._start)
        assert point is not None  # noqa: S101 - for the type checker; a first failure ended before
        if self._symmetric is not None:
            return self._end_free(point)
        rule = settings.rule
        progress = Progress(self.n_steps, point.enthalpy / n, point.fmax, leg.predicted_drop, leg.last_drop)
        self.trace.append(progress)
        if point.fmax <= settings.fmax:
            in_reach = point.enthalpy / n <= ceiling + FREE_WITHIN and self.n_steps < settings.max_steps
            if settings.keep_symmetry and not leg.freedom.is_whole and in_reach:
                self._set_free(leg, point)
                return None
            self._converge(point)
            return f"converged after {self.n_steps} steps ({point.fmax:.3f} eV/Å)"
        if rule is not None and (hopeless := rule.hopeless(progress, ceiling)):
            self.abandoned = True
            return f"given up: after {self.n_steps} steps {hopeless}"
        if self.n_steps >= settings.max_steps:
            return (
                f"not converged after {self.n_steps} steps ({point.fmax:.3f} eV/Å; wanted {settings.fmax:g})"
            )
        return None

    def _set_free(self, leg: Descent, point: Point) -> None:
        """Turn to the second leg: shaken, everything may move; what the first leg learned is kept."""
        frame = point.frame
        freedom = Freedom.whole(frame, relax_cell=self._settings.relax_cell)
        optimiser = leg.optimiser
        if isinstance(optimiser, Bfgs):
            known = freedom.basis.T @ leg.freedom.basis
            rest = np.eye(len(freedom)) - known @ known.T
            optimiser = Bfgs(known @ optimiser.hessian @ known.T + STIFFNESS * rest)
        else:
            optimiser = Fire()
        # the same shake for the same crystal: a run can be repeated to the last bit
        rng = np.random.default_rng(len(frame))
        shake = rng.normal(0, SHAKE / np.sqrt(3), (len(frame), 3))
        strain = rng.normal(0, STRAIN, (3, 3)) * self._settings.relax_cell
        start = displaced(frame, shake, (strain + strain.T) / 2)
        self._symmetric, self._free_from = point, self.n_steps
        self._leg = Descent(start, freedom, optimiser, self._settings.pressure_gpa / GPA)

    def _end_free(self, point: Point) -> str | None:
        """How the free leg ends, if it does: back where it started, or lower."""
        out_of_steps = self.n_steps >= self._settings.max_steps
        back = point.fmax <= self._settings.fmax or self.n_steps - self._free_from >= FREE_STEPS
        if self._drop <= LOWER and (back or out_of_steps):
            return self._keep()
        if point.fmax <= self._settings.fmax:
            self.symmetry_kept = False
            self._converge(point)
            return (
                f"converged after {self.n_steps} steps ({point.fmax:.3f} eV/Å), "
                f"{1000 * self._drop:.0f} meV/atom below its symmetric form"
            )
        if out_of_steps:
            return f"not converged after {self.n_steps} steps: it left its symmetry ({point.fmax:.3f} eV/Å)"
        return None

    @property
    def _drop(self) -> float:
        """How far the free leg has come below the symmetric minimum, eV/atom."""
        if self._symmetric is None or self._leg is None or self._leg.point is None:
            return 0.0
        return (self._symmetric.enthalpy - self._leg.point.enthalpy) / len(self._start)

    def _converge(self, point: Point) -> None:
        self.converged, self.minimum = True, point.enthalpy / len(self._start)

    def _keep(self) -> str:
        """End as the symmetric minimum."""
        assert self._symmetric is not None  # noqa: S101 - for the type checker
        self._leg, self.symmetry_kept = None, True
        self._converge(self._symmetric)
        return f"converged after {self.n_steps} steps ({self._symmetric.fmax:.3f} eV/Å), symmetry kept"


def _same(one: Frame, other: Frame) -> bool:
    """Whether two geometries of a crystal are one, up to rounding."""
    moved = max(np.abs(one.positions - other.positions).max(), np.abs(one.cell - other.cell).max())
    return bool(moved <= EXACT)
