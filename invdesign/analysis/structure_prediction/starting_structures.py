"""Starting structures for a formula: genes of several generators, several geometries of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.core.candidate import Candidate
from invdesign.core.target import Target
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

GENES_PER_START = 4  # genes asked of each generator for each starting structure; the most frequent are used
GEOMETRIES = 4  # most geometries of one gene


@dataclass(frozen=True)
class Start:
    """A starting structure: its gene, and the generator and geometry that it came from."""

    gene: Gene
    structure: Structure
    origin: str


@dataclass(frozen=True)
class StructureSources:
    """Where starting structures come from.

    Attributes:
        generators: propose genes, some with a geometry; they take turns.
        geometry: gives geometries to genes without one.
    """

    generators: Sequence[Any]
    geometry: Any


@dataclass
class Plan:
    """Starting structures, the most promising first, and what each generator offered."""

    starts: list[Start] = field(default_factory=list)
    offered: dict[str, str] = field(default_factory=dict)


def plan_starts(target: Target, n: int, seed: int, sources: StructureSources) -> Plan:
    """Return up to ``n`` different, plausible starting structures.

    Args:
        target: every gene is allowed by it.
        n: most starting structures.
        seed: the same seed gives the same ones.
        sources: of genes and geometries.

    Raises:
        InputError: no generator can meet the target.
    """
    plan = Plan()
    asked = GENES_PER_START * -(-n // len(sources.generators))
    offers: list[tuple[int, str, list[list[Candidate]]]] = []
    refusals: list[InputError] = []
    for number, generator in enumerate(sources.generators):
        try:
            candidates = generator.propose(target, asked, (seed, number))
        except InputError as error:
            plan.offered[generator.name] = str(error)
            refusals.append(error)
            continue
        families = _families(candidates, target)
        plan.offered[generator.name] = f"{len(families)} different genes"
        offers.append((number, generator.name, families))
    if not offers:
        raise refusals[-1]
    share = -(-n // len(offers))
    half = -(-share // 2)  # the better half of the genes comes with all its geometries before the others
    queues = []
    for number, name, families in offers:
        queue: list[Start] = []
        for first in range(0, min(len(families), 2 * half), half):
            queue += _starts(families[first : first + half], name, sources.geometry, (seed, number, first))
        queues.append(queue)
    seen = set()
    for start in (start for turn in zip_longest(*queues) for start in turn if start is not None):
        key = (
            start.gene.hash,
            np.round(start.structure.cart_coords, 2).tobytes(),
            round(start.structure.volume),
        )
        if len(plan.starts) < n and key not in seen:
            seen.add(key)
            plan.starts.append(start)
    return plan


def _families(candidates: Sequence[Candidate], target: Target) -> list[list[Candidate]]:
    """Group candidates by gene, without those that the target forbids.

    Drawn genes are ordered by frequency, crystals as their generator gave them.
    """
    families: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.gene.realisable and target.allows(candidate.gene).passed:
            families[candidate.gene.hash].append(candidate)
    return sorted(families.values(), key=lambda family: -len(family) if family[0].geometry is None else 0)


def _starts(
    families: list[list[Candidate]],
    name: str,
    source: Any,  # noqa: ANN401
    seed: tuple[int, ...],
) -> list[Start]:
    """Return the first geometry of every gene, then the second, and so on."""
    from invdesign.crystal.symmetry import realise
    from invdesign.filters.geometry import geometry_check
    from invdesign.generators.geometry.source import useful_starting_structures

    bare = [i for i, family in enumerate(families) if family[0].geometry is None]
    genes = [families[i][0].gene for i in bare]
    seeds = [(*seed, number) for number in range(len(genes))]
    counts = [useful_starting_structures(gene, GEOMETRIES) for gene in genes]
    found = dict(zip(bare, source.propose_many(genes, counts, seeds) if genes else [], strict=True))
    rows = []
    for i, family in enumerate(families):
        given: list[tuple[Geometry, str]] = [
            (candidate.geometry, _parent(candidate)) for candidate in family if candidate.geometry is not None
        ]
        row = []
        for geometry, origin in found.get(i) or list(dict.fromkeys(given))[:GEOMETRIES]:
            structure = realise(family[0].gene, geometry)
            if geometry_check(structure).passed:
                row.append(Start(family[0].gene, structure, f"{name}, {origin}"))
        rows.append(row)
    return [start for turn in zip_longest(*rows) for start in turn if start is not None]


def _parent(candidate: Candidate) -> str:
    return f"after {candidate.origin.parent}" if candidate.origin.parent is not None else "its own"
