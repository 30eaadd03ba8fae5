"""The relaxation of a campaign, from real generated starts to survivors under the hull's threshold."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from crystals import TARGET, Start, generated
from loops import Timed, ase_relax

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.config import CampaignConfig
from invdesign.filters.geometry import geometry_check
from invdesign.io.parallel import process_pool
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.early_stopping import EarlyStoppingRule
from invdesign.relaxation.relax import relax
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Composition
    from settings import Settings

    from invdesign.relaxation.relax import Relaxed

N, N_CONVERGENCE = 96, 256  # candidates
FMAX, MAX_STEPS = 0.1, 150
ASE_STEPS = 500  # FIRE needs three times the steps of BFGS
LIMIT = 0.1  # eV/atom above the hull
CHUNK = int(CampaignConfig.model_fields["relax_chunk"].default)  # candidates relaxed together
SAME = 0.005  # eV/atom
CORES = 2

ASE, FREE, SYMMETRIC, STOPPING, ALL = (
    "ASE loop, one core",
    "batched BFGS, one core",
    "+ symmetry",
    "+ early stopping",
    "+ two cores",
)


class HullEvaluator:
    """E above hull as the campaign sees it; every candidate counts as hypothetical."""

    def __init__(self) -> None:
        self.calibration, self.hull = EnergyCalibration.load(), Hull.load()

    def e_above_hull(self, composition: Composition, energy: float) -> float:
        """Return E above hull in eV/atom, of a total energy in eV."""
        formation = self.calibration.formation_energy(composition, energy, hypothetical=True)
        return self.hull.e_above_hull(composition, formation).e_above_hull

    def ceiling(self, composition: Composition) -> float:
        """Return the potential's energy at the limit, eV/atom; E above hull differs by a constant."""
        return LIMIT - self.e_above_hull(composition, 0.0)

    def survivors(self, starts: Sequence[Start], ends: Sequence[Relaxed]) -> dict[int, float]:
        """Return E above hull of each candidate whose lowest plausible converged end is under the limit."""
        lowest: dict[int, float] = {}
        for start, end in zip(starts, ends, strict=True):
            if end.converged and geometry_check(end.structure).passed:
                above = self.e_above_hull(end.structure.composition, end.energy)
                lowest[start.candidate] = min(above, lowest.get(start.candidate, np.inf))
        return {candidate: above for candidate, above in lowest.items() if above <= LIMIT}


@dataclass(frozen=True)
class Chunk:
    """Trials relaxed together: travels to a worker."""

    starts: list[Start]
    ceilings: list[float]
    keep_symmetry: bool = False
    rule: EarlyStoppingRule | None = None


def relax_chunk(chunk: Chunk) -> list[Relaxed]:
    """Ours, on a chunk."""
    import torch

    torch.set_num_threads(1)
    return relax(
        [start.structure for start in chunk.starts],
        load_potential("chgnet"),
        fmax=FMAX,
        max_steps=MAX_STEPS,
        keep_symmetry=chunk.keep_symmetry,
        ceilings=chunk.ceilings if chunk.rule else None,
        groups=[start.candidate for start in chunk.starts] if chunk.rule else None,
        rule=chunk.rule,
    )


def warm_up(start: Start) -> None:
    """Load what a worker needs; long enough that no worker takes two."""
    relax_chunk(Chunk([start], [np.inf], keep_symmetry=True))
    time.sleep(2)


def campaign(settings: Settings) -> dict[str, Any]:
    """From the usual loop to all of ours, one thing added at a time, chunk by chunk in turn."""
    n = settings.n or N
    starts, rule = generated(n, settings.seed), EarlyStoppingRule.load(settings.rule)
    evaluator = HullEvaluator()
    ceilings = [evaluator.ceiling(start.structure.composition) for start in starts]
    relax_chunk(Chunk(starts[:4], ceilings[:4], keep_symmetry=True))
    timed = Timed("chgnet")
    seconds = dict.fromkeys((ASE, FREE, SYMMETRIC, STOPPING), 0.0)
    kinds: dict[str, dict[str, Any]] = {
        FREE: {},
        SYMMETRIC: {"keep_symmetry": True},
        STOPPING: {"keep_symmetry": True, "rule": rule},
    }
    ends: dict[str, list[Relaxed]] = {name: [] for name in seconds}
    chunks: list[Chunk] = []
    for first in range(0, n, CHUNK):
        own = [k for k, start in enumerate(starts) if first <= start.candidate < first + CHUNK]
        part, limits = [starts[k] for k in own], [ceilings[k] for k in own]
        start = time.perf_counter()
        ends[ASE] += [ase_relax(t.structure, timed, fmax=FMAX, max_steps=ASE_STEPS) for t in part]
        seconds[ASE] += time.perf_counter() - start
        for name, options in kinds.items():
            chunk = Chunk(part, limits, **options)
            start = time.perf_counter()
            ends[name] += relax_chunk(chunk)
            seconds[name] += time.perf_counter() - start
        chunks.append(chunk)
        print(
            f"{first + CHUNK} of {n}: " + ", ".join(f"{k} {s:.0f} s" for k, s in seconds.items()), flush=True
        )
    starting, seconds[ALL], ends[ALL] = _on_all_cores(chunks, starts[0])
    survivors = {name: evaluator.survivors(starts, found) for name, found in ends.items()}
    return {
        "n": n,
        "starts": len(starts),
        "mean_atoms": float(np.mean([len(start.structure) for start in starts])),
        "target": TARGET,
        "fmax": FMAX,
        "max_steps": {"ours": MAX_STEPS, "ASE": ASE_STEPS},
        "limit": LIMIT,
        "chunk": CHUNK,
        "cores": CORES,
        "starting_the_processes_s": starting,
        "metrics": _rows(seconds, ends, survivors),
        "differing": _differing(starts, survivors),
    }


