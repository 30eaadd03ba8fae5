"""Known ionic crystals as parents of new ones: what the baselines have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import islice, permutations, product
from math import gcd
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.assignment import single_states
from invdesign.composition.state_likelihood import ORDER
from invdesign.core.candidate import Candidate
from invdesign.core.target import Target
from invdesign.core.target_parser import amounts_of
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, volume_estimate
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import substituted
from invdesign.data.prototypes import load_library
from invdesign.data.tokens import TokenSet
from invdesign.errors import InputError

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

Placement = tuple[tuple[int, int, int | None], ...]
"""For each required element: kind of a parent, atomic number, atoms in the reduced formula (None: any)."""

MOST_KINDS = 6  # elements of a parent; rarer ones are left out
_HYPOTHETICAL = "wbm:"  # made by substitution themselves
_LEAST_DRAWN = 64  # at a time
_FRUITLESS = 100  # times in a row, after which there is taken to be none


@dataclass(frozen=True)
class Parents:
    """Known crystals whose elements have one oxidation state each that make them neutral.

    Attributes:
        library: genes and geometries.
        rows: (N,) rows of the library.
        elements: (N, K) atomic numbers, in alphabetical order of the symbols, 0 beyond the last.
        states: (N, K) their oxidation states.
        amounts: (N, K) their atoms in the reduced formula.
    """

    library: TokenSet
    rows: Integers
    elements: Integers
    states: Integers
    amounts: Integers

    @classmethod
    def of(cls, library: TokenSet) -> Self:
        """Select the parents in a library of the Materials Project's crystals and others, without WBM's."""
        rows, found = [], []
        for row in np.flatnonzero(~np.char.startswith(library.ids, _HYPOTHETICAL)).tolist():
            amounts = library.gene(row).amounts
            unit = reduce(gcd, amounts.values())
            amounts = {element: atoms // unit for element, atoms in amounts.items()}
            if 1 < len(amounts) <= MOST_KINDS and (states := single_states(amounts)):
                rows.append(row)
                found.append([(ATOMIC_NUMBER[e], states[e], n) for e, n in amounts.items()])
        table = np.zeros((len(rows), MOST_KINDS, 3), dtype=np.int64)
        for i, kinds in enumerate(found):
            table[i, : len(kinds)] = kinds
        return cls(library, np.array(rows, dtype=np.int64), *np.moveaxis(table, 2, 0))

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, mask: Mask) -> Parents:
        """Select the parents of a mask."""
        return Parents(self.library, *(getattr(self, field.name)[mask] for field in fields(self)[1:]))

    def fits(self, target: Target) -> Mask:
        """(N,) which have the size, space group, formula type and number of elements asked for."""
        kinds = (self.elements > 0).sum(axis=1)
        n_atoms = self.library.n_atoms[self.rows]
        fits: Mask = (kinds >= len(target.required) + len(target.unmet)) & (kinds <= len(target.elements))
        fits &= (n_atoms >= target.n_atoms[0]) & (n_atoms <= target.n_atoms[1])
        if target.space_groups is not None:
            fits &= np.isin(self.library.space_group[self.rows], list(target.space_groups))
        if formula := target.formula or target.anonymous_formula:
            field = "anonymous" if target.formula is None else "formula"
            wanted = sorted(amounts_of(formula, field).values(), reverse=True)
            padded = np.array([*wanted, *[0] * MOST_KINDS])[:MOST_KINDS]
            fits &= (np.sort(self.amounts, axis=1)[:, ::-1] == padded).all(axis=1) & (kinds == len(wanted))
        return fits

    def name(self, i: int) -> str:
        """Id of a parent."""
        return str(self.library.ids[self.rows[i]])

    def with_elements(self, i: int, elements: Sequence[int]) -> tuple[Gene, Geometry]:
        """Return a parent with other elements, its cell at the volume that they are expected to take.

        Args:
            i: the parent.
            elements: atomic numbers, each in place of the parent's of that index.
        """
        row = self.rows[i]
        parent = self.library.gene(row)
        gene, geometry = substituted(parent, self.library.geometry(row), self._replaced(i, elements))
        return gene, geometry.scaled(volume_estimate(gene.composition) / volume_estimate(parent.composition))

    def gene(self, i: int, elements: Sequence[int]) -> Gene:
        """Return a parent's gene with other elements, not canonical; arguments as of ``with_elements``."""
        parent, replaced = self.library.gene(self.rows[i]), self._replaced(i, elements)
        return Gene(
            parent.space_group, tuple((replaced[element], letter) for element, letter in parent.orbits)
        )

    def _replaced(self, i: int, elements: Sequence[int]) -> dict[str, str]:
        pairs = zip(self.elements[i], elements, strict=False)
        return {SYMBOLS[old]: SYMBOLS[new] for old, new in pairs if old}


class Baseline:
    """A generator that lives off known crystals.

    Args:
        parents: known crystals.
    """

    artifact = "geometries"

    def __init__(self, parents: Parents) -> None:
        self._parents = parents

    @classmethod
    def load(cls, name: str | Path = artifact) -> Self:
        """With the released library of known crystals, or a folder with a ``geometries.npz``.

        Raises:
            InputError: no such folder or file.
        """
        return cls(Parents.of(load_library(name)))


def placements(target: Target) -> list[Placement]:
    """Every way to give the required elements, and one of each family, to kinds of a parent's."""
    amounts = {} if target.formula is None else amounts_of(target.formula, "formula")
    return [
        tuple(
            (kind, ATOMIC_NUMBER[symbol], amounts.get(symbol))
            for kind, symbol in zip(kinds, symbols, strict=True)
        )
        for chosen in product(*map(sorted, target.unmet))
        for symbols in [(*sorted(target.required), *chosen)]
        for kinds in permutations(range(MOST_KINDS), len(symbols))
    ]


def open_elements(target: Target) -> Integers:
    """Atomic numbers of the elements that may occur in addition to the required ones, ascending."""
    return np.array(sorted(ATOMIC_NUMBER[symbol] for symbol in target.elements - target.required), dtype=int)


def sensible(elements: Sequence[int], states: Integers) -> bool:
    """Whether no element is twice there, and every cation more electropositive than every anion.

    Args:
        elements: (k,) atomic numbers.
        states: (k,) their oxidation states, of both signs.
    """
    cations, anions = (
        [ORDER[SYMBOLS[elements[kind]]] for kind in np.flatnonzero(side).tolist()]
        for side in (states > 0, states < 0)
    )
    return len(set(elements)) == len(elements) and max(cations) < min(anions)


def collected(n: int, draw: Callable[[int], Iterator[Candidate]], generator: str) -> list[Candidate]:
    """``n`` candidates from repeated draws.

    Args:
        n: how many.
        draw: makes so many draws and gives those that are crystals.
        generator: its name.

    Raises:
        InputError: nothing can be drawn.
    """
    candidates: list[Candidate] = []
    fruitless = 0
    while len(candidates) < n:
        lacking = n - len(candidates)
        found = list(islice(draw(max(_LEAST_DRAWN, lacking)), lacking))
        candidates += found
        fruitless = 0 if found else fruitless + 1
        if fruitless == _FRUITLESS:
            raise cannot_meet(generator)
    return candidates


def cannot_meet(generator: str) -> InputError:
    """No known crystal leads to what a target asks for."""
    msg = (
        f"generator: {generator} finds no known crystal that can be given the elements, formula, space group "
        "and size of this target; loosen it, or use gene-diffusion."
    )
    return InputError(msg)
