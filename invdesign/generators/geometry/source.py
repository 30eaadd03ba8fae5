"""First geometries for a gene: inherited from known crystals of the same prototype, or by diffusion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from pathlib import Path

import numpy as np
import torch

from invdesign.core.target_parser import amounts_of
from invdesign.crystal.elements import SYMBOLS, volume_estimate
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.data.prototypes import KnownPrototypes, load_library
from invdesign.data.tokens import TokenSet
from invdesign.generators.geometry.lattice import cells, strains
from invdesign.generators.geometry.pipeline import GeometryDiffusionPipeline
from invdesign.generators.geometry.sites import Sites, contacts_of, geometries, site_tables

# Shares of the sum of two atoms' covalent radii: closer is not sampled, further apart is no better.
_CLOSEST, _APART = 0.75, 0.85
_ATTEMPTS = 40  # at a random geometry
_DRAWS = 4  # by diffusion for each one proposed
_MANY_FREE = 6  # coordinates


class GeometrySource:
    """Proposes geometries: inherited from a library of known crystals, or drawn by diffusion.

    Args:
        library: genes and geometries of known crystals.
        diffusion: draws what is not inherited; None: it is sampled at random, atoms kept apart.
    """

    def __init__(self, library: TokenSet, diffusion: GeometryDiffusionPipeline | None = None) -> None:
        self.library = library
        self.diffusion = diffusion
        self.known = KnownPrototypes(library)

    @classmethod
    def load(
        cls, name: str | Path = "geometries", diffusion: str | Path = "geometry-diffusion"
    ) -> GeometrySource:
        """Load the released library and model, or folders that ``invdesign train`` wrote.

        Raises:
            InputError: no such folder or file.
        """
        return cls(load_library(name), GeometryDiffusionPipeline.load(diffusion))

    def without(self, formulas: Iterable[str]) -> GeometrySource:
        """Return the same, with no crystal of these reduced formulas to inherit from."""
        left_out = {_ratio(amounts_of(formula, "formula")) for formula in formulas}
        count = site_tables().count[self.library.space_group[:, None], self.library.letters].numpy()
        kept = []
        for elements, sites in zip(self.library.elements.tolist(), count.tolist(), strict=True):
            amounts: dict[str, int] = {}
            for z, n in zip(elements, sites, strict=True):
                if z:
                    amounts[SYMBOLS[z]] = amounts.get(SYMBOLS[z], 0) + n
            kept.append(_ratio(amounts) not in left_out)
        return GeometrySource(self.library.select(np.array(kept)), self.diffusion)

    def propose(self, gene: Gene, n: int, seed: int | Sequence[int]) -> list[tuple[Geometry, str]]:
        """``propose_many`` for one gene."""
        return self.propose_many([gene], [n], [seed])[0]

    def propose_many(
        self, genes: Sequence[Gene], counts: Sequence[int], seeds: Sequence[int | Sequence[int]]
    ) -> list[list[tuple[Geometry, str]]]:
        """So many geometries of each gene, best first, each with where it came from.

        The first half inherited from the known crystals of the same space group and letters whose elements
        are most similar, as far as these leave the atoms room; the rest by diffusion.

        Args:
            genes: realisable ones.
            counts: one a gene, see ``useful_starting_structures``.
            seeds: one a gene; same genes and seeds, same geometries.
        """
        known = [self.inherited(gene, -(-n // 2)) for gene, n in zip(genes, counts, strict=True)]
        inherited = _roomy(genes, known)
        missing = [count - len(own) for count, own in zip(counts, inherited, strict=True)]
        rest = self.drawn if self.diffusion else self.sampled
        return [a + b for a, b in zip(inherited, rest(genes, missing, seeds), strict=True)]

    def drawn(
        self,
        genes: Sequence[Gene],
        counts: Sequence[int],
        seeds: Sequence[int | Sequence[int]],
        draws: int = _DRAWS,
    ) -> list[list[tuple[Geometry, str]]]:
        """Draw some geometries of each gene by diffusion: of several draws those with no atoms too close."""
        owners = np.repeat(np.arange(len(genes)), [count * draws for count in counts]).tolist()
        if not owners or self.diffusion is None:
            return [[] for _ in genes]
        numbers = [number for count in counts for number in range(count * draws)]
        geometries, contacts = self.diffusion.draw(
            [genes[i] for i in owners],
            [_seeded(seeds[i], number) for i, number in zip(owners, numbers, strict=True)],
        )
        found: list[list[tuple[Geometry, str]]] = []
        begin = 0
        for count in counts:
            own = np.arange(begin, begin + count * draws)
            begin += len(own)
            best = own[np.argsort(-np.minimum(contacts[own], _APART), kind="stable")[:count]]
            found.append([(geometries[i], "diffusion") for i in best])
        return found

    def sampled(
        self, genes: Sequence[Gene], counts: Sequence[int], seeds: Sequence[int | Sequence[int]]
    ) -> list[list[tuple[Geometry, str]]]:
        """Draw some geometries of each gene at random, atoms kept apart."""
        found: list[list[tuple[Geometry, str]]] = []
        for gene, count, seed in zip(genes, counts, seeds, strict=True):
            rng = np.random.default_rng(np.random.SeedSequence(seed))
            found.append([(self._sampled(gene, rng), "sampled") for _ in range(count)])
        return found

    def inherited(self, gene: Gene, n: int) -> list[tuple[Geometry, str]]:
        """Take up to ``n`` from known crystals of the same prototype, the most similar elements first.

        The cell is rescaled by the expected volumes.
        """
        rows, distance = self.known.unlikeness(gene)
        chosen: list[tuple[Geometry, str]] = []
        for k in np.argsort(distance, kind="stable")[:n]:
            parent = int(rows[k])
            known = self.library.geometry(parent)
            order = self.known.order(gene, parent)
            volume = volume_estimate(gene.composition) / volume_estimate(
                self.library.gene(parent).composition
            )
            own = Geometry(known.lattice, tuple(known.free[j] for j in order)).scaled(volume)
            chosen.append((own, f"inherited from {self.library.ids[parent]}"))
        return chosen

    def _sampled(self, gene: Gene, rng: np.random.Generator) -> Geometry:
        """Cell shape of a random crystal of the group, estimated volume, atoms kept apart."""
        sites = Sites.of_genes([gene] * _ATTEMPTS)
        same_group = np.flatnonzero(self.library.space_group == gene.space_group)
        strain = torch.zeros(_ATTEMPTS, 6, dtype=torch.float64)
        if len(same_group):
            lattice = torch.tensor(self.library.lattice[rng.choice(same_group, 1)], dtype=torch.float64)
            strain += strains(lattice, sites.group[:1], sites.volume[:1].double())
        strain[:, 0] = torch.tensor(np.log(rng.uniform(1.0, 1.2, _ATTEMPTS)) / 3)
        free = torch.tensor(rng.random(sites.free.shape)) * sites.free
        cell = cells(strain, sites.group, sites.volume.double())
        contacts = sites.contacts(free.float(), cell.float())
        apart = (contacts > _CLOSEST).nonzero()[:, 0]
        best = int(apart[0] if len(apart) else contacts.argmax())
        return geometries(sites, free, cell)[best]


def useful_starting_structures(gene: Gene, n: int) -> int:
    """Return how many of at most ``n`` geometries of a gene are worth a relaxation.

    One where no coordinate is free, half of ``n`` where few are (docs/concepts/geometry.md).
    """
    if gene.n_free == 0:
        return 1
    return n if gene.n_free >= _MANY_FREE else -(-n // 2)


def _roomy(
    genes: Sequence[Gene], proposed: Sequence[list[tuple[Geometry, str]]]
) -> list[list[tuple[Geometry, str]]]:
    """Those geometries in which no two atoms are too close."""
    owners = [i for i, own in enumerate(proposed) for _ in own]
    if not owners:
        return list(proposed)
    contacts = iter(contacts_of([genes[i] for i in owners], [found for own in proposed for found, _ in own]))
    return [[one for one in own if next(contacts) > _CLOSEST] for own in proposed]


def _ratio(amounts: Mapping[str, int]) -> frozenset[tuple[str, int]]:
    """Return what compositions of one reduced formula share."""
    unit = gcd(*amounts.values())
    return frozenset((element, n // unit) for element, n in amounts.items())


def _seeded(seed: int | Sequence[int], number: int) -> tuple[int, ...]:
    return (*((seed,) if isinstance(seed, int) else seed), number)
