"""Oxidation states of the elements as arrays by atomic number, and the codes of a charge balance.

The total charges that some atoms reach are the bits of one 64-bit word, bit q for charge q.
"""

from collections.abc import Collection
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.oxidation_states import OxidationTables, states_of
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

BITS = 64
"""Charges that a word holds: 0 to 63."""
_SIGNS = (1, -1, 0)


class ChargeCode(IntEnum):
    """Outcome of the charge balance of a composition; those above zero pass."""

    NO_ELECTRONEGATIVITY = -3
    UNKNOWN_STATES = -2
    AGAINST_ELECTRONEGATIVITY = -1
    """Neutral only with a cation at least as electronegative as an anion."""
    NOT_NEUTRAL = 0
    NEUTRAL = 1
    MIXED_VALENCE = 2
    INTERMETALLIC = 3
    METALLIC = 4
    """By smact's metallicity score."""
    SINGLE_ELEMENT = 5


class ElementArrays(NamedTuple):
    """The tables by atomic number (104); 0 is padding, which changes no sum and comes last."""

    rank: NDArray[np.uint8]  # place by electronegativity
    scale: NDArray[np.float64]  # electronegativity; inf for the padding, nan where there is none
    known: Flags
    metal: Flags
    mixed: Flags
    n_states: NDArray[np.float64]
    furthest: Ints  # (3, 104): largest charge (times the sign) of an atom by sign; lowest state for sign 0
    words: Words  # (mixed, 3, 104, 65): charges reached by so many atoms, above the lowest for sign 0


_NEVER = 1_000_000  # minus this is the charge of an element without states of a sign


@lru_cache(maxsize=16)
def element_arrays(tables: OxidationTables) -> ElementArrays:
    """Tables of oxidation states as arrays."""
    size = len(SYMBOLS)
    scale = np.full(size, np.nan)
    scale[0] = np.inf
    for symbol, value in tables.electronegativity.items():
        scale[ATOMIC_NUMBER[symbol]] = value
    rank = np.empty(size, dtype=np.uint8)
    by_scale = sorted(range(1, size), key=lambda z: (np.nan_to_num(scale[z], nan=np.inf), SYMBOLS[z]))
    rank[[*by_scale, 0]] = np.arange(size)
    flags = np.ones((3, size), dtype=bool)
    for flag, names in zip(flags, (tables.states, tables.metals, tables.mixed), strict=True):
        flag[1:] = [symbol in names for symbol in SYMBOLS[1:]]
    flags[2, 0] = False
    n_states = np.array([1.0, *(len(tables.states.get(symbol, ())) for symbol in SYMBOLS[1:])])
    furthest = np.zeros((3, size), dtype=np.int64)
    words = np.zeros((2, 3, size, BITS + 1), dtype=np.uint64)
    words[:, :, 0] = 1
    for symbol in tables.states:
        z = ATOMIC_NUMBER[symbol]
        for place, sign in enumerate(_SIGNS):
            charges, lowest = _element_charges(tables, symbol, sign)
            furthest[place, z] = max(charges, default=-_NEVER) if sign else lowest
            for mixed in (False, True):
                words[int(mixed), place, z] = _small_words(charges, mixed=mixed and symbol in tables.mixed)
    known, metal, mixed_kinds = flags
    return ElementArrays(rank, scale, known, metal, mixed_kinds, n_states, furthest, words)


def _element_charges(tables: OxidationTables, symbol: str, sign: int) -> tuple[tuple[int, ...], int]:
    """Charges of one atom times the sign, or above the lowest state for sign 0, and that lowest state."""
    states = states_of(tables, symbol, sign)
    if sign:
        return tuple(state * sign for state in states), 0
    return tuple(state - min(states) for state in states), min(states)


def _small_words(charges: tuple[int, ...], *, mixed: bool) -> list[int]:
    """Charges up to 63 that 0 to 64 atoms reach; 64 stands for more, which no charge but zero lets be."""
    every = (1 << BITS) - 1
    if not mixed:
        sums = ({charge * atoms for charge in charges} for atoms in range(BITS + 1))
        return [_shifted(1, some) & every for some in sums]
    own = [1] if charges else [0]
    for _ in range(BITS):
        own.append(_shifted(own[-1], charges) & every)
    return own


def _shifted(word: int, charges: Collection[int]) -> int:
    total = 0
    for charge in charges:
        total |= word << charge
    return total
