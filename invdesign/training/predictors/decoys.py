"""Made-up compositions beside known ones, to tell real compounds from: nobody has reported them.

Some of them may exist all the same; a model that is taught that they do not is a little too strict.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.oxidation_states import ChargeRules
from invdesign.crystal.elements import SYMBOLS
from invdesign.filters.charge_balance_batch import charge_verdicts
from invdesign.predictors.stability.analogues import composition_keys

WAYS = ("stoichiometry", "enumerated", "elements")
"""The same elements in the stoichiometry of another compound; in any with up to 12 atoms; its stoichiometry
with other elements, drawn as often as compounds have them."""
KINDS = tuple(product(WAYS, (False, True)))
"""Way, and whether only those count whose charges balance by usual oxidation states, or all-metal ones."""
USUAL = ChargeRules(commonality="medium")
"""Oxidation states with at least a tenth of the element's reports: a quarter of the decoys pass."""
_MOST_ATOMS = 12
_TRIES = 15


def decoys(
    kind: tuple[str, bool],
    real: CompositionBatch,
    known: CompositionBatch,
    times: int,
    rng: np.random.Generator,
) -> tuple[CompositionBatch, NDArray[np.int64]]:
    """Compositions that are not known, ``times`` for each real one where so many are found.

    Args:
        kind: one of ``KINDS``.
        real: what they are made after.
        known: what none of them may be; its stoichiometries and elements are drawn from.
        times: how many.
        rng: source of chance.

    Returns:
        The decoys (with repeats), and which real one each is of.
    """
    way, neutral = kind
    of = np.repeat(np.arange(len(real)), times)
    numbers, amounts = real.numbers[of].copy(), real.amounts[of].copy()
    size, taken = (amounts > 0).sum(axis=1), composition_keys(known)
    todo = np.arange(len(of))
    for _ in range(_TRIES):
        for k in np.unique(size[todo]).tolist():
            rows = todo[size[todo] == k]
            if way == "elements":
                numbers[rows, :k] = _elements(known, len(rows), k, rng)
            elif way == "stoichiometry":
                amounts[rows, :k] = _stoichiometries(known, len(rows), k, rng)
            else:
                amounts[rows, :k] = _small(len(rows), k, rng)
        made = CompositionBatch(numbers[todo], amounts[todo])
        passed = ~np.isin(composition_keys(made), taken)
        if neutral:
            passed &= charge_verdicts(made, USUAL) > 0
        todo = todo[~passed]
        if not len(todo):
            break
    kept = np.ones(len(of), dtype=bool)
    kept[todo] = False
    return CompositionBatch(numbers[kept], amounts[kept]), of[kept]


def _elements(known: CompositionBatch, n: int, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw k different elements n times, as often as the known compounds have them (Gumbel's trick)."""
    often = np.bincount(known.numbers[known.amounts > 0], minlength=len(SYMBOLS)).astype(float)
    with np.errstate(divide="ignore"):
        score = np.log(often) + rng.gumbel(size=(n, len(SYMBOLS)))
    return np.argsort(-score, axis=1)[:, :k]


def _stoichiometries(known: CompositionBatch, n: int, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Those of known compounds of k elements, in any order, n times."""
    pool = np.flatnonzero((known.amounts > 0).sum(axis=1) == k)
    return rng.permuted(known.amounts[rng.choice(pool, n), :k], axis=1)


def _small(n: int, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Any of up to 12 atoms (of many elements k + 2), in smallest whole numbers, n times."""
    most = max(_MOST_ATOMS, k + 2)
    drawn = np.zeros((n, k), dtype=np.int32)
    left = np.arange(n)
    while len(left):
        drawn[left] = rng.integers(1, most - k + 2, (len(left), k))
        left = left[(drawn[left].sum(axis=1) > most) | (np.gcd.reduce(drawn[left], axis=1) > 1)]
    return drawn
