"""Spaces of compositions: every formula exactly once, each with a place, read from any place.

The order: fewer elements first; then chemical systems, lexicographic in their elements by electronegativity
(the required ones, which all share, left out); then stoichiometries, by atoms and then lexicographically.
A place is found by counting, so that a space of 10^10 formulas costs no more than one of ten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from invdesign.composition.batch import MOST_ATOMS, CompositionBatch
from invdesign.composition.families import FAMILIES, members
from invdesign.core.target_parser import amounts_of, range_of, symbols_of, words_of
from invdesign.crystal.elements import ATOMIC_NUMBER, EXCLUDED_BY_DEFAULT, SYMBOLS, element_table
from invdesign.errors import InputError

Integers = NDArray[np.int64]

MOST_ELEMENTS = 10
_MOST_STOICHIOMETRIES = 2_000_000  # of one number of elements: 160 MB while they are sorted


def _range(value: Any) -> Any:  # noqa: ANN401 - whatever YAML or a caller holds
    return value if value is None else range_of(value, "n_elements")


def _types(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever YAML or a caller holds
    texts = [value] if isinstance(value, str) else value
    pieces = [piece for text in texts for piece in text.replace(",", " ").split()]
    for piece in pieces:
        amounts_of(piece, "anonymous")
    return tuple(pieces)


Symbols = Annotated[
    frozenset[str],
    BeforeValidator(lambda value: symbols_of(value, "elements")),
    PlainSerializer(sorted, return_type=list[str]),  # the same text in every process
]


class Space(BaseModel):
    """Compositions in smallest whole amounts. Texts such as ``"Cu,Zn"``, ``"2..4"``, ``"ABX3"`` are read.

    Attributes:
        elements: allowed; none given: every one that is not excluded by default
            (:data:`EXCLUDED_BY_DEFAULT`). Those of the other fields always belong to it.
        n_elements: fewest and most elements; 2 to 4, or what the anonymous formulas have.
        max_atoms: most atoms of the reduced formula; 12, or what the anonymous formulas have.
        anonymous: formula types such as ``ABX3``: letters are distinct elements, in every order; no others.
        cations: elements of the positive part; where only anions are given, every other element.
        anions: elements of the negative part; where only cations are given, every other element.
            With either, each formula has at least one cation and one anion, not the same, and an
            element in both lists may be either. Charge balance is not checked here.
        required: elements that every formula has; of a family one of its elements.

    Raises:
        InputError: (inside pydantic's ValidationError) no formula is left, or fields contradict each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: Symbols = frozenset()
    n_elements: Annotated[tuple[int, int] | None, BeforeValidator(_range)] = None
    max_atoms: int | None = Field(None, ge=1, le=MOST_ATOMS)
    anonymous: Annotated[tuple[str, ...], BeforeValidator(_types)] = ()
    cations: Symbols = frozenset()
    anions: Symbols = frozenset()
    required: Annotated[
        frozenset[str],
        BeforeValidator(lambda value: words_of(value, "required")),
        PlainSerializer(sorted, return_type=list[str]),
    ] = frozenset()

    @model_validator(mode="after")
    def _consistent(self) -> Space:
        fewest, most = self.n_elements or (2, 4)
        if not 1 <= fewest <= most <= MOST_ELEMENTS:
            raise InputError(
                f"n_elements: {fewest}..{most} is not within 1..{MOST_ELEMENTS}; write one such as 2..4."
            )
        if self.cations and self.anions and (rest := self.pool - self.cations - self.anions):
            raise InputError(
                f"elements: {', '.join(sorted(rest))} neither cation nor anion; make it one or drop it."
            )
        self._check_types()
        if not self._parts:
            raise InputError(
                "space: no formula has all that is asked for; allow more elements, atoms or types."
            )
        if self._parts[-1].end >= 2**63:
            raise InputError(
                f"space: {self._parts[-1].end:.1e} formulas are too many; ask for fewer elements or atoms."
            )
        return self

    def _check_types(self) -> None:
        for text in self.anonymous:
            amounts = amounts_of(text, "anonymous")
            fewest, most = self.n_elements or (1, MOST_ELEMENTS)
            atoms = sum(amounts.values())
            if not fewest <= len(amounts) <= most:
                raise InputError(
                    f"anonymous: {text} has {len(amounts)} elements, not {fewest} to {most}; change either."
                )
            if atoms > (limit := self.max_atoms or MOST_ATOMS):
                raise InputError(
                    f"anonymous: {text} has {atoms} atoms, more than {limit}; change it or max_atoms."
                )

    @cached_property
    def _families(self) -> list[frozenset[str]]:
        """The elements of each required family that no required element represents."""
        found = (members([name]) for name in sorted(self.required & FAMILIES.keys()))
        return [elements for elements in found if elements.isdisjoint(self._required)]

    @cached_property
    def _required(self) -> frozenset[str]:
        return self.required - FAMILIES.keys()

    @property
    def pool(self) -> frozenset[str]:
        """Return every allowed element."""
        named = self.cations | self.anions | self._required
        if self.elements:
            return self.elements | named
        if self.cations and self.anions:
            return named
        return named | (frozenset(SYMBOLS[1:]) - EXCLUDED_BY_DEFAULT)

    def __len__(self) -> int:
        """Return the number of formulas, counted without enumerating them."""
        return self._parts[-1].end

    def batches(
        self, start: int = 0, stop: int | None = None, size: int = 8192
    ) -> Iterator[CompositionBatch]:
        """Yield formulas at the places ``start`` to ``stop``, in order.

        A batch has formulas of one number of elements and ends at a multiple of ``size`` at the latest, so
        that the batches of a part are those of the whole.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        for part in self._parts:
            first, last = max(start, part.start), min(stop, part.end)
            while first < last:
                end = min(first // size * size + size, last)
                yield part.formulas(first, end)
                first = end

    def shard(self, i: int, n: int) -> range:
        """Places of the ``i``-th of ``n`` shards, from 1: contiguous, all of one size or one more.

        Raises:
            InputError: there is no such shard.
        """
        return shard_of(len(self), i, n)

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        types = [tuple(amounts_of(text, "anonymous").values()) for text in self.anonymous]
        fewest, most = self.n_elements or ((1, MOST_ELEMENTS) if types else (2, 4))
        parts: list[_Part] = []
        for k in range(max(fewest, len(self._required)), most + 1):
            amounts = _of_types(types, k) if types else _stoichiometries(k, self.max_atoms or 12)
            systems = self._systems(k)
            if systems.count and len(amounts):
                parts.append(_Part(systems, amounts, parts[-1].end if parts else 0))
        return tuple(parts)

    def _systems(self, k: int) -> _Systems:
        cations, anions = self.cations, self.anions
        if not (cations or anions):
            cations = anions = self.pool
        cations, anions = cations or self.pool - anions, anions or self.pool - cations
        scale = element_table()["electronegativity"]
        order = sorted((ATOMIC_NUMBER[symbol] for symbol in self.pool), key=lambda z: (scale[z], SYMBOLS[z]))
        sets = [cations, anions, *self._families]
        roles = np.array([sum((SYMBOLS[z] in one) << i for i, one in enumerate(sets)) for z in order])
        fixed = np.array([SYMBOLS[z] in self._required for z in order])
        alone = k == 1 and bool(self.cations or self.anions)  # one element cannot be both parts
        return _Systems(k, np.array(order, dtype=np.uint8), roles, fixed, 2 ** len(sets) - 1, alone=alone)


@dataclass(frozen=True, slots=True)
class _Part:
    """The formulas of one number of elements: every system with every stoichiometry, from place ``start``."""

    systems: _Systems
    amounts: NDArray[np.int32]  # (m, k)
    start: int

    @property
    def end(self) -> int:
        return self.start + self.systems.count * len(self.amounts)

    def formulas(self, first: int, last: int) -> CompositionBatch:
        m = len(self.amounts)
        system, stoichiometry = np.divmod(np.arange(first - self.start, last - self.start), m)
        lowest = int(system[0])
        numbers = self.systems.at(np.arange(lowest, int(system[-1]) + 1))
        return CompositionBatch(numbers[system - lowest], self.amounts[stoichiometry])


class _Systems:
    """Sets of ``k`` elements with all the required ones and every role, numbered lexicographically.

    Args:
        k: elements of a system.
        order: (e,) atomic numbers, as formulas are written.
        roles: (e,) as bits, whether each may be a cation, an anion, of the first required family, and so on.
        fixed: (e,) which are required.
        full: the bits of all roles.
        alone: nothing can be a system.
    """

    def __init__(
        self,
        k: int,
        order: NDArray[np.uint8],
        roles: Integers,
        fixed: NDArray[np.bool_],
        full: int,
        *,
        alone: bool,
    ) -> None:
        self._order, self._fixed = order, np.flatnonzero(fixed)
        self._free = np.flatnonzero(~fixed)
        self._roles = roles[self._free]
        self._present = int(np.bitwise_or.reduce(roles[self._fixed], initial=0))
        self._chosen = k - len(self._fixed)
        self._before = _counted(self._roles, self._chosen, full)
        self.count = 0 if alone else int(self._before[self._chosen, self._present, -1])

    def at(self, places: Integers) -> NDArray[np.uint8]:
        """Atomic numbers (n, k) of the systems at some places, as formulas are written."""
        n = len(places)
        chosen = np.empty((n, self._chosen), dtype=np.int64)
        present = np.full(n, self._present)
        position = np.zeros(n, dtype=np.int64)
        left = places
        for column in range(self._chosen):
            before = self._before[self._chosen - column]
            for state in range(before.shape[0]):
                rows = np.flatnonzero(present == state)
                if len(rows):
                    sought = left[rows] + before[state, position[rows]]
                    found = np.searchsorted(before[state], sought, side="right") - 1
                    chosen[rows, column] = found
                    left[rows] = sought - before[state, found]
            present |= self._roles[chosen[:, column]]
            position = chosen[:, column] + 1
        fixed = np.broadcast_to(self._fixed, (n, len(self._fixed)))
        indices = np.concatenate([self._free[chosen], fixed], axis=1)
        return cast("NDArray[np.uint8]", self._order[np.sort(indices, axis=1)])


def _counted(roles: Integers, most: int, full: int) -> Integers:
    """How many choices of r elements, from the roles already there, begin before element i: (r, role, i)."""
    n = len(roles)
    ways = np.zeros((most + 1, full + 1, n + 1), dtype=np.int64)  # of choosing among the elements from i on
    ways[0, full] = 1
    for i in range(n - 1, -1, -1):
        for state in range(full + 1):
            ways[1:, state, i] = ways[1:, state, i + 1] + ways[:-1, state | int(roles[i]), i + 1]
    before = ways[:, :, :1] - ways
    before[0] = ways[0]
    return before


def _stoichiometries(k: int, max_atoms: int) -> NDArray[np.int32]:
    """Amounts (m, k) of up to so many atoms without a common divisor, by atoms and then lexicographically.

    Raises:
        InputError: too many.
    """
    if math.comb(max_atoms, k) > _MOST_STOICHIOMETRIES:
        raise InputError(
            f"max_atoms: {k} elements in {max_atoms} atoms: too many stoichiometries; allow fewer atoms."
        )
    rows = np.zeros((1, 0), dtype=np.int32)
    for column in range(k):
        room = max_atoms - rows.sum(axis=1, dtype=np.int64) - (k - column - 1)
        room = room.clip(min=0)
        ends = room.cumsum()
        amount = np.arange(ends[-1]) - np.repeat(ends - room, room) + 1
        rows = np.column_stack([np.repeat(rows, room, axis=0), amount.astype(np.int32)])
        if not len(rows):
            return np.zeros((0, k), dtype=np.int32)
    return _ordered(rows[np.gcd.reduce(rows, axis=1) == 1])


def _of_types(types: list[tuple[int, ...]], k: int) -> NDArray[np.int32]:
    """Every order of the amounts of the formula types with k elements."""
    orders: set[tuple[tuple[int, ...], tuple[int, ...]]]  # what is left to place, what is placed
    orders = {(amounts, ()) for amounts in types if len(amounts) == k}
    for _ in range(k):
        orders = {
            (left[:i] + left[i + 1 :], (*placed, left[i]))
            for left, placed in orders
            for i in range(len(left))
        }
    rows = {placed for _, placed in orders}
    return _ordered(np.array(sorted(rows), dtype=np.int32).reshape(-1, k))


def _ordered(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    keys = (*(rows[:, column] for column in range(rows.shape[1] - 1, -1, -1)), rows.sum(axis=1))
    return rows[np.lexsort(keys)]


def shard_of(count: int, i: int, n: int) -> range:
    """Return the ``i``-th of ``n`` contiguous parts, from 1.

    Raises:
        InputError: there is no such shard.
    """
    if not 1 <= i <= n:
        raise InputError(f"shard: {i}/{n} is none; give 1/{max(n, 1)} to {max(n, 1)}/{max(n, 1)}.")
    return range((i - 1) * count // n, i * count // n)
