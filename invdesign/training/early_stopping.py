"""Fit the rule of early stopping to relaxations of generated crystals, and measure it on others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.gates import GateUnit
from invdesign.campaign.stages.prerank import worth_relaxing
from invdesign.campaign.stages.relax import ceiling, starting_structures
from invdesign.io.parallel import default_workers, one_thread, run_tasks
from invdesign.io.progress import Progress
from invdesign.relaxation.crystal_relaxation import RELEASE_WITHIN
from invdesign.relaxation.early_stopping import EarlyStoppingRule
from invdesign.relaxation.early_stopping import Progress as State
from invdesign.relaxation.relax import Relaxed, relax
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe, TargetText

CHUNK = 16  # candidates a task


class EarlyStoppingConfig(Recipe):
    """Recipe of a rule; kind ``early-stopping``. Needs no data: it relaxes what the generator proposes."""

    kind: Literal["early-stopping"]
    potential: str = "chgnet"
    calibration: str | None = None
    hull: str = "mp-hull"
    targets: tuple[TargetText, ...] = Field(min_length=1)
    n_genes: int = 1024
    n_relax: int = 128
    seed: int = 0
    test_seed: int = Field(1, description="of the candidates that the rule is measured on")
    quantile: float = Field(gt=0, lt=1, description="of the remaining drop, that the bound holds")
    first_step: int = 2


@dataclass(frozen=True, slots=True)
class TracedRelaxation:
    """The relaxation of one geometry; as ``Relaxed``, but with the energy per atom (eV)."""

    trace: tuple[State, ...]
    n_steps: int
    energy: float
    converged: bool
    symmetry_kept: bool | None

    @classmethod
    def of(cls, end: Relaxed) -> Self:
        """Take what is needed of a relaxation."""
        per_atom = end.energy / len(end.structure)
        return cls(end.trace, end.n_steps, per_atom, end.converged, end.symmetry_kept)


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate whose geometries were relaxed to the end.

    Attributes:
        ceiling: eV/atom; an energy above is of no use.
        relaxations: one per geometry, its symmetry released whatever its energy.
    """

    ceiling: float
    relaxations: list[TracedRelaxation]


def train_early_stopping(config: EarlyStoppingConfig, *, progress: Progress) -> Path:
    """Relax, fit, measure on fresh seeds, and write rule, card and recipe to ``config.out``."""
    fitted, fresh = (list(_cases(config, seed, progress)) for seed in (config.seed, config.test_seed))
    progress(0.95, "fitting")
    name = Components(potential=config.potential).get("potential").name
    rule = fit(name, [end for case in fitted for end in case.relaxations], config)
    rule.save(config.out)
    write_card(config, "early_stopping", metrics_of(rule, fitted, fresh, config))
    progress(1.0, f"early-stopping rule for {name} in {config.out}")
    return config.out


def metrics_of(
    rule: EarlyStoppingRule, fitted: Sequence[Case], fresh: Sequence[Case], config: EarlyStoppingConfig
) -> dict[str, Any]:
    """Measure what the rule saves and loses, on the candidates of the fit and on fresh ones."""
    rows = []
    for name, cases in (("fit", fitted), ("fresh seed", fresh)):
        everything, released, stopped = (
            [replay(case, *policy) for case in cases]
            for policy in ((None, np.inf), (None, RELEASE_WITHIN), (rule, RELEASE_WITHIN))
        )
        for policy, base, run in (
            ("the rule", released, stopped),
            (f"symmetry released within {RELEASE_WITHIN:g} eV/atom only", everything, released),
            ("both together", everything, stopped),
        ):
            survivors = [i for i, case in enumerate(cases) if base[i].energy < case.ceiling]
            lost = Rate(sum(run[i].energy >= cases[i].ceiling for i in survivors), len(survivors))
            saved = 1 - sum(r.calls for r in run) / sum(r.calls for r in base)
            rows.append({"candidates": name, "policy": policy, "saved": saved, "lost": lost.as_json()})
    ends = [end for case in (*fitted, *fresh) for end in case.relaxations]
    return {
        "rule": asdict(rule),
        "quantile": config.quantile,
        "release_within": RELEASE_WITHIN,
        "targets": [str(target) for target in config.targets],
        "fit": _size(fitted, config.seed),
        "test": _size(fresh, config.test_seed),
        "rows": rows,
        "max_steps": CampaignConfig.model_fields["max_steps"].default,
        "converged": Rate(sum(end.converged for end in ends), len(ends)).as_json(),
        "symmetry_broken": Rate(sum(end.symmetry_kept is False for end in ends), len(ends)).as_json(),
        "steps_symmetric": float(np.mean([end.trace[-1].n_steps for end in ends if end.trace])),
        "steps": float(np.mean([end.n_steps for end in ends])),
        "largest_drop": max(end.trace[-1].energy - end.energy for end in ends if end.converged),
    }


