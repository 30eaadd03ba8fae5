"""Whether relaxing with a cheaper potential first saves CHGNet evaluations at the same survivors.

python benchmarks/relaxation/prerelaxation.py --pre ../shared/potentials/M3GNet-MP-2021.2.8-matgl4

Prints JSON. ``best_possible`` is what would be gained if the first stage cost nothing. ``prerelaxation.json``
has the figures of M3GNet and of a network distilled from CHGNet.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from campaigns import FMAX, MAX_STEPS, SAME, HullEvaluator
from crystals import Trial, generated
from pymatgen.core import Structure

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invdesign.potentials.interface import Potential
    from invdesign.relaxation.relax import Relaxed

FIRST_FMAX = (0.3, 0.15, 0.05)  # eV/Å, at which CHGNet takes over
SHAKE = 0.02  # Å; the control: how much a start that differs by nothing changes the survivors


class Stage:
    """One relaxation of all trials and what it cost."""

    def __init__(
        self, structures: Sequence[Structure], potential: Potential, fmax: float, *, keep: bool
    ) -> None:
        """Run it."""
        start = time.process_time()
        self.ends = relax(structures, potential, fmax=fmax, max_steps=MAX_STEPS, keep_symmetry=keep)
        self.seconds = time.process_time() - start
        self.evaluations = sum(end.n_steps + 1 for end in self.ends)

    @property
    def structures(self) -> list[Structure]:
        """Where the trials stand now."""
        return [end.structure for end in self.ends]


def compare(
    evaluator: HullEvaluator, trials: Sequence[Trial], alone: Stage, last: Stage, first: Stage | None = None
) -> dict[str, Any]:
    """Costs, survivors and energies of one way beside CHGNet alone."""
    before, after = evaluator.survivors(trials, alone.ends), evaluator.survivors(trials, last.ends)
    lost, won = before.keys() - after.keys(), after.keys() - before.keys()
    change = np.array([_per_atom(a) - _per_atom(b) for a, b in zip(last.ends, alone.ends, strict=True)])
    change = change[np.isfinite(change)]
    spent, n = last.seconds + (first.seconds if first else 0.0), len(trials)
    low, high = Rate(len(lost), len(before)).interval
    return {
        "chgnet_evaluations": round(last.evaluations / n, 2),
        "first_evaluations": round(first.evaluations / n, 2) if first else 0,
        "core_ms": round(1e3 * spent / n, 1),
        "gain": round(alone.seconds / spent, 2),
        "best_possible": round(alone.seconds / last.seconds, 2),
        "survivors": len(after),
        "lost": len(lost),
        "lost_share": [round(low, 3), round(high, 3)],
        "won": len(won),
        "same_energy": round(float(np.mean(np.abs(change) <= SAME)), 3),
        "lower": round(float(np.mean(change < -SAME)), 3),
        "higher": round(float(np.mean(change > SAME)), 3),
    }


def shaken(structure: Structure, rng: np.random.Generator) -> Structure:
    """Return the structure with every atom displaced by about ``SHAKE``."""
    moves = rng.normal(0, SHAKE / np.sqrt(3), (len(structure), 3))
    positions = structure.cart_coords + moves
    return Structure(structure.lattice, structure.species, positions, coords_are_cartesian=True)


def _per_atom(end: Relaxed) -> float:
    return end.energy / len(end.structure) if end.converged else np.nan


def main() -> None:
    """Measure and print."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pre", required=True, help="potential of the first stage")
    parser.add_argument("--n", type=int, default=96, help="candidates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-symmetry", action="store_true")
    given = parser.parse_args()
    keep = given.keep_symmetry
    chgnet, cheap, evaluator = load_potential("chgnet"), load_potential(given.pre), HullEvaluator()
    trials = generated(given.n, given.seed)
    starts = [trial.structure for trial in trials]
    alone = Stage(starts, chgnet, FMAX, keep=keep)
    ways = {"chgnet alone": compare(evaluator, trials, alone, alone)}
    rng = np.random.default_rng(given.seed)
    control = Stage([shaken(start, rng) for start in starts], chgnet, FMAX, keep=keep)
    ways["chgnet alone, starts shaken"] = compare(evaluator, trials, alone, control)
    for fmax in FIRST_FMAX:
        first = Stage(starts, cheap, fmax, keep=keep)
        last = Stage(first.structures, chgnet, FMAX, keep=keep)
        ways[f"{cheap.name} to {fmax:g}, then chgnet"] = compare(evaluator, trials, alone, last, first)
    told = {"candidates": given.n, "trials": len(trials), "keep_symmetry": keep, "ways": ways}
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
