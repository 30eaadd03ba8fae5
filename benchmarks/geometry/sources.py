"""Where the benchmark's geometries come from: each source alone, and the product's mix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.generators.geometry.source import useful_starting_structures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invdesign.crystal.gene import Gene
    from invdesign.crystal.geometry import Geometry
    from invdesign.generators.geometry.source import GeometrySource

    Proposals = list[list[tuple[Geometry, str]]]
    Source = Callable[[GeometrySource, Sequence[Gene], int, int], Proposals]


def _seeds(genes: Sequence[Gene], seed: int) -> list[tuple[int, int]]:
    return [(seed, number) for number in range(len(genes))]


def inherited(source: GeometrySource, genes: Sequence[Gene], n: int, _seed: int) -> Proposals:
    """Return geometries of the n most similar known crystals of the same prototype, or of fewer."""
    return [source.inherited(gene, n) for gene in genes]


def diffusion(source: GeometrySource, genes: Sequence[Gene], n: int, seed: int) -> Proposals:
    """Return the first n draws."""
    return source.drawn(genes, [n] * len(genes), _seeds(genes, seed), draws=1)


def chosen(source: GeometrySource, genes: Sequence[Gene], n: int, seed: int) -> Proposals:
    """Return the n of 4 n draws whose shortest distances are largest."""
    return source.drawn(genes, [n] * len(genes), _seeds(genes, seed), draws=4)


def sampled(source: GeometrySource, genes: Sequence[Gene], n: int, seed: int) -> Proposals:
    """Random coordinates, atoms kept apart."""
    return source.sampled(genes, [n] * len(genes), _seeds(genes, seed))


def default(source: GeometrySource, genes: Sequence[Gene], n: int, seed: int) -> Proposals:
    """Return the starts of a campaign."""
    counts = [useful_starting_structures(gene, n) for gene in genes]
    return source.propose_many(genes, counts, _seeds(genes, seed))


SOURCES: dict[str, Source] = {
    "inherited": inherited,
    "diffusion": diffusion,
    "chosen": chosen,
    "sampled": sampled,
    "default": default,
}
