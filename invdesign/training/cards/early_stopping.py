"""The card of a rule of abandonment: what it saves and what it loses, on the fit's seed and a fresh one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.config import CampaignConfig
from invdesign.relaxation.trajectory import FREE_WITHIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invdesign.relaxation.early_stopping import AbandonmentRule
    from invdesign.training.early_stopping import AbandonmentConfig, Case


@dataclass(frozen=True, slots=True)
class Replay:
    """A case as a policy would have run it.

    Attributes:
        calls: evaluations of the potential.
        energy: eV/atom of the lowest geometry; inf where none was kept.
    """

    calls: int
    energy: float


def replay(case: Case, rule: AbandonmentRule | None, free_within: float) -> Replay:
    """Run a candidate's recorded relaxations under a rule, geometry by geometry (without their race).

    Args:
        case: what happened when nothing was given up.
        rule: None gives up nothing.
        free_within: eV/atom above the ceiling up to which a symmetric minimum is set free.
    """
    calls, best = 0, np.inf
    for end in case.courses:
        stopped = next(
            (state for state in end.trace[:-1] if rule and rule.hopeless(state, case.ceiling)), None
        )
        settled = end.trace[-1] if end.trace else None
        if stopped is not None:
            calls += stopped.n_steps + 1
        elif end.converged and settled is not None and settled.energy > case.ceiling + free_within:
            calls += settled.n_steps + 1
            best = min(best, settled.energy)
        else:
            calls += end.n_steps + 1
            if end.converged:
                best = min(best, end.energy)
    return Replay(calls, best)


def render(
    rule: AbandonmentRule, fitted: Sequence[Case], fresh: Sequence[Case], config: AbandonmentConfig
) -> str:
    """The card."""
    rows = []
    for name, cases in (("fit", fitted), ("fresh seed", fresh)):
        everything, reachable, ours = (
            [replay(case, *policy) for case in cases]
            for policy in ((None, np.inf), (None, FREE_WITHIN), (rule, FREE_WITHIN))
        )
        rows += [
            f"| {name}: {what} | {_saved(base, run):.1%} | {_lost(cases, base, run)} |"
            for what, base, run in (
                ("the rule", reachable, ours),
                (f"set free within {FREE_WITHIN:g} eV/atom only", everything, reachable),
                ("both together", everything, ours),
            )
        ]
    ends = [end for case in (*fitted, *fresh) for end in case.courses]
    converged = Rate(sum(end.converged for end in ends), len(ends))
    left = Rate(sum(end.symmetry_kept is False for end in ends), len(ends))
    steps = np.mean([end.n_steps for end in ends])
    settled = np.mean([end.trace[-1].n_steps for end in ends if end.trace])
    deepest = max(end.trace[-1].energy - end.energy for end in ends if end.converged)
    targets = "; ".join(f"`{target}`" for target in config.targets)
    return f"""# When a relaxation with {rule.potential} is given up

From step {rule.first_step} on, a relaxation is given up when its energy lies above its ceiling by more than

    {rule.constant:g} + {rule.by_fmax:g} · fmax + {rule.by_predicted_drop:g} · predicted drop
    + {rule.by_last_drop:g} · last drop        (eV/atom; fmax in eV/Å)

The ceiling is the energy at the target's limit above the hull; of a candidate's geometries, each that has
come to a minimum is a ceiling for the others. The predicted drop is that of the optimiser's quadratic model.
Whatever the rule, a crystal that has come to its minimum within its symmetry is set free only if that lies
less than {FREE_WITHIN:g} eV/atom above the ceiling (`walker.py`).

| file | what |
| --- | --- |
| `rule.json` | the coefficients |
| `recipe.yaml` | `invdesign train` on it rebuilds this folder (five minutes on two cores) |

Fitted by quantile regression (quantile {config.quantile:g}) to the drop that was left at each step of
relaxing {_size(fitted)} (seed {config.seed}),
judged on {_size(fresh)} (seed {config.judge_seed}),
chosen by quick rank as campaigns choose them. Targets: {targets}.

## LearnedProperty

Survivors are candidates of which a geometry ends below its ceiling. Calls are evaluations of the potential.
The race between a candidate's geometries is not in these figures.

| candidates | calls saved | survivors lost |
| --- | --- | --- |
{chr(10).join(rows)}

Converged within {CampaignConfig.model_fields["max_steps"].default} steps: {_told(converged)}. The symmetric
leg takes {settled:.1f} steps, both legs {steps:.1f}. Set free, {_told(left)} of the geometries end
more than 5 meV/atom lower, in another symmetry.

## Known weaknesses

- Saddles cannot be foreseen: set free, the worst crystal here fell by {deepest:.1f} eV/atom. Those whose
  symmetric form lies far above the ceiling are not found (`abandon: false` in a campaign's config does).
- Fitted on this generator's crystals at fmax 0.1 eV/Å with BFGS; other sources and settings start elsewhere.
"""


def _size(cases: Sequence[Case]) -> str:
    return f"{sum(len(case.courses) for case in cases)} geometries of {len(cases)} generated candidates"


def _saved(base: Sequence[Replay], run: Sequence[Replay]) -> float:
    return 1 - sum(r.calls for r in run) / sum(r.calls for r in base)


def _lost(cases: Sequence[Case], base: Sequence[Replay], run: Sequence[Replay]) -> str:
    survivors = [i for i, case in enumerate(cases) if base[i].energy < case.ceiling]
    return _told(Rate(sum(run[i].energy >= cases[i].ceiling for i in survivors), len(survivors)))


def _told(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.count} of {rate.of} ({rate.value:.1%}; {low:.1%} to {high:.1%})"
