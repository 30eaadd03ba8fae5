"""Many crystals in little space: genes, and their cells and free coordinates in 16 bits.

A length is kept to 0.006 %, an angle to 0.0014°, a coordinate to 1/131 072 of the cell's edge.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import realise

if TYPE_CHECKING:
    from pymatgen.core import Structure

_FIRST_GROUPS = (3, 16, 75, 143, 195)  # monoclinic to cubic
_FREE_PARAMETERS = ((0, 1, 2, 3, 4, 5), (0, 1, 2, 4), (0, 1, 2), (0, 2), (0, 2), (0,))  # of a, b, c, α, β, γ
_HEXAGONAL = 4
_SHORTEST = 0.5  # Å
_PER_FOLD = 9000  # steps in which a length grows by e
_PER_DEGREE = 65_536 / 180
_TURN = 65_536


@dataclass(frozen=True)
class Crystals:
    """Crystals as columns; what has a length per crystal is flat.

    Attributes:
        space_groups: (m,) unsigned 8 bit.
        n_atoms: in the primitive cell, (m,) unsigned 16 bit.
        n_orbits: (m,) unsigned 8 bit.
        n_free: free coordinates, (m,) unsigned 16 bit.
        elements: atomic number of each orbit, unsigned 8 bit.
        letters: Wyckoff letter of each orbit, ASCII, unsigned 8 bit.
        cells: free parameters of each cell: logarithms of lengths, angles; unsigned 16 bit.
        coordinates: free coordinates, unsigned 16 bit.
    """

    space_groups: np.ndarray
    n_atoms: np.ndarray
    n_orbits: np.ndarray
    n_free: np.ndarray
    elements: np.ndarray
    letters: np.ndarray
    cells: np.ndarray
    coordinates: np.ndarray

    @classmethod
    def of(cls, crystals: Iterable[tuple[Gene, Geometry]]) -> Crystals:
        """Pack crystals in their order."""
        rows = [(gene, geometry, np.concatenate([(), *geometry.free])) for gene, geometry in crystals]
        orbits = [orbit for gene, *_ in rows for orbit in gene.orbits]
        cells = [number for gene, geometry, _ in rows for number in _packed_cell(gene, geometry)]
        free = np.concatenate([(), *(row[2] for row in rows)])
        return cls(
            space_groups=np.array([gene.space_group for gene, *_ in rows], dtype=np.uint8),
            n_atoms=np.array([gene.n_atoms for gene, *_ in rows], dtype=np.uint16),
            n_orbits=np.array([len(gene.orbits) for gene, *_ in rows], dtype=np.uint8),
            n_free=np.array([len(row[2]) for row in rows], dtype=np.uint16),
            elements=np.array([ATOMIC_NUMBER[element] for element, _ in orbits], dtype=np.uint8),
            letters=np.array([ord(letter) for _, letter in orbits], dtype=np.uint8),
            cells=np.array(cells, dtype=np.uint16),
            coordinates=(np.round(free * _TURN) % _TURN).astype(np.uint16),
        )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(field.name for field in fields(cls))

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.space_groups)

    @cached_property
    def first_orbits(self) -> np.ndarray:
        """Where each crystal's orbits begin, and the end, (m + 1,)."""
        return starts(self.n_orbits)

    @cached_property
    def _first_free(self) -> np.ndarray:
        return starts(self.n_free)

    @cached_property
    def _first_cells(self) -> np.ndarray:
        counts = np.array([len(free) for free in _FREE_PARAMETERS])
        return starts(counts[np.searchsorted(_FIRST_GROUPS, self.space_groups, side="right")])

    def gene(self, i: int) -> Gene:
        """Return a crystal's gene."""
        orbits = slice(self.first_orbits[i], self.first_orbits[i + 1])
        return Gene(
            int(self.space_groups[i]),
            tuple(
                (SYMBOLS[element], chr(letter))
                for element, letter in zip(self.elements[orbits], self.letters[orbits], strict=True)
            ),
        )

    def structure(self, i: int) -> Structure:
        """Return a crystal's primitive cell."""
        from invdesign.crystal.wyckoff import wyckoff_table

        gene = self.gene(i)
        table = wyckoff_table(gene.space_group)
        numbers = iter((self.coordinates[self._first_free[i] : self._first_free[i + 1]] / _TURN).tolist())
        free = tuple(tuple(next(numbers) for _ in table[letter].free) for _, letter in gene.orbits)
        cell = self.cells[self._first_cells[i] : self._first_cells[i + 1]]
        return realise(gene, Geometry(_cell(gene.space_group, cell.tolist()), free))


def starts(counts: np.ndarray) -> np.ndarray:
    """Where each of groups of so many items begins, and the end, (m + 1,)."""
    return np.asarray(np.r_[0, np.cumsum(counts, dtype=np.int64)])


def _system(space_group: int) -> int:
    return bisect_right(_FIRST_GROUPS, space_group)


def _packed_cell(gene: Gene, geometry: Geometry) -> list[int]:
    return [
        round(float(np.log(number / _SHORTEST)) * _PER_FOLD) if i < 3 else round(number * _PER_DEGREE)
        for i, number in enumerate(geometry.lattice)
        if i in _FREE_PARAMETERS[_system(gene.space_group)]
    ]


def _cell(space_group: int, packed: Sequence[int]) -> tuple[float, float, float, float, float, float]:
    system = _system(space_group)
    found = {
        i: _SHORTEST * float(np.exp(number / _PER_FOLD)) if i < 3 else number / _PER_DEGREE
        for i, number in zip(_FREE_PARAMETERS[system], packed, strict=True)
    }
    a, gamma = found[0], 120.0 if system == _HEXAGONAL else 90.0
    return (
        *(a, found.get(1, a), found.get(2, a)),
        *(found.get(3, 90.0), found.get(4, 90.0), found.get(5, gamma)),
    )
