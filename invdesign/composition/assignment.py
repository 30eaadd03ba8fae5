"""The oxidation states of a composition, likeliest first, with a likelihood and one of three words.

Elements are taken from the most electropositive on; each adds the charges that its atoms can have
(:mod:`invdesign.composition.state_likelihood`), cations first, then anions. The likelihood of an assignment
is the product of the shares of its elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import nlargest
from typing import TYPE_CHECKING, Literal

from invdesign.composition.formula import reduced_amounts
from invdesign.composition.polyanions import (
    ALKALI,
    AMMONIUM,
    AZIDES,
    NET,
    PYRITES,
    SOFT,
    STRONG,
    TRIHALIDES,
    MeanStates,
    Surroundings,
    group_size,
    whole,
)
from invdesign.composition.state_likelihood import (
    ORDER,
    POSSIBLE,
    Ions,
    every_option,
    ion_options,
    is_nonmetal,
)

if TYPE_CHECKING:
    from pymatgen.core import Composition

Word = Literal["usual", "unusual", "none"]
USUAL = 0.12
"""Likelihood from which on oxidation states are usual."""
_LEAST = math.log(POSSIBLE)
_LONGEST = 2_000  # assignments that are kept of the elements so far


@dataclass(frozen=True, slots=True)
class Assignment:
    """Oxidation states of a composition.

    Attributes:
        states: (oxidation state, atoms) by element, of the reduced formula; empty without ions. A state is a
            fraction where atoms of one element share electrons, a number of atoms where the cell is doubled.
        likelihood: the product over the elements of the share of its atoms that are so beside such an anion.
        word: ``usual``, ``unusual`` or ``none``.
        kind: ``ions``; ``clusters`` where metals keep electrons or cations bond to their like; ``metals`` or
            ``element`` where there are no charges to balance; ``none``.
    """

    states: tuple[tuple[str, MeanStates], ...]
    likelihood: float
    word: Word
    kind: Literal["ions", "clusters", "metals", "element", "none"]

    def __str__(self) -> str:
        """Return the ions as a chemist writes them (:func:`written`)."""
        return written(self.states)

    @property
    def mixed(self) -> bool:
        """Whether an element has several states."""
        return any(len(states) > 1 for _, states in self.states)


def assignment(composition: Composition | Mapping[str, float] | str) -> Assignment:
    """Return the likeliest oxidation states of a composition.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    return assigned(reduced_amounts(composition))


def assigned(amounts: Mapping[str, int]) -> Assignment:
    """As :func:`assignment`, of whole amounts without a common divisor."""
    if len(amounts) == 1:
        return Assignment((), 1.0, "usual", "element")
    symbols = sorted(amounts, key=ORDER.__getitem__)
    around = surroundings(symbols, amounts)
    found = _likeliest(symbols, amounts, around)
    if around.beside == "" and (found is None or math.exp(found[0]) < USUAL):
        return Assignment((), 1.0, "usual", "metals")
    if found:
        return _assignment(amounts, symbols, found)
    weak = _likeliest(symbols, amounts, around._replace(clusters=True))
    return _assignment(amounts, symbols, weak, "clusters")


def single_states(amounts: Mapping[str, int]) -> dict[str, int] | None:
    """Return the likeliest state of each element; None where there are none, or several of one element."""
    states = assigned(amounts).states
    single = {element: own[0][0] for element, own in states if len(own) == 1}
    integer = {element: int(state) for element, state in single.items() if state == int(state)}
    return integer if len(integer) == len(amounts) else None


