"""Baseline ``ion-exchange``: known crystals with ions replaced by others of the same charge.

The probabilities are those mined by Hautier, Fischer, Ehrlacher, Jain and Ceder, Inorg. Chem. 50, 656
(2011), as pymatgen ships them. (Its own ``SubstitutionPredictor`` takes a second for one binary compound.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import Target
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.generators.substitution.parents import (
    MOST_KINDS,
    Baseline,
    Parents,
    cannot_meet,
    collected,
    open_elements,
    placements,
    sensible,
)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


SHORT = frozenset({1, 6, 7})
"""H, C, N: as cations they have bonds of 1.0 to 1.4 Å."""


class IonExchange(Baseline):
    """Generator ``ion-exchange``.

    A known crystal and what replaces its ions are drawn together, in proportion to the product of the
    probabilities that each ion is replaced by, or stays, what it becomes; at least one is replaced, and no
    two become one element. Elements, formula, space group and size of the target are kept, its property
    windows are not: nothing here knows of properties.

    Args:
        parents: known crystals.
    """

    name = "ion-exchange"

    def __init__(self, parents: Parents) -> None:
        ions, self._becomes = substitution_table()
        index = np.array(
            [
                [ions.get((int(z), int(q)), -1) if z else 0 for z, q in zip(*kinds, strict=True)]
                for kinds in zip(parents.elements, parents.states, strict=True)
            ]
        ).reshape(-1, MOST_KINDS)
        known = np.all(index >= 0, axis=1)
        super().__init__(parents.select(known))
        self._ions = index[known]

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Exactly ``n`` candidates with a gene that the target allows, and a geometry.

        Raises:
            InputError: no known crystal leads to what the target asks for.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        fits = self._parents.fits(target)
        parents, ions = self._parents.select(fits), self._ions[fits]
        drawn = _Exchange(parents, ions, self._becomes, target)
        if not drawn.total:
            raise cannot_meet(self.name)

        def draw(count: int) -> Iterator[Candidate]:
            for i, elements, probability in drawn.sample(count, rng):
                if target.supply_objection(parents.gene(i, elements).amounts):
                    continue
                gene, geometry = parents.with_elements(i, elements)
                origin = Origin(
                    generator=self.name,
                    parent=parents.name(i),
                    details={
                        "substitution": _described(parents.elements[i], elements),
                        "probability": probability,
                    },
                )
                yield Candidate("", gene, origin, geometry)

        return collected(n, draw, self.name)


class _Exchange:
    """The distribution of (parent, new elements) for a target.

    Args:
        parents: that fit the target.
        ions: (N, K) index of each one's ions, 0 beyond the last.
        becomes: (I, 104) probability that an ion is replaced by an element.
        target: what is asked for.
    """

    def __init__(self, parents: Parents, ions: Integers, becomes: Array, target: Target) -> None:
        self.parents, self.ions, self.becomes = parents, ions, becomes
        self.placements = placements(target)
        self.open = open_elements(target)
        left = becomes[:, self.open].sum(axis=1)
        left[0] = 1.0
        weights = np.empty((len(parents), len(self.placements)))
        for p, placement in enumerate(self.placements):
            factors = left[ions]
            for kind, element, atoms in placement:
                factors[:, kind] = becomes[ions[:, kind], element]
                if atoms is not None:
                    factors[:, kind] *= parents.amounts[:, kind] == atoms
            weights[:, p] = factors.prod(axis=1)
        self._cumulative = weights.ravel().cumsum()
        self.total = float(self._cumulative[-1]) if len(self._cumulative) else 0.0

    def sample(self, count: int, rng: np.random.Generator) -> Iterator[tuple[int, list[int], float]]:
        """Up to ``count`` draws: parent, its new elements, the product of the probabilities."""
        drawn = np.searchsorted(self._cumulative, rng.random(count) * self.total, side="right")
        chosen, placed = np.divmod(drawn, len(self.placements))
        ions = self.ions[chosen]
        elements = np.zeros_like(ions)
        for i, p in enumerate(placed):
            for kind, element, _ in self.placements[p]:
                elements[i, kind] = element
        for kind in range(MOST_KINDS):
            rows = np.flatnonzero((ions[:, kind] > 0) & (elements[:, kind] == 0))
            odds = self.becomes[ions[rows, kind]][:, self.open].cumsum(axis=1)
            if len(rows):
                picks = (odds <= rng.random((len(rows), 1)) * odds[:, -1:]).sum(axis=1)
                elements[rows, kind] = self.open[picks]
        probability = np.where(ions > 0, self.becomes[ions, elements], 1.0).prod(axis=1)
        for i, new, likely in zip(chosen, elements.tolist(), probability, strict=True):
            kinds = [z for z in new if z]
            states, old = (
                self.parents.states[i][: len(kinds)],
                self.parents.elements[i][: len(kinds)].tolist(),
            )
            if sensible(kinds, states) and kinds != old and keeps_short_bonds(old, kinds, states):
                yield int(i), kinds, float(likely)


def keeps_short_bonds(old: Sequence[int], new: Sequence[int], states: Integers) -> bool:
    """Whether no cation of ``SHORT`` becomes another or the reverse: a nitrate has no room for a metal."""
    return all(
        state < 0 or (one in SHORT) == (other in SHORT)
        for one, other, state in zip(old, new, states.tolist(), strict=True)
    )


@lru_cache(maxsize=1)
def substitution_table() -> tuple[dict[tuple[int, int], int], Array]:
    """Index by (atomic number, oxidation state), from 1; (I, 104) probability of what an ion becomes.

    Rows hold replacements of the same charge alone, and so add up to less than 1; row 0 is no ion.
    """
    from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability

    mined = SubstitutionProbability()  # type: ignore[no-untyped-call]
    ions = sorted(
        (ion.Z, int(ion.oxi_state or 0), ion) for ion in mined.species if ion.symbol in ATOMIC_NUMBER
    )
    table = np.zeros((len(ions) + 1, len(SYMBOLS)))
    for i, (_, state, fixed) in enumerate(ions, start=1):
        for z, other_state, other in ions:
            if other_state == state:
                table[i, z] = mined.cond_prob(other, fixed)  # type: ignore[no-untyped-call]
    return {(z, state): i for i, (z, state, _) in enumerate(ions, start=1)}, table


def _described(old: Integers, new: Sequence[int]) -> str:
    return ", ".join(f"{SYMBOLS[a]}→{SYMBOLS[b]}" for a, b in zip(old, new, strict=False) if a != b)
