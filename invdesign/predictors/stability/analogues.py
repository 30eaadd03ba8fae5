"""Known compounds like a composition: one element replaced, or the same stoichiometry in like elements.

Everything is a look-up of hashes in sorted tables. A composition never finds itself: an analogue by
replacement has another element by definition, and of the counts its own compound is taken off. Only how
alike two elements are is learned from all compounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from invdesign.crystal.elements import SYMBOLS, element_table

if TYPE_CHECKING:
    from invdesign.composition.batch import CompositionBatch

NEAR = 0.05  # eV/atom above the hull up to which a known compound counts as near stable
_N = len(SYMBOLS)
_ANIONS = (7, 8, 9, 15, 16, 17, 33, 34, 35, 51, 52, 53)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_CAP = 0.5  # eV/atom
_SHAPE, _SYSTEM, _OPEN = 1, 16, 63  # salts of the hashes


@dataclass(frozen=True, slots=True)
class Known:
    """Known compounds, one a composition, and their energies, eV/atom, (n,).

    ``decomposition`` is the energy above hull or, below zero, how far under that of the competitors.
    """

    batch: CompositionBatch
    formation: NDArray[np.float32]
    decomposition: NDArray[np.float32]

    def take(self, rows: NDArray[np.generic]) -> Known:
        """Return some of them, by index or mask."""
        return Known(self.batch.take(rows), self.formation[rows], self.decomposition[rows])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Values scattered over 64 bits (the finaliser of MurmurHash3)."""
    x = (values + np.uint64(1)) * _MULTIPLIER
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(x ^ (x >> np.uint64(33)))


def composition_keys(batch: CompositionBatch) -> NDArray[np.uint64]:
    """Return a hash of each composition, whatever the order of its elements, (n,)."""
    return np.asarray(_terms(batch.numbers.astype(np.int64), batch.amounts, 0).sum(1))


