"""Formulas from a known one by ion substitution: the same charges, the most probable first."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import prod

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.assignment import single_states
from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import reduced_amounts
from invdesign.composition.oxidation_states import oxidation_tables
from invdesign.crystal.elements import ATOMIC_NUMBER, EXCLUDED_BY_DEFAULT, SYMBOLS
from invdesign.errors import InputError
from invdesign.generators.substitution.ion_exchange import substitution_table
from invdesign.generators.substitution.parents import sensible

Choice = tuple[float, int]  # probability that an ion becomes, or stays, an element


def substitute_ions(formula: str, n: int = 10_000) -> tuple[CompositionBatch, NDArray[np.float64]]:
    """Return compositions with the ions of a known compound substituted, and their probabilities.

    The probabilities are products over the ions of those of ``ion-exchange``. At least one ion is replaced,
    no two become one element, every cation stays more electropositive than every anion, and elements excluded
    by default are used only if the compound has them. A composition that is reached in two ways has the
    larger probability.

    Args:
        formula: the known compound, of one oxidation state an element.
        n: most compositions.

    Returns:
        The compositions and their probabilities (n,), descending.

    Raises:
        InputError: no formula, no neutral oxidation states, or an ion without statistics.
    """
    amounts = reduced_amounts(formula)
    states = single_states(amounts)
    if states is None:
        raise InputError(
            f"like: no oxidation states, one an element, make {formula} neutral; give an ionic compound."
        )
    numbers = [ATOMIC_NUMBER[symbol] for symbol in states]
    charges = np.array(list(states.values()))
    counts = [amounts[symbol] for symbol in states]
    choices = [_choices(z, charge, numbers) for z, charge in zip(numbers, charges.tolist(), strict=True)]
    found: dict[frozenset[tuple[int, int]], float] = {}
    for probability, elements in _best_first(choices):
        if len(found) == n:
            break
        if elements != numbers and sensible(elements, charges):
            found.setdefault(frozenset(zip(elements, counts, strict=True)), probability)
    texts = ["".join(f"{SYMBOLS[z]}{count}" for z, count in pairs) for pairs in found]
    return CompositionBatch.of(texts)[0], np.array(list(found.values()), dtype=np.float64)


def _choices(number: int, charge: int, present: list[int]) -> list[Choice]:
    """Return the elements that may replace an ion, the most probable first."""
    ions, becomes = substitution_table()
    if (number, charge) not in ions:
        sign = "+" if charge > 0 else "-"
        raise InputError(
            f"like: there are no substitution statistics of {SYMBOLS[number]}{abs(charge)}{sign}; "
            "give another compound."
        )
    scale = oxidation_tables().electronegativity
    open_ = scale.keys() - EXCLUDED_BY_DEFAULT | {SYMBOLS[z] for z in present}
    row = becomes[ions[number, charge]].tolist()
    choices = [(p, z) for z, p in enumerate(row) if p > 0 and SYMBOLS[z] in open_]
    return sorted(choices, key=lambda choice: (-choice[0], choice[1]))


def _best_first(choices: list[list[Choice]]) -> Iterator[tuple[float, list[int]]]:
    """Yield each combination of one choice per ion once, by descending product."""
    heap = [(-_product(choices, (0,) * len(choices)), (0,) * len(choices))]
    while heap:
        negative, places = heappop(heap)
        yield -negative, [row[place][1] for row, place in zip(choices, places, strict=True)]
        # advance one ion, none before the last that has moved: so each combination is reached in one way
        last = max((i for i, place in enumerate(places) if place), default=0)
        for i in range(last, len(places)):
            if places[i] + 1 < len(choices[i]):
                moved = (*places[:i], places[i] + 1, *places[i + 1 :])
                heappush(heap, (-_product(choices, moved), moved))


def _product(choices: list[list[Choice]], places: tuple[int, ...]) -> float:
    return prod(row[place][0] for row, place in zip(choices, places, strict=True))
