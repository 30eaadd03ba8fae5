"""Which choices leave a gene that can still be completed as the prompt asks.

A gene in the making has a space group and orbits, each with or without its element and its letter. The
rules here say, by an exact recursion over what is still open, which letters and which elements an orbit
may take such that the rest can be filled; no path of choices that keeps to them ends without a gene.
All results are cached on small states: multiplicities in place of letters, amounts in place of elements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.core.target import MAX_ATOMS
from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.wyckoff import wyckoff_table
from invdesign.data.tokens import LETTERS

Mask = NDArray[np.bool_]

Supply = tuple[tuple[int, int], ...]
"""(multiplicity in the primitive cell, orbits that it has room for), ascending."""
Demands = tuple[tuple[int, int], ...]
"""(atoms that an element lacks, orbits that have the element but no letter)."""

_CACHED = 1 << 18
_ELEMENTS = frozenset(range(1, len(SYMBOLS)))
_GROUPS = frozenset(range(1, 231))


@dataclass(frozen=True)
class Prompt:
    """What every sampled gene must satisfy.

    Attributes:
        groups: allowed space groups.
        elements: allowed atomic numbers.
        required: atomic numbers that must occur.
        one_of: sets of atomic numbers of each of which one must occur, without the required ones.
        n_atoms: fewest and most atoms in the primitive cell.
        formula: (atomic number, atoms) of the reduced formula.
        amounts: atoms of each element in the reduced formula, where the elements are open (``ABC3``).
    """

    groups: frozenset[int] = _GROUPS
    elements: frozenset[int] = _ELEMENTS
    required: frozenset[int] = frozenset()
    one_of: tuple[frozenset[int], ...] = ()
    n_atoms: tuple[int, int] = (1, MAX_ATOMS)
    formula: tuple[tuple[int, int], ...] | None = None
    amounts: tuple[int, ...] | None = None

    @cached_property
    def unit(self) -> int:
        """Atoms of one formula unit, 1 where no formula is asked for."""
        return sum(amount for _, amount in self.formula or ()) or sum(self.amounts or (1,))

    @property
    def n_required(self) -> int:
        """Number of elements that must occur."""
        return len(self.required) + len(self.one_of)

    def missing(self, present: Collection[int]) -> tuple[frozenset[int], int]:
        """Return the elements of which one must still come, and how many of them have to."""
        required = self.required.difference(present)
        unmet = [elements for elements in self.one_of if elements.isdisjoint(present)]
        return required.union(*unmet), len(required) + len(unmet)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of atoms that the formula and the window of atoms allow."""
        fewest, most = self.n_atoms
        return tuple(n for n in range(fewest, most + 1) if n % self.unit == 0)


@dataclass
class PartialGene:
    """A gene in the making: 0 for what is masked; no letter is known before the space group is.

    Attributes:
        amounts: element → atoms in the reduced formula, of the elements that have claimed their amount.
    """

    group: int
    elements: list[int]
    letters: list[int]
    amounts: dict[int, int] = field(default_factory=dict)

    @property
    def multiplicities(self) -> list[int]:
        """Of each orbit, 0 where its letter is open."""
        return [_positions(self.group)[letter][0] if letter else 0 for letter in self.letters]

    @property
    def masked(self) -> bool:
        """Whether an element, or a letter of the known space group, is left to be drawn."""
        return 0 in self.elements or (self.group > 0 and 0 in self.letters)


