"""Batched relaxation of positions and cell.

Every crystal has its own optimiser, all of them are evaluated together. One that converges, fails or is
beyond hope leaves the batch at once and the next one enters. torch-sim 0.3 counts steps for the batch, not
for each crystal, and knows neither symmetry nor abandonment: ``docs/decisions/`` has the measurement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.errors import InputError
from invdesign.potentials.interface import frame_of
from invdesign.relaxation.trajectory import Settings, Walker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from invdesign.potentials.interface import Potential
    from invdesign.relaxation.early_stopping import AbandonmentRule, Progress

IN_FLIGHT = 512  # crystals evaluated together; the potential cuts them into passes that fit its device


@dataclass(frozen=True, slots=True)
class Relaxed:
    """How one relaxation ended.

    Attributes:
        structure: the last geometry accepted (the given one where not even that could be evaluated).
        energy: eV per cell; nan where it could not be evaluated.
        fmax: eV/Å, the larger of the largest force on an atom and the largest row of
            ``stress · volume / number of atoms``, along what may move.
        n_steps: steps tried; each is one evaluation.
        converged: whether ``fmax`` came under the limit; anything else is not a result.
        reason: how it ended, in words.
        symmetry_kept: whether the crystal, set free, fell back to the symmetry that it was relaxed in;
            None where nothing was tried.
        abandoned: whether it was given up because its energy would have stayed above the ceiling.
        trace: where it stood after each step (of the symmetric leg, where there are two).
        embedding: the potential's, (d,), of this very structure; None where it has none or failed.
    """

    structure: Structure
    energy: float
    fmax: float
    n_steps: int
    converged: bool
    reason: str
    symmetry_kept: bool | None = None
    abandoned: bool = False
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
    optimiser: Literal["bfgs", "fire"] = "bfgs",
    ceilings: Sequence[float] | None = None,
    groups: Sequence[int] | None = None,
    rule: AbandonmentRule | None = None,
) -> list[Relaxed]:
    """Relax crystals to their nearest minimum; nothing that one of them does can end the others.

    On a CPU the same list gives the same result to the last bit, on one machine with one number of threads.

    Args:
        structures: ordered crystals.
        potential: what gives energies, forces and stresses.
        fmax: eV/Å; forces and ``stress · volume / number of atoms`` must come under it. 0.1 leaves about
            1 GPa and a few meV/atom.
        max_steps: steps that one crystal may try.
        relax_cell: False keeps the cell and looks at forces alone.
        pressure_gpa: hydrostatic pressure, GPa.
        keep_symmetry: relax within each crystal's own symmetry first, then set it free, slightly shaken,
            to see whether it stays.
        optimiser: ``bfgs``, or ``fire`` (three times the steps; for comparison).
        ceilings: eV/atom by crystal; an energy above is of no use to the caller, so that a crystal whose
            symmetric minimum lies 0.05 eV/atom above its ceiling is not set free.
        groups: number by crystal; of a group only the lowest in energy is of use, so that each that
            converges is a ceiling for the rest of its group.
        rule: says when a crystal will stay above its ceiling, and is given up.

    Raises:
        InputError: ``fmax``, ``max_steps`` or ``pressure_gpa`` makes no sense.
    """
    if not 0 < fmax < np.inf or max_steps < 0:
        raise InputError(
            f"fmax={fmax:g} and max_steps={max_steps}: give fmax above 0 (eV/Å) and max_steps of at least 0."
        )
    if not np.isfinite(pressure_gpa):
        raise InputError(f"pressure={pressure_gpa:g}: give a pressure in GPa.")
    settings = Settings(fmax, max_steps, relax_cell, pressure_gpa, keep_symmetry, optimiser, rule)
    limits = list(ceilings) if ceilings is not None else [np.inf] * len(structures)
    family = list(groups) if groups is not None else list(range(len(structures)))
    best: dict[int, float] = {}  # eV/atom of the lowest that converged, by group
    results: dict[int, Relaxed] = {}
    waiting: deque[tuple[int, Walker]] = deque()
    for index, structure in enumerate(structures):
        try:
            walker = Walker(frame_of(structure), settings)
        except InputError as error:
            results[index] = Relaxed(structure, np.nan, np.nan, 0, converged=False, reason=str(error))
        else:
            waiting.append((index, walker))
    flying: list[tuple[int, Walker]] = []
    while waiting or flying:
        while waiting and len(flying) < IN_FLIGHT:
            flying.append(waiting.popleft())
        evaluation = potential.evaluate([walker.trial for _, walker in flying])
        still = []
        for place, (index, walker) in enumerate(flying):
            ceiling = min(limits[index], best.get(family[index], np.inf))
            reason = walker.advance(evaluation, place, ceiling)
            best[family[index]] = min(best.get(family[index], np.inf), walker.minimum)
            if reason is None:
                still.append((index, walker))
            else:
                results[index] = _outcome(structures[index], walker, reason)
        flying = still
    return [results[index] for index in range(len(structures))]


def _outcome(structure: Structure, walker: Walker, reason: str) -> Relaxed:
    """What a walker ended as, with the species of the given structure."""
    from pymatgen.core import Lattice, Structure

    energy, fmax, embedding = np.nan, np.nan, None
    if (point := walker.point) is not None:
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
        walker.n_steps,
        walker.converged,
        reason,
        walker.symmetry_kept,
        walker.abandoned,
        tuple(walker.trace),
        embedding,
    )
