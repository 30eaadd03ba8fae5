"""Known crystals by prototype (space group and Wyckoff letters): whose elements are most like a gene's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table
from invdesign.crystal.gene import Gene
from invdesign.data.tokens import LETTERS, TokenSet
from invdesign.io.artifacts import find

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

# Beyond this many orbits on one letter, they are matched in order of electronegativity.
_PERMUTED = 4
_PAIRS = 200_000  # of a gene and a known crystal, compared at once
_SIMILARITY = (
    "electronegativity",
    "covalent_radius",
    "ionic_radius",
    "mendeleev",
    "max_oxidation",
    "min_oxidation",
)


@cache
def element_distance() -> Array:
    """(104, 104) how unlike elements are: Euclidean in standardised size, electronegativity, valence."""
    table = element_table()
    columns = np.stack([table[name] for name in _SIMILARITY], axis=1)
    columns = (columns - columns[1:].mean(axis=0)) / columns[1:].std(axis=0)
    return np.linalg.norm(columns[:, None] - columns[None], axis=-1)  # type: ignore[no-any-return]


def load_library(name: str | Path = "geometries") -> TokenSet:
    """Genes and geometries of known crystals: the released library, or a folder with a ``geometries.npz``.

    Raises:
        InputError: no such folder or file.
    """
    return TokenSet.load(find("models", name, needs=("geometries.npz",)) / "geometries.npz")


class KnownPrototypes:
    """Known crystals by prototype.

    Args:
        library: genes of known crystals.
    """

    def __init__(self, library: TokenSet) -> None:
        self.elements = library.elements
        sites = np.concatenate([library.space_group[:, None], library.letters], axis=1)
        order = np.lexsort(sites.T)
        first = np.flatnonzero(np.diff(sites[order], axis=0, prepend=0).any(axis=1))
        self.rows: dict[str, Integers] = {}
        for own in np.split(order, first)[1:]:
            letters = "".join(LETTERS[w] for w in library.letters[own[0]] if w)
            self.rows[f"{library.space_group[own[0]]}:{letters}"] = own

    def unlikeness(self, gene: Gene) -> tuple[Integers, Array]:
        """Rows (n,) of the known crystals of the gene's prototype, and how unlike each is per orbit, (n,)."""
        if gene.prototype not in self.rows:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        rows = self.rows[gene.prototype]
        return rows, _unlikeness(_numbers([gene]), self._known(gene, rows), _blocks(gene))[0]

    def order(self, gene: Gene, row: int) -> list[int]:
        """Which orbit of a known crystal each of the gene's takes over."""
        (wanted,), (known,) = _numbers([gene]), self._known(gene, np.array([row]))
        found = np.zeros(len(wanted), dtype=np.int64)
        for block in _blocks(gene):
            if len(block) <= _PERMUTED:
                options = np.array(list(permutations(block)))  # (p, k)
                cost = element_distance()[wanted[block], known[options]].sum(axis=1)
                found[block] = options[cost.argmin()]
            else:
                found[block[_by_electronegativity(wanted[block])]] = block[
                    _by_electronegativity(known[block])
                ]
        return found.tolist()

    def nearest(self, genes: Sequence[Gene], *, others: bool = False) -> Array:
        """Return the nearest known crystal of each gene's prototype, and how many there are.

        Args:
            genes: any.
            others: leave out those of the gene's own composition, as if it were not known.

        Returns:
            (n, 2): how unlike the nearest is per orbit, NaN where there is none; their number.
        """
        found = np.tile([np.nan, 0.0], (len(genes), 1))
        for which in _by_prototype(genes):
            gene = genes[which[0]]
            if gene.prototype not in self.rows:
                continue
            known = np.unique(self._known(gene, self.rows[gene.prototype]), axis=0)
            known_amounts = _amounts(gene, known)
            for part in np.array_split(which, -(-len(which) * len(known) // _PAIRS)):
                wanted = _numbers([genes[i] for i in part])
                distance = _unlikeness(wanted, known, _blocks(gene))
                if others:
                    distance[known_amounts == _amounts(gene, wanted)[:, None]] = np.inf
                best = distance.min(axis=1)
                found[part, 0] = np.where(np.isfinite(best), best, np.nan)
                found[part, 1] = np.isfinite(distance).sum(axis=1)
        return found

    def _known(self, gene: Gene, rows: Integers) -> Integers:
        """Atomic numbers (n, k) on the orbits of known crystals of a gene's prototype."""
        known: Integers = self.elements[rows][:, : len(gene.orbits)]
        return known


def _by_prototype(genes: Sequence[Gene]) -> Iterator[list[int]]:
    """Places of the genes of each prototype."""
    places: dict[str, list[int]] = {}
    for place, gene in enumerate(genes):
        places.setdefault(gene.prototype, []).append(place)
    yield from places.values()


def _numbers(genes: Sequence[Gene]) -> Integers:
    """Atomic numbers (n, k) on the orbits of genes of one prototype."""
    return np.array([[ATOMIC_NUMBER[element] for element, _ in gene.orbits] for gene in genes])


def _amounts(gene: Gene, numbers: Integers) -> Integers:
    """(n,) the same for equal compositions: elements (n, k) on the sites of a gene's prototype."""
    names = np.random.default_rng(0).integers(2**62, size=len(SYMBOLS))
    return (names[numbers] * np.array(gene.multiplicities)).sum(axis=1)  # type: ignore[no-any-return]


def _blocks(gene: Gene) -> list[Integers]:
    """Return the orbits on each letter."""
    letters = np.array(list(gene.letters))
    return [np.flatnonzero(letters == letter) for letter in dict.fromkeys(gene.letters)]


def _by_electronegativity(numbers: Integers) -> Integers:
    return element_table()["electronegativity"][numbers].argsort(axis=-1, kind="stable")


def _unlikeness(wanted: Integers, known: Integers, blocks: list[Integers]) -> Array:
    """(g, n) per orbit, between genes (g, k) and known crystals (n, k) of one prototype, orbits matched."""
    unlike = element_distance()
    total = np.zeros((len(wanted), len(known)))
    for block in blocks:
        new, old = wanted[:, block], known[:, block]
        if len(block) <= _PERMUTED:
            places = np.arange(len(block))
            cost = unlike[new.T[:, None, :, None], old.T[None, :, None, :]]  # (k, k, g, n)
            total += np.min([cost[places, order].sum(axis=0) for order in permutations(places)], axis=0)
        else:
            new = np.take_along_axis(new, _by_electronegativity(new), axis=1)
            old = np.take_along_axis(old, _by_electronegativity(old), axis=1)
            for a, b in zip(new.T, old.T, strict=True):
                total += unlike[a][:, b]
    total /= wanted.shape[1]
    return total
