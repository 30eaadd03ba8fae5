"""The sentence that ends a campaign: what came through, and what would lengthen a short list."""

from __future__ import annotations

from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.dynamical_stability import summarize_checks
from invdesign.core.funnel import GATES, Funnel


def closing_message(config: CampaignConfig, funnel: Funnel, found: int) -> str:
    """One sentence on the outcome, with advice where it is thin."""
    asked = config.n_shortlist
    if found >= asked:
        gates = "every gate" if not config.check else "every other gate"
        message = (
            f"{found} candidates shortlisted of {funnel.stages['shortlist'].entered} that passed {gates}"
        )
        return f"{message}{summarize_checks(config, funnel)}."
    if config.n_relax < asked:
        return (
            f"Only {found} of the {asked} candidates asked for came through: at most {config.n_relax} are "
            f"relaxed; raise n_relax well above {asked}, or ask for a shorter list."
        )
    tight = max(
        (s for s in funnel if s.name not in {"generator", "pre-ranking", "shortlist", "unique"}),
        key=lambda stage: stage.rejected / max(1, stage.entered),
    )
    gate = next(gate for gate in GATES if gate.name == tight.name)
    advice = gate.advice.format(limit=config.target.e_above_hull_max)
    return (
        f"Only {found} of the {asked} candidates asked for came through: the gate that rejected the largest "
        f"share was {tight.name} ({tight.rejected} of {tight.entered}); {advice}, or generate and relax more."
    )