def system_keys(numbers: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return a hash of each chemical system, of atomic numbers (n, k), 0 where padded; (n,)."""
    return np.asarray(_terms(numbers.astype(np.int64), (numbers > 0).astype(np.int32), _SYSTEM).sum(1))


def _terms(kinds: NDArray[np.int64], amounts: NDArray[np.int32], salt: int) -> NDArray[np.uint64]:
    """Return a hash of each (kind, amount), 0 where padded; a composition's is their sum, in any order."""
    key = ((salt * 4096 + kinds.astype(np.uint64)) << np.uint64(32)) + amounts.astype(np.uint64)
    return np.where(amounts > 0, _mixed(key), np.uint64(0))


@lru_cache(maxsize=1)
def _classes() -> NDArray[np.int64]:
    """Kinds of element by scheme and atomic number, (schemes, 104).

    Themselves; their group of the periodic table; anions themselves and cations by block; all alike.
    """
    table = element_table()
    group = table["group"].astype(np.int64)
    numbers = np.arange(_N)
    rare = ((numbers >= 57) & (numbers <= 71)) | (numbers == 21) | (numbers == 39)
    actinide = numbers >= 89
    column = np.where(rare, 3, np.where(actinide, 20, group))
    column[1] = 21
    block = np.where(column <= 2, column, np.where(column == 3, 3, np.where(column <= 7, 4, 5)))
    block = np.where((column >= 11) & (column <= 12), 6, np.where(column >= 13, 7, block))
    block = np.where(column >= 20, column, block)
    kept = np.isin(numbers, _ANIONS)
    block = np.where(kept, 100 + numbers, block)
    return np.stack([numbers, column, block, np.zeros(_N, np.int64)])


class _Counts:
    """How many known compounds share a key, how they lie, (u,) each, by sorted key."""

    def __init__(self, keys: NDArray[np.uint64], decomposition: NDArray[np.float32]) -> None:
        self.keys, place = np.unique(keys, return_inverse=True)
        capped = np.clip(decomposition, -_CAP, _CAP)
        self.table = np.stack(
            [np.bincount(place, w) for w in (np.ones(len(keys)), decomposition <= NEAR, capped)], axis=1
        )  # (u, 3)

    def of(self, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return number, number near stable and sum of energies above hull, (n, 3)."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where((self.keys[at] == keys)[:, None], self.table[at], 0.0)


class Analogues:
    """Look-up tables of known compounds."""

    def __init__(self, known: Known) -> None:
        numbers, amounts = known.batch.numbers.astype(np.int64), known.batch.amounts
        self._compounds = _Counts(composition_keys(known.batch), known.decomposition)
        keys = self._masked(numbers, amounts)
        row, slot = np.nonzero(amounts > 0)
        flat = keys[row, slot]
        order = np.argsort(flat, kind="stable")
        self._keys, first, sizes = np.unique(flat[order], return_index=True, return_counts=True)
        self._first, self._sizes = first, sizes
        self._element = numbers[row, slot][order]
        self._formation = known.formation[row][order].astype(np.float64)
        self._e_above_hull = np.clip(known.decomposition[row][order], -_CAP, _CAP).astype(np.float64)
        self._alike = self._likeness()
        schemes = range(1, len(_classes()))
        self._shapes = [_Counts(self._shape(numbers, amounts, s), known.decomposition) for s in schemes]
        whole = range(len(_classes()) - 1)
        self._systems = [_Counts(self._system(numbers, amounts, s), known.decomposition) for s in whole]

    @staticmethod
    def _masked(numbers: NDArray[np.int64], amounts: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Keys of a composition with each element in turn left open, (n, k)."""
        terms = _terms(numbers, amounts, 0)
        return np.asarray(terms.sum(1, keepdims=True) - terms + _terms(numbers * 0, amounts, _OPEN))

    @staticmethod
    def _shape(numbers: NDArray[np.int64], amounts: NDArray[np.int32], scheme: int) -> NDArray[np.uint64]:
        return np.asarray(_terms(_classes()[scheme][numbers], amounts, _SHAPE + scheme).sum(1))

    @staticmethod
    def _system(numbers: NDArray[np.int64], amounts: NDArray[np.int32], scheme: int) -> NDArray[np.uint64]:
        one = (amounts > 0).astype(np.int32)
        return np.asarray(_terms(_classes()[scheme][numbers], one, _SYSTEM + scheme).sum(1))

    def _likeness(self) -> NDArray[np.float64]:
        """How often two elements stand for each other among compounds that are else the same, (104, 104).

        The cosine of their occurrences; a little chemistry where they were seldom seen.
        """
        from scipy.sparse import csr_matrix

        group = np.repeat(np.arange(len(self._keys)), self._sizes)
        several = self._sizes[group] > 1
        weight = 1.0 / np.sqrt(self._sizes[group[several]])
        seen = csr_matrix((weight, (group[several], self._element[several])), (len(self._keys), _N))
        together = (seen.T @ seen).toarray()
        own = np.sqrt(np.diag(together)) + 1.0
        columns = [element_table()[n] for n in ("electronegativity", "covalent_radius", "group")]
        apart = sum(
            (c[:, None] - c[None]) ** 2 / unit**2 for c, unit in zip(columns, (0.5, 0.25, 4.0), strict=True)
        )
        return np.asarray(together / own[:, None] / own[None] + 0.02 * np.exp(-apart))

    def features(self, batch: CompositionBatch, hull_energy: NDArray[np.float64]) -> NDArray[np.float32]:
        """How compositions stand among the known ones, (n, d); NaN where nothing is known to go by.

        Args:
            batch: the compositions.
            hull_energy: of the competitors, eV/atom, (n,).
        """
        wide, amounts = batch.numbers.astype(np.int64), batch.amounts
        own = self._compounds.of(composition_keys(batch))  # of its own compound, to be taken off
        parts = [self._slots(wide, amounts, hull_energy)]
        for scheme, counts in enumerate(self._shapes, start=1):
            parts.append(_summary(counts.of(self._shape(wide, amounts, scheme)) - own))
        for scheme, counts in enumerate(self._systems):
            parts.append(_summary(counts.of(self._system(wide, amounts, scheme)) - own))
        shapes = [part[:, 0] for part in parts[1 : 1 + len(self._shapes)]]
        systems = [part[:, 0] for part in parts[1 + len(self._shapes) :]]
        parts.append(np.stack([shapes[0] - systems[1], shapes[1] - systems[2]], axis=1))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _slots(
        self, numbers: NDArray[np.int64], amounts: NDArray[np.int32], hull_energy: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Analogues by replacement of one element: least, mean and most over the elements, and energies."""
        n = len(numbers)
        row, slot = np.nonzero(amounts > 0)
        keys, element = self._masked(numbers, amounts)[row, slot], numbers[row, slot]
        at = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        sizes = np.where(self._keys[at] == keys, self._sizes[at], 0)
        pair = np.repeat(np.arange(len(row)), sizes)
        entry = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + self._first[at][pair]
        alike = self._alike[element[pair], self._element[entry]]
        alike = np.where(self._element[entry] == element[pair], 0.0, alike)
        energy = self._e_above_hull[entry]
        near = (energy <= NEAR) & (alike > 0)
        m = len(row)
        counted = np.stack(
            [
                np.log1p(np.bincount(pair, alike > 0, m)),
                np.log1p(np.bincount(pair, near, m)),
                np.log1p(np.bincount(pair, alike, m)),
                np.log1p(np.bincount(pair, alike * near, m)),
            ],
            axis=1,
        )  # (m, 4)
        ends = np.flatnonzero(np.diff(row, prepend=-1))
        counts = np.diff(np.append(ends, m))[:, None]
        of_row = row[pair]
        total = np.bincount(of_row, alike, n)
        safe = np.where(total > 0, total, np.nan)
        square = np.bincount(of_row, alike**3, n)
        nearer = np.where(square > 0, square, np.nan)
        energies = [
            np.bincount(of_row, alike * energy, n) / safe,
            np.bincount(of_row, alike**3 * energy, n) / nearer,
            np.bincount(of_row, alike**3 * self._formation[entry], n) / nearer - hull_energy,
            np.log1p(total),
        ]
        folded = [
            np.minimum.reduceat(counted, ends),
            np.add.reduceat(counted, ends) / counts,
            np.maximum.reduceat(counted, ends),
        ]
        return np.concatenate([*folded, np.stack(energies, axis=1)], axis=1)


def _summary(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the number, share near stable and mean energy above hull of compounds with one key, (n, 3)."""
    number = counts[:, 0]
    safe = np.where(number > 0, number, np.nan)
    return np.stack([np.log1p(number), counts[:, 1] / safe, counts[:, 2] / safe], axis=1)
