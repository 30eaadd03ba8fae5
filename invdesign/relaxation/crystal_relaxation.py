"""The relaxation of one crystal: its stages, and when it ends.

A relaxation that keeps symmetry has two stages. The symmetry-constrained stage changes only the coordinates
that keep the space group: few coordinates, so few steps. At its end the forces that would break the symmetry
are zero whether the crystal is stable against them or not; so the unconstrained stage rattles it a little and
lets everything move, for a few steps. Most crystals return to the symmetric minimum; one that ends lower was
on a saddle point, and takes its new form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invdesign.io.units import EV_PER_A3
from invdesign.potentials.interface import Frame, PotentialOutput
from invdesign.relaxation.bfgs import Minimizer, Point
from invdesign.relaxation.early_stopping import EarlyStoppingRule, Progress
from invdesign.relaxation.symmetry_coordinates import DegreesOfFreedom, displaced, symmetrised

STIFFNESS = 10.0  # eV/Å², the first guess of the Hessian
VOLUME_RATIO = (0.25, 4.0)  # of the start; beyond, it is another crystal
MIN_ENERGY_PER_ATOM = -50.0  # eV; below, the potential is outside anything that it was trained on
RATTLE = 0.05  # Å, root mean square of an atom's move before the unconstrained stage
RATTLE_STRAIN = 0.01  # of a component of the log-strain before the unconstrained stage
UNCONSTRAINED_STEPS = 15  # while the crystal has not come below its symmetric minimum
RELEASE_WITHIN = 0.05  # eV/atom above the ceiling; higher symmetric minima keep their symmetry
EXACT = 1e-6  # Å
LOWER = 0.005  # eV/atom; a crystal that ends lower by more has broken its symmetry


@dataclass(frozen=True, slots=True)
class RelaxSettings:
    """Options of a relaxation; see ``relax.relax``."""

    fmax: float
    max_steps: int
    relax_cell: bool
    pressure_gpa: float
    keep_symmetry: bool
    rule: EarlyStoppingRule | None


class CrystalRelaxation:
    """The state of one crystal's relaxation.

    Attributes:
        n_steps: evaluations after the first.
        minimum: enthalpy of the minimum it converged to, eV/atom (inf: none).
        converged, stopped_early, symmetry_kept, trace: see ``relax.Relaxed``.
    """

    def __init__(self, frame: Frame, settings: RelaxSettings) -> None:
        self.n_steps = 0
        self.minimum = np.inf
        self.converged = self.stopped_early = False
        self.symmetry_kept: bool | None = None
        self.trace: list[Progress] = []
        self._settings = settings
        self._start = frame
        self._symmetric: Point | None = None  # the end of the symmetry-constrained stage
        self._minimizer: Minimizer | None = None

    @property
    def trial(self) -> Frame:
        """Return the geometry to be evaluated next."""
        return self._start if self._minimizer is None else self._minimizer.trial

    @property
    def point(self) -> Point | None:
        """Return the accepted geometry; None where nothing could be evaluated."""
        return (self._minimizer and self._minimizer.point) or self._symmetric

    def advance(self, output: PotentialOutput, index: int, ceiling: float) -> str | None:
        """Use the potential's output for ``trial`` and choose the next one.

        Args:
            output: of all crystals of the active batch.
            index: of this crystal in it.
            ceiling: eV/atom; a higher final energy is of no use.

        Returns:
            How the relaxation ended, or None while it continues.
        """
        energy = float(output.energy[index])
        fault = output.failures.get(index) or self._absurd(energy)
        if self._minimizer is None:
            if fault is not None:
                return f"ended at step 0: {fault}"
            self._minimizer = self._first_stage()
            if not _same(self._minimizer.trial, self._start):
                return None  # its symmetry was not exact, and had to be restored first
        else:
            self.n_steps += 1
        if fault is None:
            embedding = output.embeddings[index].copy()
            self._minimizer.update(energy, output.forces[index], output.stress[index], embedding)
        elif self._minimizer.point is None or not self._minimizer.shorten():
            if self._symmetric is not None and self._drop <= LOWER:
                return self._keep_symmetric()
            return f"ended at step {self.n_steps}: {fault}"
        self._minimizer.propose()
        return self._end(self._minimizer, ceiling)

    def _absurd(self, energy: float) -> str | None:
        n, (low, high) = len(self._start), VOLUME_RATIO
        ratio = self.trial.volume / self._start.volume
        if not low <= ratio <= high:
            return f"the volume went to {ratio:.2f} of its start"
        if energy / n < MIN_ENERGY_PER_ATOM:
            return f"an energy of {energy / n:.0f} eV/atom is outside the potential's range"
        return None

    def _first_stage(self) -> Minimizer:
        settings, start = self._settings, self._start
        if settings.keep_symmetry:
            start = symmetrised(start)
            freedom = DegreesOfFreedom.symmetric(start, relax_cell=settings.relax_cell)
        else:
            freedom = DegreesOfFreedom.unconstrained(start, relax_cell=settings.relax_cell)
        return Minimizer(start, freedom, STIFFNESS * np.eye(len(freedom)), settings.pressure_gpa / EV_PER_A3)

    def _end(self, minimizer: Minimizer, ceiling: float) -> str | None:
        """Return how it ends at the accepted point, if it does; may start the unconstrained stage instead."""
        point, settings, n = minimizer.point, self._settings, len(self._start)
        assert point is not None  # noqa: S101 - for the type checker; a first failure ended before
        if self._symmetric is not None:
            return self._end_unconstrained(point)
        progress = Progress(self.n_steps, point.enthalpy / n, point.fmax, minimizer.last_drop)
        self.trace.append(progress)
        if point.fmax <= settings.fmax:
            in_reach = point.enthalpy / n <= ceiling + RELEASE_WITHIN and self.n_steps < settings.max_steps
            if settings.keep_symmetry and not minimizer.freedom.is_unconstrained and in_reach:
                self._release_symmetry(minimizer, point)
                return None
            self._converge(point)
            return f"converged after {self.n_steps} steps ({point.fmax:.3f} eV/Å)"
        if settings.rule is not None and (reason := settings.rule.reason(progress, ceiling)):
            self.stopped_early = True
            return f"stopped early: after {self.n_steps} steps {reason}"
        if self.n_steps >= settings.max_steps:
            return (
                f"not converged after {self.n_steps} steps ({point.fmax:.3f} eV/Å; wanted {settings.fmax:g})"
            )
        return None

    def _release_symmetry(self, minimizer: Minimizer, point: Point) -> None:
        """Start the unconstrained stage from the rattled crystal, with the Hessian that is known."""
        frame = point.frame
        freedom = DegreesOfFreedom.unconstrained(frame, relax_cell=self._settings.relax_cell)
        known = freedom.basis.T @ minimizer.freedom.basis
        rest = np.eye(len(freedom)) - known @ known.T
        hessian = known @ minimizer.hessian @ known.T + STIFFNESS * rest
        # the same moves for the same crystal: a run can be repeated to the last bit
        rng = np.random.default_rng(len(frame))
        moves = rng.normal(0, RATTLE / np.sqrt(3), (len(frame), 3))
        strain = rng.normal(0, RATTLE_STRAIN, (3, 3)) * self._settings.relax_cell
        start = displaced(frame, moves, (strain + strain.T) / 2)
        self._symmetric, self._released_at = point, self.n_steps
        self._minimizer = Minimizer(start, freedom, hessian, self._settings.pressure_gpa / EV_PER_A3)

    def _end_unconstrained(self, point: Point) -> str | None:
        """Return how the unconstrained stage ends, if it does: at the symmetric minimum, or lower."""
        settings = self._settings
        out_of_steps = self.n_steps >= settings.max_steps
        returned = point.fmax <= settings.fmax or self.n_steps - self._released_at >= UNCONSTRAINED_STEPS
        if self._drop <= LOWER and (returned or out_of_steps):
            return self._keep_symmetric()
        if point.fmax <= settings.fmax:
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
        """Return how far it has come below the symmetric minimum, eV/atom."""
        if self._symmetric is None or self._minimizer is None or self._minimizer.point is None:
            return 0.0
        return (self._symmetric.enthalpy - self._minimizer.point.enthalpy) / len(self._start)

    def _converge(self, point: Point) -> None:
        self.converged, self.minimum = True, point.enthalpy / len(self._start)

    def _keep_symmetric(self) -> str:
        assert self._symmetric is not None  # noqa: S101 - for the type checker
        self._minimizer, self.symmetry_kept = None, True
        self._converge(self._symmetric)
        return f"converged after {self.n_steps} steps ({self._symmetric.fmax:.3f} eV/Å), symmetry kept"


def _same(one: Frame, other: Frame) -> bool:
    moved = max(np.abs(one.positions - other.positions).max(), np.abs(one.cell - other.cell).max())
    return bool(moved <= EXACT)