def assignments(composition: Composition | Mapping[str, float] | str, most: int = 1000) -> list[Assignment]:
    """Return the likeliest assignments of ions, of up to two states an element, three of mixed-valent ones.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    amounts = reduced_amounts(composition)
    symbols = sorted(amounts, key=ORDER.__getitem__)
    around = surroundings(symbols, amounts)
    sets: list[tuple[float, int, bool, tuple[Ions, ...]]] = [(0.0, 0, False, ())]
    for symbol in symbols:
        options = every_option(symbol, amounts[symbol], around.of(symbol, amounts[symbol]))
        longer = (
            (total + ions.log, charge + ions.charge, ions.charge < 0, (*chosen, ions))
            for total, charge, anions, chosen in sets
            for ions in options
            if ions.charge < 0 or not anions
        )
        sets = nlargest(_LONGEST, longer) if symbol != symbols[-1] else list(longer)
    neutral = sorted((own for own in sets if own[1] == 0 and own[2]), key=lambda own: -own[0])
    return [_assignment(amounts, symbols, (total, chosen)) for total, _, _, chosen in neutral[:most]]


def surroundings(symbols: Sequence[str], amounts: Mapping[str, int]) -> Surroundings:
    """Return what the ions of a compound depend on; ``symbols`` by their order in ``ORDER``."""
    last, others = symbols[-1], frozenset(symbols[:-1])
    cations = frozenset(symbol for symbol in others if not is_nonmetal(symbol) or symbol == "H")
    hard = others - SOFT - (AMMONIUM if "H" in others else frozenset())
    centre = next(iter(hard)) if len(hard) == 1 else ""
    return Surroundings(
        beside=last if is_nonmetal(last) else "",
        amount=amounts[last],
        binary=len(others) == 1,
        only_metals=others == cations,
        only_soft=others <= SOFT,
        only_alkali=others <= ALKALI,
        soft=bool(cations) and cations <= SOFT,
        zintl=bool(cations) and (cations <= SOFT or (cations <= NET and bool(cations & STRONG))),
        pyrites=bool(cations) and cations <= PYRITES,
        azides=bool(cations) and cations <= AZIDES,
        trihalides=bool(cations) and cations <= TRIHALIDES,
        centre=centre,
        centres=amounts.get(centre, 0),
    )


_Found = tuple[float, tuple[Ions, ...]]


def _assignment(
    amounts: Mapping[str, int],
    symbols: Sequence[str],
    found: _Found | None,
    kind: Literal["ions", "clusters"] = "ions",
) -> Assignment:
    if found is None:
        return Assignment((), 0.0, "none", "none")
    likelihood = math.exp(found[0])
    word: Word = "usual" if likelihood >= USUAL else "unusual" if likelihood >= POSSIBLE else "none"
    states = tuple(
        (symbol, ions.states or ((whole(Fraction(ions.charge, amounts[symbol])), amounts[symbol]),))
        for symbol, ions in zip(symbols, found[1], strict=True)
    )
    return Assignment(states, likelihood, word, kind)


def _likeliest(symbols: Sequence[str], amounts: Mapping[str, int], around: Surroundings) -> _Found | None:
    """Return the likeliest neutral assignment, its log likelihood and ions, if one is :data:`POSSIBLE`."""
    options = [ion_options(symbol, amounts[symbol], around.of(symbol, amounts[symbol])) for symbol in symbols]
    if not all(own.ions for own in options):
        return None
    lowest = [own.lowest for own in options]
    best = [own.ions[0].log for own in options]
    cations: dict[int, _Found] = {0: (0.0, ())}
    anions: dict[int, _Found] = {}  # sums after the first anion, which no cation may follow
    for place, own in enumerate(options):
        left = -sum(lowest[place + 1 :])  # most that what follows can take away
        least = _LEAST - sum(best[place + 1 :])
        more: tuple[dict[int, _Found], dict[int, _Found]] = ({}, {})
        most = max([total for sums in (cations, anions) for total, _ in sums.values()], default=-math.inf)
        for ions in own.ions:
            gain, added, negative = ions.log, ions.charge, ions.charge < 0
            if most + gain < least:
                break
            target = more[negative]
            for before in (cations, anions) if negative else (cations,):
                for charge, (total, chosen) in before.items():
                    new, score = charge + added, total + gain
                    if score >= least and 0 <= new <= left:
                        known = target.get(new)
                        if known is None or score > known[0]:
                            target[new] = (score, (*chosen, ions))
        cations, anions = more
    return anions.get(0)


def written(states: Iterable[tuple[str, MeanStates]]) -> str:
    """Return the ions as a chemist writes them, groups of one element as such: ``K1+ O2(1-)``.

    Args:
        states: (state, atoms) by element; the atoms are told where one element has several states.
    """
    return " ".join(ion for element, own in states for ion in _ions(element, own))


def _ions(element: str, states: MeanStates) -> Iterator[str]:
    sizes = [group_size(element, Fraction(state)) for state, _ in states]
    numbers = [Fraction(n) / size for (_, n), size in zip(states, sizes, strict=True)]
    scale = math.lcm(*(number.denominator for number in numbers))
    for (state, _), size, number in sorted(zip(states, sizes, numbers, strict=True)):
        sign = "+" if state > 0 else "-" if state < 0 else ""
        charge = abs(int(state * size))
        ion = f"{element}{size}({charge}{sign})" if size > 1 else f"{element}{charge}{sign}"
        yield f"{number * scale} {ion}" if len(states) > 1 else ion
