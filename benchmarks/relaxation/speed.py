"""Milliseconds: evaluations against ASE's steps, threads and processes, the hull, a GPU."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from crystals import perturbed
from loops import Timed, ase_relax
from settings import CHGNET, M3GNET, TENSORNET, spread

from invdesign.potentials.interface import Frame, PotentialOutput, frame_of
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from settings import Settings

    from invdesign.potentials.interface import Potential

ROUNDS = 5
STEPS = 2  # of FIRE by crystal and round: three evaluations
N_EVALUATED = 64
N_COMPOSITIONS, N_HIGHS = 10_000, 300
GPU_SIZES, GPU_ONE_AT_A_TIME = (1, 64, 512, 4096), 16


def evaluation(settings: Settings) -> dict[str, Any]:
    """Time a batched evaluation (energy, forces, stress) against a step of ASE's loop, by potential."""
    names = settings.named(CHGNET, M3GNET, TENSORNET)
    structures = _known_to_all(settings, list(names.values()), settings.n or N_EVALUATED)
    metrics = {label: _against_steps(name, structures) for label, name in names.items()}
    return {"n": len(structures), "mean_atoms": _mean_atoms(structures), "metrics": metrics}


def _known_to_all(settings: Settings, names: Sequence[str], n: int) -> list[Structure]:
    elements = frozenset.intersection(*(load_potential(name).elements for name in names))
    return perturbed(settings.data, n, settings.seed, elements)


def _mean_atoms(structures: Sequence[Structure]) -> float:
    return float(np.mean([len(structure) for structure in structures]))


def _against_steps(name: str, structures: list[Structure]) -> dict[str, Any]:
    """Ours, theirs, ours, …: each round of theirs is compared with ours before and after it."""
    potential, timed = load_potential(name), Timed(name)
    frames = [frame_of(structure) for structure in structures]
    found = potential.evaluate(frames)
    if found.failures:
        raise RuntimeError(f"{name}: {found.failures}")
    differences = _differences(found, structures, timed)
    ours, theirs = [_batched(potential, frames)], []
    timed.seconds, timed.calls = 0.0, 0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for structure in structures:
            ase_relax(structure, timed, fmax=1e-9, max_steps=STEPS)
        theirs.append(1000 * (time.perf_counter() - start) / (len(frames) * (STEPS + 1)))
        ours.append(_batched(potential, frames))
    ratios = [step / np.mean(pair) for step, pair in zip(theirs, pairwise(ours), strict=True)]
    start = time.perf_counter()
    for frame in frames:
        potential.evaluate([frame])
    return {
        "ours_ms": spread(ours),
        "ours_one_at_a_time_ms": 1000 * (time.perf_counter() - start) / len(frames),
        "ase_step_ms": spread(theirs),
        "of_it_in_the_calculator_ms": 1000 * timed.seconds / timed.calls,
        "ratio": spread(ratios),
        "largest_differences": differences,
    }


def _batched(potential: Potential, frames: list[Frame]) -> float:
    """Milliseconds a crystal, the median of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        potential.evaluate(frames)
        times.append(1000 * (time.perf_counter() - start) / len(frames))
    return float(np.median(times))


def _differences(found: PotentialOutput, structures: list[Structure], timed: Timed) -> dict[str, float]:
    """From the backend's own calculator: eV, eV/Å, eV/Å³."""
    largest = np.zeros(3)
    for k, structure in enumerate(structures):
        atoms = structure.to_ase_atoms()
        atoms.calc = timed.calculator
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        own = (
            found.energy[k] - energy,
            found.forces[k] - forces,
            found.stress[k] - atoms.get_stress(voigt=False),
        )
        largest = np.maximum(largest, [np.abs(part).max() for part in own])
    return dict(zip(("energy_ev", "force_ev_a", "stress_ev_a3"), largest.tolist(), strict=True))


def threads(settings: Settings) -> dict[str, Any]:
    """Time the same evaluations by one thread, two threads, and two processes of one thread each."""
    import torch

    from invdesign.io.parallel import process_pool

    structures = _known_to_all(settings, ["chgnet"], settings.n or N_EVALUATED)
    frames, potential = [frame_of(structure) for structure in structures], load_potential("chgnet")
    potential.evaluate(frames)
    times: dict[str, list[float]] = {"one_thread_ms": [], "two_threads_ms": [], "two_processes_ms": []}
    with process_pool(2) as pool:
        list(pool.map(evaluate_again, [frames] * 4))  # both are up and warm
        for _ in range(ROUNDS):
            times["one_thread_ms"].append(_batched(potential, frames))
            torch.set_num_threads(2)
            times["two_threads_ms"].append(_batched(potential, frames))
            torch.set_num_threads(1)
            start = time.perf_counter()
            list(pool.map(evaluate_again, [frames] * 4))
            times["two_processes_ms"].append(1000 * (time.perf_counter() - start) / (4 * len(frames)))
    metrics = {name: spread(values) for name, values in times.items()}
    return {"n": len(frames), "mean_atoms": _mean_atoms(structures), "metrics": metrics}


