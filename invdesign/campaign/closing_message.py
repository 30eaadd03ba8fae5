"""The sentence that ends a campaign: what came through, and what would lengthen a short list."""

from __future__ import annotations

from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.dynamical_stability import summarize_checks
from invdesign.campaign.stages.predict import UNLIKELY_IN_WINDOWS
from invdesign.campaign.stages.shortlist import ALIKE, ANOTHER_STRUCTURE, RELAXED_INTO, UNLIKELY
from invdesign.core.funnel import FINISHING, Funnel, Stage, kind_of_reason
from invdesign.core.target import MAX_ATOMS
from invdesign.crystal.elements import EXCLUDED_BY_DEFAULT

SPARE = 10  # candidates to relax for each place of a shortlist
LOOSE = 0.05  # eV/atom: what to allow in place of nothing

OPTIONS = {
    "supply risk": ("--max-hhi",),
    "element too scarce": ("--min-abundance",),
    "element excluded": ("--exclude", "--only", "--max-hhi"),
    "required element": ("--elements",),
    "a pure element": (),
    "another space group": ("--space-group",),
    "another formula": ("--formula", "--anonymous"),
    "none of the formulas": ("--from",),
    "… atoms": ("--n-atoms",),
    "relaxed out of the target": ("--dimensionality", "--elements", "--space-group", "--n-atoms"),
}
"""Options behind each kind of reason for which a candidate is rejected; those that were set are named."""


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
            f"relaxed; give --n-relax {SPARE * asked}, or ask for a shorter list."
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
        key=lambda stage: _refused(stage) / max(1, stage.entered),
    )
    more = f"give --n {2 * config.n_genes} --n-relax {2 * config.n_relax}"
    ways = " or ".join([*_advice(tight, config), more])
    return (
        f"Only {found} of the {asked} candidates asked for came through: the gate that rejected the largest "
        f"share was {tight.name} ({_refused(tight)} of {tight.entered}); {ways}."
    )


def _refused(stage: Stage) -> int:
    """Count those that a gate itself rejected; the finishing stage leaves others out that are less likely."""
    return sum(n for reason, n in stage.reasons.items() if not reason.startswith(UNLIKELY))


def _advice(tight: Stage, config: CampaignConfig) -> list[str]:
    """What to loosen where a gate rejects most: the options that were set behind the commonest reason."""
    target = config.target
    reasons = {kind: n for kind, n in tight.reasons.items() if not kind.startswith(UNLIKELY)}
    reason = max(reasons, key=lambda kind: reasons[kind], default="")
    into = tuple(f"into {what}" for what in RELAXED_INTO.values())
    if tight.name == "novelty" or reason.endswith(into) or reason.startswith(ANOTHER_STRUCTURE):
        return ["give --novelty any"] if config.novelty != "any" else []
    for kind, options in OPTIONS.items():
        if reason.startswith(kind):
            given = [option for option in options if option in _given(config)]
            return [f"loosen {' or '.join(given)}"] if given else []
    if reason.startswith("above the limit"):
        return [f"give e_above_hull<{2 * target.e_above_hull_max or LOOSE:g}"]
    if reason.startswith(UNLIKELY_IN_WINDOWS) and target.windows:
        return [f"widen {' and '.join(target.windows)}"]
    if tight.name == "charge balance" and (given := sorted({"--exclude", "--only"} & _given(config))):
        return [f"allow more elements ({', '.join(given)})"]
    return []


def _given(config: CampaignConfig) -> set[str]:
    """Return the options of the target that the user set."""
    target = config.target
    named = target.formula is None
    given = {
        "--max-hhi": target.hhi_max,
        "--min-abundance": target.abundance_min,
        "--exclude": target.excluded - EXCLUDED_BY_DEFAULT,
        "--only": named and target.allowed,
        "--elements": named and (target.required or target.one_of),
        "--formula": target.formula,
        "--anonymous": target.anonymous_formula,
        "--space-group": target.space_groups,
        "--from": config.formulas,
        "--n-atoms": target.n_atoms != (1, MAX_ATOMS),
        "--dimensionality": target.dimensionality != (0, 3),
    }
    return {option for option, value in given.items() if value}
