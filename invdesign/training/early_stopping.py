"""Fitting the rule of abandonment on relaxations of generated crystals, and measuring it on others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.prerank import worth_relaxing
from invdesign.campaign.stages.relax import RelaxUnit, ceiling, starting_structures
from invdesign.core.target import Target
from invdesign.io.parallel import default_workers, one_thread, run_tasks
from invdesign.relaxation.early_stopping import AbandonmentRule
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from invdesign.relaxation.early_stopping import Progress
    from invdesign.relaxation.relax import Relaxed

    Progressed = Callable[[float, str], None]

CHUNK = 16  # candidates a task


class AbandonmentConfig(BaseModel):
    """Recipe of a rule; kind ``abandonment``. Needs no data: it relaxes what the generator proposes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["abandonment"]
    potential: str = "chgnet"
    calibration: str | None = None
    hull: str = "mp-hull"
    targets: tuple[Target, ...] = Field(min_length=1)
    n_genes: int = 1024
    n_relax: int = 128
    seed: int = 0
    judge_seed: int = Field(1, description="of the candidates that the rule is measured on")
    quantile: float = Field(gt=0, lt=1, description="of the remaining drop, that the bound holds")
    first_step: int = 2
    out: Path


@dataclass(frozen=True, slots=True)
class Course:
    """How one geometry relaxed; as in ``Relaxed``, but for its energy per atom (eV)."""

    trace: tuple[Progress, ...]
    n_steps: int
    energy: float
    converged: bool
    symmetry_kept: bool | None

    @classmethod
    def of(cls, end: Relaxed) -> Self:
        """What of a relaxation is needed here."""
        per_atom = end.energy / len(end.structure)
        return cls(end.trace, end.n_steps, per_atom, end.converged, end.symmetry_kept)


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate whose geometries were relaxed to the end.

    Attributes:
        ceiling: eV/atom; an energy above is of no use.
        courses: one a geometry, set free whatever its energy.
    """

    ceiling: float
    courses: list[Course]


def build(config: AbandonmentConfig, *, progress: Progressed) -> Path:
    """Relax, fit, measure on fresh seeds, and write rule, card and recipe to ``config.out``."""
    import yaml

    from invdesign.training.cards.early_stopping import render

    cases = [list(_cases(config, seed, progress)) for seed in (config.seed, config.judge_seed)]
    progress(0.95, "fitting")
    name = Components(potential=config.potential).get("potential").name
    rule = fit(name, [course for case in cases[0] for course in case.courses], config)
    rule.save(config.out)
    recipe = config.model_dump(mode="json", exclude={"targets"})
    recipe["targets"] = [str(target) for target in config.targets]
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    (config.out / "README.md").write_text(render(rule, cases[0], cases[1], config))
    progress(1.0, f"rule of abandonment for {name} in {config.out}")
    return config.out


def fit(potential: str, courses: list[Course], config: AbandonmentConfig) -> AbandonmentRule:
    """Quantile regression of the drop that is left in the symmetric leg, with coefficients of at least 0.

    Solved as a linear program (Koenker, Bassett, Econometrica 46, 33 (1978)).

    Args:
        potential: its name.
        courses: of those that came to a minimum; others are left out.
        config: quantile and first step.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    rows = [
        (1.0, state.fmax, state.predicted_drop, max(state.last_drop, 0.0), state.energy - low)
        for course in courses
        if course.converged
        for low in [course.trace[-1].energy]
        for state in course.trace[:-1]
        if state.n_steps >= config.first_step
    ]
    table = np.array(rows)
    features, drop = table[:, :-1], table[:, -1]
    n, k = features.shape
    cost = np.concatenate([np.zeros(k), np.full(n, config.quantile), np.full(n, 1 - config.quantile)])
    equations = sparse.hstack([sparse.csr_matrix(features), sparse.eye(n), -sparse.eye(n)])
    weights = linprog(cost, A_eq=equations, b_eq=drop, bounds=(0, None), method="highs").x[:k]
    constant, by_fmax, by_predicted, by_last = (round(float(weight), 5) for weight in weights)
    return AbandonmentRule(potential, config.first_step, constant, by_fmax, by_predicted, by_last)


def _cases(config: AbandonmentConfig, seed: int, progress: Progressed) -> Iterator[Case]:
    """Candidates as campaigns for the targets would relax them, each relaxed to the end."""
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
            RelaxUnit(campaign, components, chosen[i : i + CHUNK]) for i in range(0, len(chosen), CHUNK)
        ]
    for done, found in enumerate(
        run_tasks(_relaxed, chunks, workers=default_workers(), ordered=True), start=1
    ):
        progress(done / len(chunks), f"seed {seed}: {done} of {len(chunks)} chunks relaxed")
        yield from found


def _relaxed(unit: RelaxUnit) -> list[Case]:
    config, components = unit.config, unit.components
    with one_thread():
        trials = [[s for s, _ in own] for own in starting_structures(unit.candidates, config, components)]
        ends = iter(
            relax(
                [structure for own in trials for structure in own],
                components.get("potential"),
                fmax=config.fmax,
                max_steps=config.max_steps,
                keep_symmetry=True,
            )
        )
        return [
            Case(ceiling(own[0].composition, config, components), [Course.of(next(ends)) for _ in own])
            for own in trials
            if own
        ]
