"""Batched relaxation of positions and cell.

Every crystal has its own BFGS minimiser; all active crystals are evaluated together. One that converges,
fails or is stopped early leaves the batch at once and the next one enters. torch-sim 0.6 has one step limit
for the whole batch and knows neither symmetry nor early stopping: ``docs/decisions/006-batched-bfgs.md``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InputError
from invdesign.potentials.interface import Potential, frame_of
from invdesign.relaxation.crystal_relaxation import CrystalRelaxation, RelaxSettings
from invdesign.relaxation.early_stopping import EarlyStoppingRule, Progress

if TYPE_CHECKING:
    from pymatgen.core import Structure

IN_FLIGHT = 512  # crystals evaluated together; the potential cuts them into micro-batches


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The result of one relaxation.

    Attributes:
        structure: the last geometry accepted (the given one where not even that could be evaluated).
        energy: eV per cell; nan where it could not be evaluated.
        fmax: eV/Å, the larger of the largest force on an atom and the largest row of
            ``stress · volume / number of atoms``, along what may move.
        n_steps: steps tried; each is one evaluation.
        converged: whether ``fmax`` came under the limit; anything else is not a result.
        reason: how it ended, as a sentence.
        symmetry_kept: whether the crystal returned to its symmetric minimum when its symmetry was released;
            None where it was not released.
        stopped_early: whether it ended because its energy would have stayed above the ceiling.
        trace: its state after each step (of the symmetry-constrained stage, where there are two).
        embedding: the potential's, (d,), of this structure; None where it could not be evaluated.
    """

    structure: Structure
    energy: float
    fmax: float
    n_steps: int
    converged: bool
    reason: str
    symmetry_kept: bool | None = None
    stopped_early: bool = False
    trace: tuple[Progress, ...] = ()
    embedding: np.ndarray | None = None


def relax(
    structures: Sequence[Structure],
    potential: Potential,
    *,
    fmax: float = 0.1,
    max_steps: int = 150,
    relax_cell: bool = True,
    pressure_gpa: float = 0.0,
    keep_symmetry: bool = False,
    ceilings: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
    rule: EarlyStoppingRule | None = None,
) -> list[Relaxed]:
    """Relax crystals to their nearest minimum; a crystal that fails does not end the others.

    On a CPU the same list gives the same result to the last bit, on one machine with one number of threads.

    Args:
        structures: ordered crystals.
        potential: what gives energies, forces and stresses.
        fmax: eV/Å; limit of forces and ``stress · volume / number of atoms``. 0.1 leaves about 1 GPa and a
            few meV/atom.
        max_steps: limit of the steps of one crystal.
        relax_cell: False fixes the cell; only forces count.
        pressure_gpa: hydrostatic pressure, GPa.
        keep_symmetry: relax with each crystal's symmetry constrained first, then without, slightly rattled,
            to test whether it is stable.
        ceilings: eV/atom by crystal; an energy above is of no use to the caller: a crystal whose symmetric
            minimum lies 0.05 eV/atom above its ceiling keeps its symmetry.
        groups: number by crystal; only the lowest energy of a group is of use, so that each that converges is
            a ceiling for the rest of its group.
        rule: decides when a crystal will stay above its ceiling, and stops it early.

    Raises:
        InputError: ``fmax``, ``max_steps`` or ``pressure_gpa`` makes no sense.
    """
    if not 0 < fmax < np.inf or max_steps < 0:
        raise InputError(
            f"fmax={fmax:g} and max_steps={max_steps}: give fmax above 0 (eV/Å) and max_steps of at least 0."
        )
    if not np.isfinite(pressure_gpa):
        raise InputError(f"pressure={pressure_gpa:g}: give a pressure in GPa.")
    settings = RelaxSettings(fmax, max_steps, relax_cell, pressure_gpa, keep_symmetry, rule)
    limits = list(ceilings) if ceilings is not None else [np.inf] * len(structures)
    family = list(groups) if groups is not None else list(range(len(structures)))
    best: dict[int, float] = {}  # eV/atom of the lowest that converged, by group
    results: dict[int, Relaxed] = {}
    waiting: deque[tuple[int, CrystalRelaxation]] = deque()
    for index, structure in enumerate(structures):
        try:
            relaxation = CrystalRelaxation(frame_of(structure), settings)
        except InputError as error:
            results[index] = Relaxed(structure, np.nan, np.nan, 0, converged=False, reason=str(error))
        else:
            waiting.append((index, relaxation))
    active: list[tuple[int, CrystalRelaxation]] = []
    while waiting or active:
        while waiting and len(active) < IN_FLIGHT:
            active.append(waiting.popleft())
        output = potential.evaluate([relaxation.trial for _, relaxation in active])
        remaining = []
        for place, (index, relaxation) in enumerate(active):
            ceiling = min(limits[index], best.get(family[index], np.inf))
            reason = relaxation.advance(output, place, ceiling)
            best[family[index]] = min(best.get(family[index], np.inf), relaxation.minimum)
            if reason is None:
                remaining.append((index, relaxation))
            else:
                results[index] = _result(structures[index], relaxation, reason)
        active = remaining
    return [results[index] for index in range(len(structures))]


def _result(structure: Structure, relaxation: CrystalRelaxation, reason: str) -> Relaxed:
    """Make the result, with the species of the given structure."""
    from pymatgen.core import Lattice, Structure

    energy, fmax, embedding = np.nan, np.nan, None
    if (point := relaxation.point) is not None:
        energy, fmax, embedding = point.energy, point.fmax, point.embedding
        structure = Structure(
            Lattice(point.frame.cell),
            structure.species,
            point.frame.positions,
            coords_are_cartesian=True,
            to_unit_cell=True,
        )
    return Relaxed(
        structure,
        energy,
        fmax,
        relaxation.n_steps,
        relaxation.converged,
        reason,
        relaxation.symmetry_kept,
        relaxation.stopped_early,
        tuple(relaxation.trace),
        embedding,
    )
