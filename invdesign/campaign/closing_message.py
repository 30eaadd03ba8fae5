"""The sentence that ends a campaign: what came through, and what would lengthen a short list."""

from __future__ import annotations

from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.dynamical_stability import summarize_checks
from invdesign.campaign.stages.shortlist import ALIKE, ANOTHER_STRUCTURE, RELAXED_INTO
from invdesign.core.funnel import FINISHING, GATES, Funnel, Stage, kind_of_reason

OPTIONS = {
    "supply risk": "--max-hhi",
    "element too scarce": "--min-abundance",
    "element excluded": "--exclude and --only",
    "required element": "--elements",
    "another space group": "--space-group",
    "another formula": "--formula and --anonymous",
    "none of the formulas": "--from",
    "… atoms": "--n-atoms",
    "relaxed out of the target": "--dimensionality, --elements and --space-group",
    ANOTHER_STRUCTURE: "--novelty",
    **{f"relaxed into {what}": "--novelty" for what in RELAXED_INTO.values()},
}
"""Option behind each kind of reason for which a candidate is rejected."""


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
    alike = funnel.stages["shortlist"].entered - found
    alike += funnel.stages[FINISHING].reasons[kind_of_reason(ALIKE)]
    if found + alike >= asked and config.diverse:
        return (
            f"Only {found} of the {asked} candidates asked for are ideas of their own: {alike} more passed "
            "and differ from these by like elements or as polymorphs; --no-diversity lists them, too."
        )
    tight = max(
        (s for s in funnel if s.name not in {"generator", "pre-ranking", "shortlist", "unique"}),
        key=lambda stage: stage.rejected / max(1, stage.entered),
    )
    advice = _advice(tight, config)
    return (
        f"Only {found} of the {asked} candidates asked for came through: the gate that rejected the largest "
        f"share was {tight.name} ({tight.rejected} of {tight.entered}); {advice}, or generate and relax more."
    )


def _advice(tight: Stage, config: CampaignConfig) -> str:
    """What to loosen where a gate rejects most: the option behind the reason that is most frequent."""
    reason = max(tight.reasons, key=lambda kind: tight.reasons[kind], default="")
    for kind, option in OPTIONS.items():
        if reason.startswith(kind):
            return f"loosen {option}"
    if tight.name == "properties" and config.target.windows:
        return f"widen {' and '.join(config.target.windows)}"
    gate = next(gate for gate in GATES if gate.name == tight.name)
    return gate.advice.format(limit=config.target.e_above_hull_max)
