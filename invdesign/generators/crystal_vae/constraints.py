"""What a prompt leaves open while a gene is written orbit by orbit, letters ascending.

An exact recursion over the letters that are still to come says which choices can be completed as the prompt
asks; no path of choices that keeps to it ends without a gene. (``feasibility`` says the same for orbits in
any order, of which the number is known.)
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.crystal.elements import SYMBOLS
from invdesign.data.tokens import LETTERS
from invdesign.generators.gene_diffusion.constraints import Prompt
from invdesign.generators.geometry.sites import N_GROUPS, site_tables

Mask = NDArray[np.bool_]

Amounts = tuple[int, ...]
"""Atoms still to be placed, of each element, ascending."""

_CACHED = 1 << 18
STOP = 0


class Draft:
    """A gene being written; what it may go on with.

    Args:
        prompt: what is asked for.
        group: its space group, one of ``possible_groups(prompt)``.
    """

    def __init__(self, prompt: Prompt, group: int) -> None:
        self.prompt, self.group = prompt, group
        self.first = 1  # the least letter that may come
        self.n_atoms = 0
        self.present: set[int] = set()

    def letters(self) -> Mask:
        """(28,) letters of the next orbit, ``STOP`` where the gene may end."""
        _, number = self.prompt.missing(self.present)
        return _letters(self.group, self.first, self.n_atoms, number, _window(self.prompt))

    def elements(self, letter: int) -> Mask:
        """(104,) elements on that letter."""
        size, first = _after(self.group, letter)
        missing, number = self.prompt.missing(self.present)
        rest = (self.group, first, self.n_atoms + size, number, _window(self.prompt))
        return _mask(self.prompt.elements if _completable(*rest) else missing, len(SYMBOLS))

    def take(self, letter: int, element: int, rng: np.random.Generator) -> None:  # noqa: ARG002 - not here
        """Write one orbit; ``rng`` decides what letter and element leave open."""
        size, self.first = _after(self.group, letter)
        self.n_atoms += size
        self.present.add(element)


class StoichiometricDraft(Draft):
    """A gene that must have a formula, or a formula type: a new element then claims one of the amounts."""

    def __init__(self, prompt: Prompt, group: int, units: int) -> None:
        super().__init__(prompt, group)
        self.left = {element: units * amount for element, amount in prompt.formula or ()}
        self.unclaimed = [units * amount for amount in prompt.amounts or ()] if not self.left else []

    def letters(self) -> Mask:  # noqa: D102
        return _letters_filling(self.group, self.first, _ascending([*self.left.values(), *self.unclaimed]))

    def elements(self, letter: int) -> Mask:  # noqa: D102
        known = {element for element in self.left if self._fits(letter, self.left[element])}
        if any(self._fits(letter, amount) for amount in set(self.unclaimed)):
            missing, number = self.prompt.missing(self.left)
            new = missing if number >= len(self.unclaimed) else self.prompt.elements
            known |= new - self.left.keys()
        return _mask(known, len(SYMBOLS))

    def take(self, letter: int, element: int, rng: np.random.Generator) -> None:  # noqa: D102
        if element not in self.left:
            fitting = [amount for amount in self.unclaimed if self._fits(letter, amount)]
            self.left[element] = int(rng.choice(fitting))
            self.unclaimed.remove(self.left[element])
        size, self.first = _after(self.group, letter)
        self.left[element] -= size

    def _fits(self, letter: int, amount: int) -> bool:
        """Whether an element that lacks ``amount`` atoms may take the letter."""
        size, first = _after(self.group, letter)
        if size > amount:
            return False
        amounts = [*self.left.values(), *self.unclaimed]
        amounts.remove(amount)
        return _fillable(self.group, first, _ascending([*amounts, amount - size]))


@lru_cache(maxsize=64)
def possible_groups(prompt: Prompt) -> Mask:
    """(231,) space groups in which there is a gene for the prompt."""
    if _amounts(prompt):
        return _mask({group for group in prompt.groups if _units(prompt, group)}, N_GROUPS)
    rest = (1, 0, prompt.n_required, _window(prompt))
    return _mask({group for group in prompt.groups if _completable(group, *rest)}, N_GROUPS)


def start(prompt: Prompt, group: int, rng: np.random.Generator) -> Draft:
    """Return an empty gene; the number of formula units, where there is a choice, is drawn."""
    if _amounts(prompt):
        return StoichiometricDraft(prompt, group, int(rng.choice(_units(prompt, group))))
    return Draft(prompt, group)


def _amounts(prompt: Prompt) -> Amounts:
    return tuple(amount for _, amount in prompt.formula or ()) or tuple(prompt.amounts or ())


def _units(prompt: Prompt, group: int) -> list[int]:
    """Numbers of formula units that the group has places for."""
    units = [size // prompt.unit for size in prompt.sizes]
    return [n for n in units if _fillable(group, 1, _ascending([n * amount for amount in _amounts(prompt)]))]


def _window(prompt: Prompt) -> tuple[int, int]:
    return prompt.n_atoms


@cache
def _positions(group: int) -> tuple[tuple[int, bool], ...]:
    """By letter: atoms in the primitive cell, 0 where the group lacks it, and whether it is taken once."""
    tables = site_tables()
    once = ~tables.free[group].any(-1)
    return tuple(zip(tables.count[group].tolist(), once.tolist(), strict=True))


def _after(group: int, letter: int) -> tuple[int, int]:
    """Atoms of an orbit, and the least letter that may follow it."""
    size, once = _positions(group)[letter]
    return size, letter + once


@lru_cache(maxsize=_CACHED)
def _completable(group: int, first: int, n_atoms: int, missing: int, window: tuple[int, int]) -> bool:
    """Whether at least ``missing`` more orbits from the letter ``first`` on can end within the window."""
    fewest, most = window
    if missing == 0 and fewest <= n_atoms <= most:
        return True
    for letter in range(first, len(LETTERS)):
        size, follow = _after(group, letter)
        rest = (n_atoms + size, max(missing - 1, 0), window)
        if 0 < size <= most - n_atoms and _completable(group, follow, *rest):
            return True
    return False


@lru_cache(maxsize=_CACHED)
def _fillable(group: int, first: int, amounts: Amounts) -> bool:
    """Whether orbits from the letter ``first`` on can place all of the atoms."""
    if not amounts:
        return True
    for letter in range(first, len(LETTERS)):
        size, follow = _after(group, letter)
        for i, amount in enumerate(amounts):
            rest = _ascending([*amounts[:i], amount - size, *amounts[i + 1 :]])
            if 0 < size <= amount and amount not in amounts[:i] and _fillable(group, follow, rest):
                return True
    return False


@lru_cache(maxsize=_CACHED)
def _letters(group: int, first: int, n_atoms: int, missing: int, window: tuple[int, int]) -> Mask:
    mask = np.zeros(len(LETTERS), dtype=bool)
    for letter in range(first, len(LETTERS)):
        size, follow = _after(group, letter)
        rest = (n_atoms + size, max(missing - 1, 0), window)
        mask[letter] = size > 0 and _completable(group, follow, *rest)
    mask[STOP] = missing == 0 and window[0] <= n_atoms
    return mask


@lru_cache(maxsize=_CACHED)
def _letters_filling(group: int, first: int, amounts: Amounts) -> Mask:
    mask = np.zeros(len(LETTERS), dtype=bool)
    for letter in range(first, len(LETTERS)):
        size, follow = _after(group, letter)
        mask[letter] = any(
            0 < size <= amount
            and _fillable(group, follow, _ascending([*amounts[:i], amount - size, *amounts[i + 1 :]]))
            for i, amount in enumerate(amounts)
        )
    mask[STOP] = not amounts
    return mask


def _ascending(amounts: list[int]) -> Amounts:
    return tuple(sorted(amount for amount in amounts if amount))


def _mask(indices: set[int] | frozenset[int], length: int) -> Mask:
    mask = np.zeros(length, dtype=bool)
    mask[list(indices)] = True
    return mask
