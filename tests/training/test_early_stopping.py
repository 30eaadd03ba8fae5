"""The rule of early stopping: fitted bounds hold, replay counts what was spent, ceilings lie at the limit."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Composition

from invdesign.campaign import CampaignConfig, Components
from invdesign.campaign.stages.relax import ceiling
from invdesign.core.target import parse_target
from invdesign.io.config import read_yaml
from invdesign.relaxation.early_stopping import EarlyStoppingRule, Progress
from invdesign.training.cards.render import render_card
from invdesign.training.early_stopping import (
    Case,
    EarlyStoppingConfig,
    TracedRelaxation,
    fit,
    metrics_of,
    replay,
)

RECIPE = Path(__file__).parents[2] / "configs" / "validators" / "early-stopping-chgnet-0.3.0.yaml"


def relaxation(final: float, start: float, steps: int = 6, free: float = 0.0) -> TracedRelaxation:
    """Halves its distance to the minimum each step; forces and drops follow it."""
    gaps = [(start - final) / 2**k for k in range(steps)] + [0.0]
    trace = tuple(
        Progress(k, final + gap, 4 * gap, gaps[k - 1] - gap if k else 0.0) for k, gap in enumerate(gaps)
    )
    return TracedRelaxation(trace, steps + 4, final - free, converged=True, symmetry_kept=free == 0)


@pytest.fixture
def config() -> EarlyStoppingConfig:
    return EarlyStoppingConfig(**read_yaml(RECIPE))


def test_the_bound_holds_for_the_share_that_was_asked_for(config):
    rng = np.random.default_rng(0)
    relaxations = [relaxation(-4.0, -4.0 + rng.exponential(0.5)) for _ in range(60)]
    rule = fit("toy", relaxations, config)
    states = [(s, c) for c in relaxations for s in c.trace[:-1] if s.n_steps >= rule.first_step]
    held = np.mean([s.energy - c.trace[-1].energy <= rule.remaining(s) + 1e-9 for s, c in states])
    assert held >= config.quantile - 0.01
    assert min(rule.constant, rule.by_fmax, rule.by_last_drop) >= 0


def test_replay_counts_calls_and_survivors():
    rule = EarlyStoppingRule("toy", 1, 0.01, 0.0, 1.0)
    good, bad = relaxation(-4.2, -3.8), relaxation(-3.0, -2.0)
    case = Case(-4.0, [good, bad])
    alone, cut = replay(case, None, np.inf), replay(case, rule, 0.05)
    assert alone.calls == 11 + 11
    assert cut.energy == alone.energy == -4.2
    assert cut.calls == 11 + 2  # the bad one is stopped at the first step that the rule may look at
    assert replay(case, None, 0.05).calls == 11 + 7  # and without the rule, its symmetry is not released


def test_a_saddle_far_above_is_lost_without_its_unconstrained_stage():
    case = Case(-4.0, [relaxation(-3.5, -3.0, free=1.0)])
    assert replay(case, None, np.inf).energy == -4.5
    assert replay(case, None, 0.05).energy == -3.5


def test_the_card_says_what_is_saved_and_lost(config):
    rule = EarlyStoppingRule("toy", 1, 0.01, 0.0, 1.0)
    cases = [Case(-4.0, [relaxation(-4.2, -3.8)]), Case(-4.0, [relaxation(-3.0, -2.0)])]
    card = render_card("early_stopping", metrics_of(rule, cases, cases, config))
    assert "| fresh seed: the rule |" in card
    assert "0 of 1" in card


@pytest.mark.parametrize("formula", ["NaCl", "CuInS2", "Fe2O3"])
@pytest.mark.parametrize("hypothetical", [True, False])
def test_at_its_ceiling_a_crystal_lies_at_the_limit(tmp_path, formula, hypothetical):
    components = Components()
    campaign = CampaignConfig(target=parse_target(["e_above_hull<0.07"]), out=tmp_path)
    composition = Composition(formula)
    level = ceiling(composition, campaign, components, hypothetical=hypothetical)
    energy = components.get("calibration").formation_energy(
        composition, level * composition.num_atoms, hypothetical=hypothetical
    )
    assert components.get("hull").e_above_hull(composition, energy).e_above_hull == pytest.approx(0.07)