def evaluate_again(frames: list[Frame]) -> None:
    """One batch in a worker."""
    import torch

    torch.set_num_threads(1)
    load_potential("chgnet").evaluate(frames)


def hull(settings: Settings) -> dict[str, Any]:
    """Energies above the hull of compositions of wbm, and SciPy's HiGHS on the same linear programs."""
    import pandas as pd
    from pymatgen.core import Composition

    from invdesign.stability.hull.hull import Hull

    rng = np.random.default_rng(settings.seed)
    start = time.perf_counter()
    reference = Hull.load()
    loading = time.perf_counter() - start
    formulas = pd.read_csv(settings.data / "structures" / "wbm.csv.gz", keep_default_na=False).pretty_formula
    drawn = [Composition(formula) for formula in rng.choice(formulas, settings.n or N_COMPOSITIONS)]
    drawn = [composition for composition in drawn if {e.symbol for e in composition} <= reference.elements]
    start = time.perf_counter()
    heights = [reference.e_above_hull(composition, 0.0).e_above_hull for composition in drawn]
    ours = time.perf_counter() - start
    some = rng.permutation(len(drawn))[:N_HIGHS].tolist()
    theirs = [_highs(reference.phases(e.symbol for e in drawn[k]), drawn[k]) for k in some]
    return {
        "n": len(drawn),
        "mean_elements": float(np.mean([len(composition) for composition in drawn])),
        "metrics": {
            "ours_ms": 1000 * ours / len(drawn),
            "loading_s": loading,
            "highs_n": len(some),
            "highs_ms": 1000 * float(np.mean([seconds for _, seconds in theirs])),
            "largest_difference_ev_atom": float(
                max(abs(heights[k] + energy) for k, (energy, _) in zip(some, theirs, strict=True))
            ),
        },
    }


def _highs(phases: list[tuple[str, float]], composition: Any) -> tuple[float, float]:  # noqa: ANN401
    """Return the hull's energy by linear programming, eV/atom, and the seconds of the solver alone."""
    from pymatgen.core import Composition
    from scipy.optimize import linprog

    elements = list(composition)
    compounds = [Composition(formula) for formula, _ in phases]
    fractions = [[c.get_atomic_fraction(element) for c in compounds] for element in elements]
    goal = [composition.get_atomic_fraction(element) for element in elements]
    matrix = np.hstack([np.eye(len(elements)), np.array(fractions).reshape(len(elements), -1)])
    costs = np.array([0.0] * len(elements) + [energy for _, energy in phases])
    start = time.perf_counter()
    solution = linprog(costs, A_eq=matrix, b_eq=goal, method="highs")
    return float(solution.fun), time.perf_counter() - start


def gpu(settings: Settings) -> dict[str, Any]:
    """CHGNet on a GPU: batches against one at a time, ours and ASE's, on the same GPU."""
    import torch

    if not torch.cuda.is_available():
        return {"n": 0, "metrics": "no GPU"}
    potential, timed = load_potential("chgnet"), Timed("chgnet")
    structures = _known_to_all(settings, ["chgnet"], settings.n or max(GPU_SIZES))
    alone = structures[:GPU_ONE_AT_A_TIME]
    relax(structures[:64], potential)
    start = time.perf_counter()
    for structure in alone:
        ase_relax(structure, timed, fmax=0.1, max_steps=500)
    ase_seconds = (time.perf_counter() - start) / len(alone)
    start = time.perf_counter()
    for structure in alone:
        relax([structure], potential)
    metrics: dict[str, Any] = {
        "ase_s_per_crystal": ase_seconds,
        "ours_one_at_a_time_s_per_crystal": (time.perf_counter() - start) / len(alone),
        "batches": {},
    }
    for size in [size for size in GPU_SIZES if size <= len(structures)]:
        batch = structures[:size]
        frames = [frame_of(structure) for structure in batch]
        milliseconds = _batched(potential, frames)
        start = time.perf_counter()
        relax(batch, potential)
        seconds = (time.perf_counter() - start) / size
        metrics["batches"][str(size)] = {
            "evaluation_ms_per_crystal": milliseconds,
            "relaxation_s_per_crystal": seconds,
            "times_faster_than_ase": ase_seconds / seconds,
        }
    return {"n": len(structures), "mean_atoms": _mean_atoms(structures), "metrics": metrics}
