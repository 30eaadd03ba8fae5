"""A generator in a distribution of its own: crystals of the textbook, as a target asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import Target
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.errors import InputError

CUBIC = {
    "225 Na@a Cl@b": 5.640,  # rock salt
    "225 Mg@a O@b": 4.212,
    "221 Cs@a Cl@b": 4.123,
    "216 Zn@a S@c": 5.409,  # zinc blende
    "225 F@c Ca@a": 5.463,  # fluorite
    "227 Si@a": 5.431,
    "221 Sr@a Ti@b O@c": 3.905,  # perovskite
}
"""Gene, and the edge of the conventional cell in Å; none has a free coordinate."""


class KnownCrystals:
    """Generator ``known-crystals``.

    Args:
        largest: most atoms in the primitive cell.
    """

    name = "known-crystals"

    def __init__(self, *, largest: int = 20) -> None:
        self.largest = largest

    @classmethod
    def load(cls, *, largest: int = 20) -> KnownCrystals:
        """It reads no file; the keywords are the options that a user may set."""
        return cls(largest=largest)

    def propose(self, target: Target, n: int, seed: int | Sequence[int]) -> list[Candidate]:
        """Propose ``n`` of the crystals that the target allows, each as often as the others.

        Raises:
            InputError: it allows none.
        """
        known = [(Gene.parse(text).canonical(), edge) for text, edge in CUBIC.items()]
        fit = [one for one in known if one[0].n_atoms <= self.largest and target.allows(one[0]).passed]
        if not fit:
            raise InputError(f"generator: {self.name} knows no crystal as asked; loosen the target.")
        order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(n) % len(fit)
        return [self._candidate(*fit[i]) for i in order]

    def _candidate(self, gene: Gene, edge: float) -> Candidate:
        geometry = Geometry((edge, edge, edge, 90.0, 90.0, 90.0), tuple(() for _ in gene.orbits))
        return Candidate("", gene, Origin(generator=self.name), geometry)
