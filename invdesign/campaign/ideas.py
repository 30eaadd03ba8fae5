"""One idea, one row: what differs only by like elements, as polymorphs, or in what chains are made of.

Genes and relaxed structures are compared with one element in place of all that are like it (K and Rb; S and
Se; the rare earths: :func:`invdesign.composition.families.like_for_like`); molecules and chains with any
elements at all. Polymorphs are one idea unless the campaign is about given formulas.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.ranking import worth
from invdesign.composition.families import like_for_like
from invdesign.core.candidate import Candidate
from invdesign.crystal.gene import Gene
from invdesign.crystal.matching import same_arrangement, unique_groups

if TYPE_CHECKING:
    from pymatgen.core import Structure

LAYERS = 2  # dimensionality from which the elements always count


def leaders(candidates: Sequence[Candidate], config: CampaignConfig) -> list[Candidate]:
    """Return the candidate of most worth of each idea; of equals that of the lower id."""
    best: dict[int, Candidate] = {}
    for candidate, idea in zip(_best_first(candidates, config), ideas(candidates, config), strict=True):
        best.setdefault(idea, candidate)
    return list(best.values())


def members(chosen: Sequence[Candidate], pool: Sequence[Candidate], config: CampaignConfig) -> list[str]:
    """What else is the idea of each chosen candidate: formulas, of polymorphs with the space group.

    Args:
        chosen: the shortlist.
        pool: all that could have been chosen, ``chosen`` among them or not.
        config: the campaign.
    """
    ids = {candidate.id for candidate in chosen}
    everyone = _best_first([*chosen, *(c for c in pool if c.id not in ids)], config)
    labels = dict(zip([c.id for c in everyone], ideas(everyone, config), strict=True))
    found = []
    for leader in chosen:
        others = [c.gene for c in everyone if c.id not in ids and labels[c.id] == labels[leader.id]]
        names = [
            f"{gene.formula} ({gene.space_group})" if gene.formula == leader.gene.formula else gene.formula
            for gene in others
        ]
        found.append(", ".join(dict.fromkeys(names)))
    return found


def ideas(candidates: Sequence[Candidate], config: CampaignConfig) -> list[int]:
    """Number the idea of each candidate, that of most worth first; all differ where nothing is to be grouped.

    Args:
        candidates: relaxed and scored; their order is immaterial.
        config: the campaign.
    """
    ordered = _best_first(candidates, config)
    labels = list(range(len(ordered)))
    if not config.diverse:
        return labels
    _merge(labels, [_like_gene(candidate.gene) for candidate in ordered])
    if config.target.formula is None and not config.formulas:
        _merge(labels, [candidate.gene.formula for candidate in ordered])
    founders = sorted(set(labels))
    groups = dict(zip(founders, unique_groups([_like_structure(ordered[i]) for i in founders]), strict=True))
    _merge(labels, [groups[label] for label in labels])
    loose = [i for i in sorted(set(labels)) if ordered[i].selection.dimensionality < LAYERS]  # type: ignore[union-attr]
    for i, j in combinations(loose, 2):
        if labels[i] != labels[j] and same_arrangement(ordered[i].structure, ordered[j].structure):  # type: ignore[arg-type]
            labels[:] = [labels[i] if label == labels[j] else label for label in labels]
    return labels


def _best_first(candidates: Sequence[Candidate], config: CampaignConfig) -> list[Candidate]:
    return sorted(candidates, key=lambda c: (-worth(c, config.target), c.id))


def _merge(labels: list[int], keys: Sequence[Hashable]) -> None:
    """Give all that share a key the label of the first of them."""
    first: dict[Hashable, int] = {}
    for label, key in zip(list(labels), keys, strict=True):
        into = first.setdefault(key, label)
        now = labels[into]
        labels[:] = [now if one == labels[label] else one for one in labels]


def _like_structure(candidate: Candidate) -> Structure:
    """Return a relaxed structure with one element in place of all that are like it."""
    assert candidate.structure is not None  # noqa: S101 - relaxed
    like: dict[Any, Any] = dict(like_for_like(candidate.gene.elements))
    return candidate.structure.replace_species(like, in_place=False)


def _like_gene(gene: Gene) -> str:
    """Return a gene with one element in place of all that are like it, as text."""
    like = like_for_like(gene.elements)
    orbits = tuple((like[element], letter) for element, letter in gene.orbits)
    return str(Gene(gene.space_group, orbits).canonical())