def _on_all_cores(chunks: list[Chunk], start: Start) -> tuple[float, float, list[Relaxed]]:
    """Seconds that the processes took to start, seconds of the relaxations, and their ends."""
    start = time.perf_counter()
    with process_pool(CORES) as pool:
        list(pool.map(warm_up, [start] * CORES))
        ready = time.perf_counter()
        ends = [end for part in pool.map(relax_chunk, chunks) for end in part]
        return ready - start, time.perf_counter() - ready, ends


def _rows(
    seconds: dict[str, float], ends: dict[str, list[Relaxed]], survivors: dict[str, dict[int, float]]
) -> dict[str, dict[str, Any]]:
    """One row a variant; lost and won are candidates, against the ASE loop and against the row before."""
    rows, before = {}, ASE
    of_ase = set(survivors[ASE])
    for name, wall in seconds.items():
        own = set(survivors[name])
        both = [
            (a.energy - b.energy) / len(a.structure)
            for a, b in zip(ends[name], ends[ASE], strict=True)
            if a.converged and b.converged
        ]
        rows[name] = {
            "wall_s": wall,
            "evaluations": sum(end.n_steps + 1 for end in ends[name]),
            "converged": sum(end.converged for end in ends[name]),
            "stopped_early": sum(end.stopped_early for end in ends[name]),
            "survivors": len(own),
            "in_common_with_ase": len(own & of_ase),
            "lost": len(of_ase - own),
            "won": len(own - of_ase),
            "lost_against_row_before": len(set(survivors[before]) - own),
            "won_against_row_before": len(own - set(survivors[before])),
            "times_faster": seconds[ASE] / wall,
            "times_faster_per_survivor": (seconds[ASE] / wall) * len(own) / max(len(of_ase), 1),
            "both_converged": len(both),
            "within_5_mev": int((np.abs(both) <= SAME).sum()),
            "lower": int((np.array(both) < -SAME).sum()),
            "higher": int((np.array(both) > SAME).sum()),
        }
        before = name
    return rows


def _differing(starts: Sequence[Start], survivors: dict[str, dict[int, float]]) -> list[dict[str, Any]]:
    """Candidates that survive in some rows only, with their E above hull in each."""
    formulas = {start.candidate: start.structure.composition.reduced_formula for start in starts}
    somewhere = set().union(*survivors.values())
    everywhere = set.intersection(*(set(own) for own in survivors.values()))
    return [
        {"formula": formulas[k], **{name: own.get(k) for name, own in survivors.items()}}
        for k in sorted(somewhere - everywhere)
    ]


def convergence(settings: Settings) -> dict[str, Any]:
    """Share of generated crystals that converge within the default number of steps."""
    n = settings.n or N_CONVERGENCE
    starts = generated(n, settings.seed + 1)
    metrics = {}
    for name, keep_symmetry in ((FREE, False), (SYMMETRIC, True)):
        start = time.perf_counter()
        ends: list[Relaxed] = []
        for first in range(0, len(starts), 2 * CHUNK):
            part = starts[first : first + 2 * CHUNK]
            ends += relax_chunk(Chunk(part, [np.inf] * len(part), keep_symmetry=keep_symmetry))
        reasons = Counter(_kind(end) for end in ends if not end.converged)
        metrics[name] = {
            "converged": Rate(sum(end.converged for end in ends), len(ends)).as_json(),
            "steps": float(np.mean([end.n_steps for end in ends])),
            "symmetry_kept": sum(end.symmetry_kept is True for end in ends),
            "symmetry_broken": sum(end.symmetry_kept is False for end in ends),
            "wall_s": time.perf_counter() - start,
            "the_rest": dict(reasons.most_common()),
        }
    return {
        "n": len(starts),
        "candidates": n,
        "target": TARGET,
        "fmax": FMAX,
        "max_steps": MAX_STEPS,
        "metrics": metrics,
    }


def _kind(end: Relaxed) -> str:
    """Return the reason without its values."""
    return "ran out of steps" if end.reason.startswith("not converged") else end.reason.split(": ")[-1]