def _size(cases: Sequence[Case], seed: int) -> dict[str, int]:
    n_geometries = sum(len(case.relaxations) for case in cases)
    return {"n_geometries": n_geometries, "n_candidates": len(cases), "seed": seed}


@dataclass(frozen=True, slots=True)
class Replay:
    """A case as a policy would have run it.

    Attributes:
        calls: evaluations of the potential.
        energy: eV/atom of the lowest geometry; inf where none was kept.
    """

    calls: int
    energy: float


def replay(case: Case, rule: EarlyStoppingRule | None, release_within: float) -> Replay:
    """Run a candidate's recorded relaxations under a rule; its geometries set no ceiling for each other.

    Args:
        case: the relaxations with nothing stopped early.
        rule: None stops nothing.
        release_within: eV/atom above the ceiling up to which a minimum's symmetry is released.
    """
    calls, best = 0, np.inf
    for end in case.relaxations:
        stopped = next((s for s in end.trace[:-1] if rule and rule.reason(s, case.ceiling)), None)
        symmetric = end.trace[-1] if end.trace else None
        if stopped is not None:
            calls += stopped.n_steps + 1
        elif end.converged and symmetric is not None and symmetric.energy > case.ceiling + release_within:
            calls += symmetric.n_steps + 1
            best = min(best, symmetric.energy)
        else:
            calls += end.n_steps + 1
            if end.converged:
                best = min(best, end.energy)
    return Replay(calls, best)


def fit(
    potential: str, relaxations: list[TracedRelaxation], config: EarlyStoppingConfig
) -> EarlyStoppingRule:
    """Fit the remaining drop of the symmetry-constrained stage by quantile regression.

    Coefficients are at least 0. Solved as a linear program (Koenker, Bassett, Econometrica 46, 33 (1978)).

    Args:
        potential: its name.
        relaxations: relaxations; those that did not converge are left out.
        config: quantile and first step.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    rows = [
        (1.0, state.fmax, max(state.last_drop, 0.0), state.energy - low)
        for end in relaxations
        if end.converged
        for low in [end.trace[-1].energy]
        for state in end.trace[:-1]
        if state.n_steps >= config.first_step
    ]
    table = np.array(rows)
    features, drop = table[:, :-1], table[:, -1]
    n, k = features.shape
    cost = np.concatenate([np.zeros(k), np.full(n, config.quantile), np.full(n, 1 - config.quantile)])
    equations = sparse.hstack([sparse.csr_matrix(features), sparse.eye(n), -sparse.eye(n)])
    weights = linprog(cost, A_eq=equations, b_eq=drop, bounds=(0, None), method="highs").x[:k]
    constant, by_fmax, by_last_drop = (round(float(weight), 5) for weight in weights)
    return EarlyStoppingRule(potential, config.first_step, constant, by_fmax, by_last_drop)


def _cases(config: EarlyStoppingConfig, seed: int, progress: Progress) -> Iterator[Case]:
    """Relax the candidates that campaigns for the targets would relax, each to the end."""
    components = Components(potential=config.potential, calibration=config.calibration, hull=config.hull)
    components.check_scale()
    chunks = []
    for number, target in enumerate(config.targets):
        campaign = CampaignConfig(
            target=target,
            seed=seed,
            n_genes=config.n_genes,
            n_relax=config.n_relax,
            potential=config.potential,
        )
        progress(0.0, f"seed {seed}: candidates for target {number + 1} of {len(config.targets)}")
        chosen = worth_relaxing(campaign, components)
        chunks += [
            GateUnit(campaign, components, chosen[i : i + CHUNK]) for i in range(0, len(chosen), CHUNK)
        ]
    for done, found in enumerate(
        run_tasks(_relaxed, chunks, workers=default_workers(), ordered=True), start=1
    ):
        progress(done / len(chunks), f"seed {seed}: {done} of {len(chunks)} chunks relaxed")
        yield from found


def _relaxed(unit: GateUnit) -> list[Case]:
    config, components = unit.config, unit.components
    with one_thread():
        starts = [[s for s, _ in found] for found in starting_structures(unit.candidates, config, components)]
        ends = iter(
            relax(
                [structure for structures in starts for structure in structures],
                components.get("potential"),
                fmax=config.fmax,
                max_steps=config.max_steps,
                keep_symmetry=True,
            )
        )
        return [
            Case(
                ceiling(found[0].composition, config, components),
                [TracedRelaxation.of(next(ends)) for _ in found],
            )
            for found in starts
            if found
        ]
