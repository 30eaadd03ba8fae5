"""Of many genes drawn, those that deserve to be proposed: the quick rank without a campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.campaign.components import Parts
from invdesign.campaign.ranking import hit_probability, select
from invdesign.filters.charge_balance import charges_suit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from invdesign.core.candidate import Candidate
    from invdesign.core.target import Target


def likeliest(candidates: Sequence[Candidate], target: Target, n: int) -> list[Candidate]:
    """The ``n`` likeliest hits by the quick rank, in the order given.

    Genes that are known, or whose charges do not do for the target, come last, and repeats after them;
    those of known composition only after new ones. No formula or prototype takes more than a tenth while
    others are left.

    Args:
        candidates: with genes.
        target: its windows and its limit of E above hull make a hit.
        n: how many to take; all, if there are fewer.
    """
    parts = Parts()
    known = parts.get("known")
    genes = [candidate.gene for candidate in candidates]
    scores, seen = [], set[str]()
    for gene, estimates in zip(genes, parts.quick_estimates(genes, target), strict=True):
        if gene.hash in seen:
            scores.append(-2.0)
        elif (novelty := known.novelty(gene).figure) == 0 or not charges_suit(gene.composition, target):
            scores.append(-1.0)
        else:
            scores.append(hit_probability(estimates, target) + (novelty == 2))
        seen.add(gene.hash)
    most = max(3, n // 10)
    chosen = select(genes, scores, n, per_formula=most, per_prototype=most)
    return [candidates[i] for i in sorted(chosen)]
