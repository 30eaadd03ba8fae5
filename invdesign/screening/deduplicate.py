"""Which keys of a stream were there before, in memory that does not grow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


class SeenKeys:
    """A hash table of 64-bit keys, open addressing.

    Args:
        slots: a power of two, of 8 bytes each; three quarters of them are used. Beyond that many different
            keys no more are remembered (``full``): what repeats a later one counts as new.
    """

    def __init__(self, slots: int = 2**24) -> None:
        self._table = np.zeros(slots, dtype=np.uint64)  # pages are taken when they are first written
        self._most = slots // 4 * 3
        self.remembered = 0

    @property
    def full(self) -> bool:
        """Whether keys are no longer remembered."""
        return self.remembered >= self._most

    def repeated(self, keys: Keys) -> NDArray[np.bool_]:
        """Whether each key (n,) was there before, in an earlier call or earlier in this one."""
        different, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        repeats = np.ones(len(keys), dtype=bool)
        repeats[first] = self._old(np.where(different == 0, 1, different))[inverse[first]]
        return repeats

    def _old(self, keys: Keys) -> NDArray[np.bool_]:
        """Whether different keys (n,) are in the table, and them into it while there is room."""
        mask = np.uint64(len(self._table) - 1)
        mixed = keys * np.uint64(0x9E3779B97F4A7C15)
        slots = (mixed ^ (mixed >> np.uint64(32))) & mask
        old = np.zeros(len(keys), dtype=bool)
        rows = np.arange(len(keys))  # those not settled
        while len(rows):
            held = self._table[slots[rows]]
            same, free = held == keys[rows], rows[held == 0]
            old[rows[same]] = True
            tried = free[: self._most - self.remembered]
            self._table[slots[tried]] = keys[tried]  # of several that want one slot the last has it
            placed = self._table[slots[free]] == keys[free]
            self.remembered += int(placed.sum())
            taken = rows[(held != 0) & ~same]
            slots[taken] = (slots[taken] + np.uint64(1)) & mask
            rows = np.concatenate([taken, free[:0] if self.full else free[~placed]])
        return old
