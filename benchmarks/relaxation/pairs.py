"""Perturbed crystals relaxed by ours and by the usual loop, in one run: time, steps, and which minimum."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from crystals import perturbed
from loops import Timed, ase_fmax, ase_relax, torch_sim_relax
from settings import CHGNET, M3GNET, spread

from invdesign.potentials.interface import frame_of
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from settings import Settings

    from invdesign.potentials.interface import Potential
    from invdesign.relaxation.relax import Relaxed

N = 32
FMAX, MAX_STEPS = 0.05, 500
# ASE's filter turns and stretches forces by the cell's deformation since the start, some percent here
OURS_STRICTER = 0.95
SAME = 0.005  # eV/atom
PARTS = 4  # of theirs, with one run of ours before each


def pairs(settings: Settings) -> dict[str, Any]:
    """By potential: ours (BFGS), ASE's FIRE + FrechetCellFilter, torch-sim's if installed."""
    names = settings.named(M3GNET, CHGNET)
    elements = frozenset.intersection(*(load_potential(name).elements for name in names.values()))
    structures = perturbed(settings.data, settings.n or N, settings.seed, elements)
    return {
        "n": len(structures),
        "mean_atoms": float(np.mean([len(structure) for structure in structures])),
        "fmax": FMAX,
        "ours_stricter": OURS_STRICTER,
        "max_steps": MAX_STEPS,
        "metrics": {label: _pair(name, structures) for label, name in names.items()},
    }


def _pair(name: str, structures: list[Structure]) -> dict[str, Any]:
    potential, timed = load_potential(name), Timed(name)
    potential.evaluate(structures)
    ours: list[Relaxed] = []
    seconds: list[float] = []
    theirs: list[Relaxed] = []
    their_seconds = 0.0
    for part in np.array_split(np.arange(len(structures)), PARTS):
        start = time.perf_counter()
        ours = relax(structures, potential, fmax=OURS_STRICTER * FMAX, max_steps=MAX_STEPS)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        theirs += [ase_relax(structures[k], timed, fmax=FMAX, max_steps=MAX_STEPS) for k in part]
        their_seconds += time.perf_counter() - start
    rows = {
        "ours, bfgs": {
            "wall_s": spread(seconds),
            "times_faster": spread([their_seconds / wall for wall in seconds]),
            **_outcome(structures, ours, potential),
            "against_ase": _compared(ours, theirs),
        }
    }
    rows["ASE, one at a time"] = {"wall_s": their_seconds, **_outcome(structures, theirs, potential)}
    return rows | _torch_sim(structures, potential, their_seconds, theirs)


def _torch_sim(
    structures: list[Structure], potential: Potential, their_seconds: float, theirs: list[Relaxed]
) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        ends, evaluations = torch_sim_relax(structures, potential, fmax=FMAX, max_steps=MAX_STEPS)
    except ImportError as error:
        print(f"torch-sim left out: {error}", flush=True)
        return {}
    wall = time.perf_counter() - start
    outcome = _outcome(structures, ends, potential) | {"steps": evaluations / len(structures)}
    return {
        "torch-sim, fire": {
            "wall_s": wall,
            "times_faster": their_seconds / wall,
            **outcome,
            "against_ase": _compared(ends, theirs),
        }
    }


def _outcome(
    structures: Sequence[Structure], ends: Sequence[Relaxed], potential: Potential
) -> dict[str, float]:
    """Count steps and converged ends, with their largest fmax by our measure and by ASE's, eV/Å."""
    found = potential.evaluate([end.structure for end in ends])
    ours, theirs = [0.0], [0.0]
    for k, (start, end) in enumerate(zip(structures, ends, strict=True)):
        if end.converged:
            virial = found.stress[k] * frame_of(end.structure).volume / len(start)
            rows = np.concatenate([found.forces[k], virial])
            ours.append(float(np.linalg.norm(rows, axis=1).max()))
            theirs.append(ase_fmax(start, end.structure, found.forces[k], found.stress[k]))
    return {
        "steps": float(np.mean([end.n_steps for end in ends])),
        "converged": sum(end.converged for end in ends),
        "largest_fmax": max(ours),
        "largest_fmax_as_ase_counts": max(theirs),
    }


def _compared(ours: Sequence[Relaxed], theirs: Sequence[Relaxed]) -> dict[str, float]:
    """Energies of those that converged on both sides; eV/atom, ours minus theirs."""
    drops = np.array(
        [
            (own.energy - other.energy) / len(own.structure)
            for own, other in zip(ours, theirs, strict=True)
            if own.converged and other.converged
        ]
    )
    return {
        "both_converged": len(drops),
        "within_5_mev": int((np.abs(drops) <= SAME).sum()),
        "ours_lower": int((drops < -SAME).sum()),
        "theirs_lower": int((drops > SAME).sum()),
        "median_mev": 1000 * float(np.median(drops)),
        "largest_mev": 1000 * float(np.abs(drops).max()),
    }