class Rules:
    """The choices that a prompt leaves; formula and anonymous formula are those of ``StoichiometryRules``."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self._window = sum(1 << n for n in prompt.sizes)
        self._allowed = _mask(prompt.elements, len(SYMBOLS))

    def start(self, group: int, size: int) -> PartialGene:
        """Return a gene of so many orbits of which nothing else is known."""
        return PartialGene(group, [0] * size, [0] * size)

    @cached_property
    def plans(self) -> Mask:
        """(MAX_ATOMS + 1, 231) the space groups in which a gene of so many orbits exists."""
        table = np.zeros((MAX_ATOMS + 1, 231), dtype=bool)
        for group in self.prompt.groups:
            for size in range(1, self.prompt.n_atoms[1] + 1):
                table[size, group] = self._startable(group, size)
        return table

    elements_first = False
    """Whether elements are drawn before the space group."""

    def groups(self, draft: PartialGene) -> Mask:
        """(231,) space groups that the gene may take."""
        mask: Mask = self.plans[len(draft.elements)]
        return mask

    def letters(self, draft: PartialGene, slot: int) -> Mask:  # noqa: ARG002 - here an orbit is like any other
        """(28,) letters that the orbit may take."""
        taken = tuple(sorted(letter for letter in draft.letters if letter))
        return _letters_within(draft.group, taken, len(draft.letters), self._window)

    def elements(self, draft: PartialGene, slot: int) -> Mask:  # noqa: ARG002 - here an orbit is like any other
        """(104,) elements that the orbit may take."""
        missing, number = self.prompt.missing(draft.elements)
        return _mask(missing, len(SYMBOLS)) if number >= draft.elements.count(0) else self._allowed

    def claims(self, draft: PartialGene, slot: int, element: int) -> list[int]:  # noqa: ARG002 - no formula
        """Amounts in the formula of which an element new to the gene takes one; none without a formula."""
        return []

    def _startable(self, group: int, size: int) -> bool:
        room = totals(_supply(group, frozenset()), size) & self._window
        return bool(room) and self.prompt.n_required <= size


class StoichiometryRules(Rules):
    """The choices that a formula leaves: each element's orbits must add up to its atoms.

    Of an anonymous formula, an element that is drawn for the first time claims one of the amounts.
    """

    def __init__(self, prompt: Prompt) -> None:
        super().__init__(prompt)
        self._amounts = dict(prompt.formula or ())
        self._all_amounts = tuple(self._amounts.values()) or prompt.amounts or ()
        self._units = tuple(n // prompt.unit for n in prompt.sizes)
        self._supplies = tuple(sorted({_supply(group, frozenset()) for group in prompt.groups}))
        self.elements_first = prompt.formula is not None

    def start(self, group: int, size: int) -> PartialGene:  # noqa: D102
        return PartialGene(group, [0] * size, [0] * size, dict(self._amounts))

    def groups(self, draft: PartialGene) -> Mask:  # noqa: D102
        empty = [0] * len(draft.elements)
        fitting = {
            supply: self._completable(draft.elements, empty, draft.amounts, (supply,))
            for supply in self._supplies
        }
        return _mask([g for g in self.prompt.groups if fitting[_supply(g, frozenset())]], 231)

    def letters(self, draft: PartialGene, slot: int) -> Mask:  # noqa: D102
        multiplicities, mask = draft.multiplicities, np.zeros(len(LETTERS), dtype=bool)
        completable: dict[tuple[int, Supply], bool] = {}
        for letter, multiplicity, supply in _choices(draft.group, frozenset(draft.letters)):
            multiplicities[slot] = multiplicity
            if (multiplicity, supply) not in completable:
                completable[multiplicity, supply] = self._completable(
                    draft.elements, multiplicities, draft.amounts, (supply,)
                )
            mask[letter] = completable[multiplicity, supply]
        return mask

    def elements(self, draft: PartialGene, slot: int) -> Mask:  # noqa: D102
        known = [element for element in draft.amounts if self._takes(draft, slot, element, draft.amounts)]
        mask = _mask(known, len(SYMBOLS))
        missing, number = self.prompt.missing(draft.amounts)
        unclaimed = self._unclaimed(draft.amounts)
        if unclaimed and self.claims(draft, slot, _NEW):
            new = missing if number >= len(unclaimed) else self.prompt.elements
            mask[list(new - draft.amounts.keys())] = True
        return mask

    def claims(self, draft: PartialGene, slot: int, element: int) -> list[int]:  # noqa: D102
        if element in draft.amounts:
            return []
        unclaimed = self._unclaimed(draft.amounts)
        fitting = {
            amount: self._takes(draft, slot, element, {**draft.amounts, element: amount})
            for amount in set(unclaimed)
        }
        return [amount for amount in unclaimed if fitting[amount]]

    def _startable(self, group: int, size: int) -> bool:
        draft = self.start(group, size)
        supplies = (_supply(group, frozenset()),)
        return self._completable(draft.elements, draft.letters, draft.amounts, supplies)

    def _takes(self, draft: PartialGene, slot: int, element: int, amounts: dict[int, int]) -> bool:
        elements = [*draft.elements[:slot], element, *draft.elements[slot + 1 :]]
        supplies = (_supply(draft.group, frozenset(draft.letters)),) if draft.group else self._supplies
        return self._completable(elements, draft.multiplicities, amounts, supplies)

    def _unclaimed(self, amounts: dict[int, int]) -> list[int]:
        left = list(self._all_amounts)
        for amount in amounts.values():
            left.remove(amount)
        return left

    def _completable(
        self,
        elements: list[int],
        multiplicities: list[int],
        amounts: dict[int, int],
        supplies: tuple[Supply, ...],
    ) -> bool:
        """Whether some number of formula units can be reached with one of the supplies."""
        found = {element: [amount, 0, 0] for element, amount in amounts.items()}
        loose, whole = [], 0
        for element, multiplicity in zip(elements, multiplicities, strict=True):
            if element:
                found[element][1] += multiplicity
                found[element][2] += not multiplicity
            elif multiplicity:
                loose.append(multiplicity)
            else:
                whole += 1
        kinds = [*found.values(), *([amount, 0, 0] for amount in self._unclaimed(amounts))]
        return _reachable(
            tuple(sorted(map(tuple, kinds))), tuple(sorted(loose)), whole, self._units, supplies
        )


_NEW = -1  # stands for any element that the gene does not have yet


@lru_cache(maxsize=256)
def rules_of(prompt: Prompt) -> Rules:
    """Return the rules of a prompt."""
    return Rules(prompt) if prompt.formula is None and prompt.amounts is None else StoichiometryRules(prompt)


@lru_cache(maxsize=_CACHED)
def totals(supply: Supply, count: int) -> int:
    """Numbers of atoms that exactly ``count`` orbits can have, as the bits of an integer."""
    if count == 0:
        return 1
    if not supply:
        return 0
    (multiplicity, room), *rest = supply
    found = 0
    for used in range(min(room, count, MAX_ATOMS // multiplicity) + 1):
        found |= totals(tuple(rest), count - used) << (used * multiplicity)
    return found & ((1 << (MAX_ATOMS + 1)) - 1)


@lru_cache(maxsize=_CACHED)
def fits(demands: Demands, loose: tuple[int, ...], whole: int, supply: Supply) -> bool:
    """Whether orbits can meet every demand exactly, with none left over.

    Args:
        demands: what each element lacks.
        loose: multiplicities of the orbits that have a letter but no element.
        whole: orbits that have neither.
        supply: positions for the orbits without a letter.
    """
    if not demands:
        return whole == 0 and not loose
    (atoms, letterless), rest = demands[0], demands[1:]
    if atoms == 0:
        return letterless == 0 and fits(rest, loose, whole, supply)
    if letterless == 0:
        for i, multiplicity in enumerate(loose):
            if multiplicity <= atoms and multiplicity not in loose[:i]:
                others = loose[:i] + loose[i + 1 :]
                if fits(((atoms - multiplicity, 0), *rest), others, whole, supply):
                    return True
        if whole == 0:
            return False
        whole -= 1
    else:
        letterless -= 1
    return any(
        fits(((atoms - multiplicity, letterless), *rest), loose, whole, left)
        for multiplicity, left in _taken(supply)
        if multiplicity <= atoms
    )


@lru_cache(maxsize=_CACHED)
def _reachable(
    kinds: tuple[tuple[int, ...], ...],
    loose: tuple[int, ...],
    whole: int,
    units: tuple[int, ...],
    supplies: tuple[Supply, ...],
) -> bool:
    """Whether any number of formula units fits any of the supplies.

    ``kinds`` holds, for each element, its atoms in the formula, those it has, and its orbits without letter.
    """
    return any(
        _fillable(
            [(n * amount - atoms, letterless) for amount, atoms, letterless in kinds], loose, whole, supply
        )
        for n in units
        for supply in supplies
    )


def _fillable(demands: list[tuple[int, int]], loose: tuple[int, ...], whole: int, supply: Supply) -> bool:
    """``fits`` on the smallest equivalent state, after a look at the sum of atoms."""
    count = whole + sum(letterless for _, letterless in demands)
    missing = sum(atoms for atoms, _ in demands) - sum(loose)
    if missing < count or any(atoms < letterless for atoms, letterless in demands):
        return False
    most = max(atoms for atoms, _ in demands)
    needed = tuple((m, min(room, count)) for m, room in supply if m <= most)
    return bool(totals(needed, count) >> missing & 1) and fits(tuple(sorted(demands)), loose, whole, needed)


def _taken(supply: Supply) -> Iterator[tuple[int, Supply]]:
    """Each multiplicity with what is left after one orbit has taken it."""
    for i, (multiplicity, room) in enumerate(supply):
        left = ((multiplicity, room - 1),) if room > 1 else ()
        yield multiplicity, supply[:i] + left + supply[i + 1 :]


@cache
def _positions(group: int) -> dict[int, tuple[int, bool]]:
    """Letter (index in ``LETTERS``) → multiplicity in the primitive cell, and whether it is fixed."""
    return {
        LETTERS.index(letter): (len(position.primitive), not position.free)
        for letter, position in wyckoff_table(group).items()
    }


@lru_cache(maxsize=_CACHED)
def _supply(group: int, taken: frozenset[int]) -> Supply:
    room: dict[int, int] = {}
    for letter, (multiplicity, fixed) in _positions(group).items():
        if not (fixed and letter in taken) and multiplicity <= MAX_ATOMS:
            room[multiplicity] = min(MAX_ATOMS, room.get(multiplicity, 0) + (1 if fixed else MAX_ATOMS))
    return tuple(sorted(room.items()))


@lru_cache(maxsize=_CACHED)
def _choices(group: int, taken: frozenset[int]) -> tuple[tuple[int, int, Supply], ...]:
    """Every letter that is left, its multiplicity, and what is left after taking it."""
    return tuple(
        (letter, multiplicity, _supply(group, taken | {letter}))
        for letter, (multiplicity, fixed) in _positions(group).items()
        if not (fixed and letter in taken) and multiplicity <= MAX_ATOMS
    )


@lru_cache(maxsize=_CACHED)
def _letters_within(group: int, taken: tuple[int, ...], size: int, window: int) -> Mask:
    positions = _positions(group)
    used, left = sum(positions[letter][0] for letter in taken), size - len(taken) - 1
    return _mask(
        [
            letter
            for letter, multiplicity, supply in _choices(group, frozenset(taken))
            if totals(supply, left) << (used + multiplicity) & window
        ],
        len(LETTERS),
    )


def _mask(indices: frozenset[int] | list[int], length: int) -> Mask:
    mask = np.zeros(length, dtype=bool)
    mask[list(indices)] = True
    return mask
