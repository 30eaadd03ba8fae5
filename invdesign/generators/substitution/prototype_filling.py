"""Baseline ``prototypes``: prototypes of known crystals filled with ions that balance.

Needs no knowledge of chemistry but two counts, how many known crystals have a prototype, and how many
reports the ICSD has of an ion; what has no oxidation states by ``composition.assignment`` is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.assignment import assigned
from invdesign.composition.oxidation_states import oxidation_tables
from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import Target
from invdesign.crystal.elements import SYMBOLS
from invdesign.generators.geometry.source import GeometrySource
from invdesign.generators.substitution.parents import (
    Baseline,
    Parents,
    Placement,
    cannot_meet,
    collected,
    open_elements,
    placements,
    sensible,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_HIGHEST = 8  # oxidation state
_LOWEST = -4
_STATES = np.arange(_LOWEST, _HIGHEST + 1)


class Prototypes(Baseline):
    """Generator ``prototypes``.

    A prototype (space group, letters, and which orbits have the same element) is drawn as often as known
    crystals have it; then ions for it, together, in proportion to the product of their reports in the
    ICSD, of all sets that are neutral and whose cations are less electronegative than their anions. The
    geometry is that of the known crystal on the same letters whose elements are most similar. Elements,
    formula, space group and size of the target are kept, its property windows are not.

    Args:
        parents: known crystals.
    """

    name = "prototypes"

    def __init__(self, parents: Parents) -> None:
        super().__init__(parents)
        self._geometry = GeometrySource(parents.library.select(parents.rows))
        self._reports = _reports()

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Exactly ``n`` candidates with a gene that the target allows, and a geometry.

        Raises:
            InputError: no known prototype can be filled as the target asks.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        parents = self._parents.select(self._parents.fits(target))
        if not len(parents):
            raise cannot_meet(self.name)
        fillings = _Fillings(self._reports, target)

        def draw(count: int) -> Iterator[Candidate]:
            for i in rng.integers(len(parents), size=count):
                elements = fillings.sample(tuple(int(n) for n in parents.amounts[i] if n), rng)
                if elements is None:
                    continue
                gene = parents.gene(i, elements)
                if target.supply_objection(gene.amounts) or assigned(gene.amounts).word == "none":
                    continue
                gene = gene.canonical()
                ((geometry, source),) = self._geometry.inherited(gene, 1)
                origin = Origin(
                    generator=self.name,
                    parent=source.removeprefix("inherited from "),
                    details={"prototype": f"{gene.prototype} {gene.anonymous_formula}"},
                )
                yield Candidate("", gene, origin, geometry)

        return collected(n, draw, self.name)


class _Choice(NamedTuple):
    """Neutral sets of charges for the kinds of a prototype, given where required elements sit."""

    placement: Placement
    states: Integers  # (c, kinds)
    weights: Array  # (c,)


class _Fillings:
    """The distribution of ions in a prototype, for a target; by its amounts, as those decide it."""

    def __init__(self, reports: Array, target: Target) -> None:
        self._reports, self._placements = reports, placements(target)
        self._open = open_elements(target)
        self._any = reports[self._open].sum(axis=0)
        self._choices: dict[tuple[int, ...], list[_Choice]] = {}

    def sample(self, amounts: tuple[int, ...], rng: np.random.Generator) -> list[int] | None:
        """Atomic number for each kind, None where this draw gives no such crystal."""
        if amounts not in self._choices:
            options = (self._choice(placement, amounts) for placement in self._placements)
            self._choices[amounts] = [choice for choice in options if choice is not None]
        choices = self._choices[amounts]
        if not choices:
            return None
        placement, states, weights = choices[_drawn(np.array([c.weights.sum() for c in choices]), rng)]
        chosen = states[_drawn(weights, rng)]
        required = {kind: element for kind, element, _ in placement}
        elements = [
            required[kind] if kind in required else int(self._open[_drawn(column, rng)])
            for kind, column in enumerate(self._reports[np.ix_(self._open, chosen - _LOWEST)].T)
        ]
        return elements if sensible(elements, chosen) else None

    def _choice(self, placement: Placement, amounts: tuple[int, ...]) -> _Choice | None:
        own = [self._any] * len(amounts)
        for kind, element, atoms in placement:
            if kind >= len(amounts) or atoms not in {None, amounts[kind]}:
                return None
            own[kind] = self._reports[element]
        charge = reduce(np.add.outer, [atoms * _STATES for atoms in amounts])
        weight = reduce(np.multiply.outer, own)
        neutral = np.argwhere((charge == 0) & (weight > 0))
        if not len(neutral):
            return None
        return _Choice(placement, neutral + _LOWEST, weight[tuple(neutral.T)])


def _drawn(weights: Array, rng: np.random.Generator) -> int:
    """Return an index in proportion to its weight."""
    cumulative = weights.cumsum()
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _reports() -> Array:
    """(104, states) reports of each ion in the ICSD, of elements with an electronegativity."""
    table = np.zeros((len(SYMBOLS), len(_STATES)))
    tables = oxidation_tables()
    for symbol, own in tables.reports.items():
        for state, count in own.items():
            if symbol in tables.electronegativity and state in _STATES:
                table[SYMBOLS.index(symbol), state - _LOWEST] = count
    return table
