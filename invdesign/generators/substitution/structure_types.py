"""Known crystals with a formula's elements in place of their own, the most similar first.

For crystal structure prediction: every known crystal of the formula's type, every assignment of its elements
to the known one's. Nothing about charges, so that intermetallics are predicted as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import permutations
from math import gcd
from pathlib import Path

import numpy as np

from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import Target
from invdesign.core.target_parser import amounts_of
from invdesign.crystal.elements import ATOMIC_NUMBER, volume_estimate
from invdesign.crystal.symmetry import substituted
from invdesign.data.prototypes import element_distance, load_library
from invdesign.data.tokens import TokenSet
from invdesign.errors import InputError

MOST_OF_ONE_GENE = 4


class StructureTypes:
    """Source ``structure-types`` of crystals for a formula.

    Args:
        library: genes and geometries of known crystals.
    """

    name = "structure-types"

    def __init__(self, library: TokenSet) -> None:
        self.library = library

    @classmethod
    def load(cls, name: str | Path = "geometries") -> StructureTypes:
        """With the released library, or a folder with a ``geometries.npz``.

        Raises:
            InputError: no such folder or file.
        """
        return cls(load_library(name))

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Up to ``n`` candidates with geometries, the most similar first; there may be fewer.

        Args:
            target: with a formula.
            n: at most.
            seed: not used: nothing is drawn.

        Raises:
            InputError: the target has no formula, or no known crystal is of its type.
        """
        del seed
        if target.formula is None:
            raise InputError(f"generator: {self.name} needs a formula; give one, or use prototypes.")
        found: list[Candidate] = []
        per_gene: Counter[str] = Counter()
        for _, row, elements in sorted(self._assignments(target)):
            parent = self.library.gene(row)
            gene, geometry = substituted(parent, self.library.geometry(row), dict(elements))
            if per_gene[gene.hash] == MOST_OF_ONE_GENE or not target.allows(gene).passed:
                continue
            per_gene[gene.hash] += 1
            geometry = geometry.scaled(
                volume_estimate(gene.composition) / volume_estimate(parent.composition)
            )
            origin = Origin(generator=self.name, parent=str(self.library.ids[row]))
            found.append(Candidate("", gene, origin, geometry))
            if len(found) == n:
                break
        if not found:
            raise InputError(
                f"generator: {self.name} knows no crystal of the type of {target.formula} that is as asked."
            )
        return found

    def _assignments(self, target: Target) -> Iterator[tuple[float, int, tuple[tuple[str, str], ...]]]:
        """How unlike the elements are per atom, the known crystal, and which element replaces which."""
        wanted = amounts_of(str(target.formula), "formula")
        unlike = element_distance()
        for row in self._fitting(target, wanted):
            amounts = self.library.gene(row).amounts
            unit = reduce(gcd, amounts.values())
            known = {element: atoms // unit for element, atoms in amounts.items()}
            if sorted(known.values()) != sorted(wanted.values()):
                continue
            for order in permutations(wanted):
                pairs = tuple(zip(known, order, strict=True))
                if all(known[old] == wanted[new] for old, new in pairs):
                    cost = sum(
                        known[old] * unlike[ATOMIC_NUMBER[old], ATOMIC_NUMBER[new]] for old, new in pairs
                    )
                    yield float(cost) / sum(known.values()), row, pairs

    def _fitting(self, target: Target, wanted: dict[str, int]) -> list[int]:
        """Rows with the right number of elements, of atoms, and the right space groups."""
        library, unit = self.library, sum(wanted.values())
        ordered = np.sort(library.elements, axis=1)
        kinds = (np.diff(ordered, axis=1, prepend=0) > 0).sum(axis=1)
        fits = (kinds == len(wanted)) & (library.n_atoms % unit == 0)
        fits &= (library.n_atoms >= target.n_atoms[0]) & (library.n_atoms <= target.n_atoms[1])
        if target.space_groups is not None:
            fits &= np.isin(library.space_group, list(target.space_groups))
        return [int(row) for row in np.flatnonzero(fits)]
