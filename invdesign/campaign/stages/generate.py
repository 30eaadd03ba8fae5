"""Formulas that were chosen beforehand: who gets how many genes, and which of them a campaign can meet."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from invdesign.core.target import Target
from invdesign.errors import InputError
from invdesign.io.config import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invdesign.campaign.components import Parts
    from invdesign.campaign.config import CampaignConfig

# of 51 held-out stable compounds, the gene was among the first 8, 16, 32, 64, 128 drawn for their formula
# for 33, 37, 53, 59, 65 %
GENES_PER_FORMULA = 32
"""Genes that a formula gets at least."""


def with_formula(target: Target, formula: str) -> Target:
    """The target, of one formula alone.

    Raises:
        InputError: the target names a formula already, or this one is none or cannot meet it.
    """
    check_open(target)
    return build(Target, {**dict(target), "formula": formula}, "target")


def check_open(target: Target) -> None:
    """See that a target leaves the choice of formulas.

    Raises:
        InputError: it does not.
    """
    for name, given in (("formula", target.formula), ("anonymous", target.anonymous_formula)):
        if given:
            raise InputError(
                f"target: {name}={given} stands beside a list of formulas (--from); give one of the two."
            )


def meetable(config: CampaignConfig, parts: Parts, formulas: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """The formulas, reduced, of which every generator can make crystals; how many others, by reason.

    Raises:
        InputError: the target leaves no choice of formulas, or a generator is missing.
    """
    check_open(config.target)
    generators = {name: parts.generator_called(name) for name in parts.generators}
    met: list[str] = []
    others: Counter[str] = Counter()
    for formula in formulas:
        reason = "the target allows none"
        try:
            target = with_formula(config.target, formula)
            for name, generator in generators.items():
                reason = f"{name} can make none"
                generator.propose(target, 1, config.seed)
        except InputError:
            others[reason] += 1
        else:
            met.append(str(target.formula))
    return met, others


def shares(formulas: Sequence[str], first: int, n: int, total: int) -> tuple[tuple[str, int], ...]:
    """The formulas of some of a generator's genes, with how many of each.

    Every formula has an equal share of the genes, one after the other: what is drawn at once does not repeat.

    Args:
        formulas: all.
        first: of the genes, counted from 0.
        n: genes from there on.
        total: the generator's genes.
    """
    turns = Counter(i * len(formulas) // total for i in range(first, first + n)) if formulas else Counter()
    return tuple((formulas[turn], own) for turn, own in turns.items())
