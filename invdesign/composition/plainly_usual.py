"""Many compositions at once: which have usual oxidation states without a search.

Metals alone have no charges to balance. Otherwise one state an element decides: where the product of its
shares, as they are counted, is usual, the likeliest assignment is no less likely.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.assignment import USUAL
from invdesign.composition.batch import CompositionBatch
from invdesign.composition.state_likelihood import ORDER, is_nonmetal, plain_shares
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS

MOST_KINDS = 5  # elements; the products grow as the power of their number
CHUNK = 2048
_LEAST = USUAL * (1 + 1e-9)  # as the search adds logarithms
Flags = NDArray[np.bool_]


def plainly_usual(batch: CompositionBatch) -> Flags:
    """Which compositions have usual states, an element one each, or none to have, (n,); others may have."""
    usual = np.zeros(len(batch), dtype=bool)
    kinds = (batch.numbers > 0).sum(axis=1)
    for n in range(1, MOST_KINDS + 1):
        rows = np.flatnonzero(kinds == n)
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            usual[some] = _usual(batch.numbers[some], batch.amounts[some], n)
    return usual


def _usual(numbers: NDArray[np.uint8], amounts: NDArray[np.int32], kinds: int) -> Flags:
    """As :func:`plainly_usual`, of compositions (n, k) of so many elements."""
    ranks, nonmetal = _order()
    order = np.argsort(ranks[numbers], axis=1, kind="stable")[:, -kinds:]
    numbers = np.take_along_axis(numbers, order, axis=1)
    amounts = np.take_along_axis(amounts, order, axis=1)
    last = numbers[:, -1]
    states, shares = _states()
    charge, share = np.zeros((len(numbers), 1), dtype=np.int64), np.ones((len(numbers), 1))
    negative = np.zeros((len(numbers), 1), dtype=bool)
    for place in range(kinds):
        own, gain = states[numbers[:, place], last], shares[numbers[:, place], last]
        after = negative[:, :, None]
        likely = np.where(after & (own > 0)[:, None], 0.0, share[:, :, None] * gain[:, None])
        total = charge[:, :, None] + (own * amounts[:, place, None])[:, None]
        after = after | (own < 0)[:, None]
        found = (likely >= _LEAST).any(axis=0)
        share, charge = likely[:, found], total[:, found]
        negative = np.broadcast_to(after, likely.shape)[:, found]
    neutral = (share >= _LEAST) & (charge == 0) & negative
    return np.asarray(neutral.any(axis=1) | ~nonmetal[last] | (kinds == 1))


@lru_cache(maxsize=1)
def _order() -> tuple[NDArray[np.int64], Flags]:
    """Place by electropositivity, the padding first, and which are no metals, by atomic number."""
    ranks = np.array([-1, *(ORDER[symbol] for symbol in SYMBOLS[1:])])
    return ranks, np.array([False, *map(is_nonmetal, SYMBOLS[1:])])


@lru_cache(maxsize=1)
def _states() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """States and their shares by atomic number of the element and of the most electronegative one."""
    table = {
        (ATOMIC_NUMBER[symbol], ATOMIC_NUMBER[beside]): [
            (state, share) for state, share in plain_shares(symbol, beside).items() if share >= _LEAST
        ]
        for symbol in ORDER
        for beside in filter(is_nonmetal, ORDER)
        if ORDER[symbol] <= ORDER[beside]
    }
    width = max(map(len, table.values()))
    states = np.zeros((len(SYMBOLS), len(SYMBOLS), width), dtype=np.int64)
    shares = np.zeros(states.shape)
    for (z, last), own in table.items():
        if own:
            states[z, last, : len(own)], shares[z, last, : len(own)] = zip(*own, strict=True)
    return states, shares
