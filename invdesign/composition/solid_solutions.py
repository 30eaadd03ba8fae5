"""Elements that would share their sites: an ordered crystal of both is as a rule a solid solution.

Hume-Rothery's conditions for ions: the same charge, radii within 15 % of the larger (Shannon, sixfold),
Pauling electronegativities within 0.4; two halogens, and two of S, Se, Te, whatever their size. Of reported
ordered compounds with four elements 3 % have such a pair, of generated ones near the hull 26 %: a potential
sees little against order, and nothing of entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

from invdesign.composition.assignment import assigned
from invdesign.composition.formula import reduced_amounts
from invdesign.crystal.elements import ATOMIC_NUMBER, element_table

if TYPE_CHECKING:
    from pymatgen.core import Composition

RADII, ELECTRONEGATIVITIES = 0.15, 0.4
LIKELIHOOD = {3: 0.7, 4: 0.13}
"""How much rarer such a pair is among reported compounds than among generated ones, by number of elements
(four: and more); benchmarks/realised."""
FURTHER_ALKALI = 0.3
"""The same for a second alkali metal of another size, with four elements and more."""
_ALKALI = frozenset({"Li", "Na", "K", "Rb", "Cs"})
_ANIONS = (frozenset({"F", "Cl", "Br", "I"}), frozenset({"S", "Se", "Te"}))


def mixing(composition: Composition | Mapping[str, float] | str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of elements that would share sites; none where there are no ions."""
    return _mixing(tuple(reduced_amounts(composition).items()))


def ordered_likelihood(composition: Composition | Mapping[str, float] | str) -> float:
    """Return how likely an ordered crystal is that of real matter, relative to one without such a pair."""
    amounts = reduced_amounts(composition)
    if mixing(amounts):
        return LIKELIHOOD[min(len(amounts), max(LIKELIHOOD))]
    further = max(0, len(amounts.keys() & _ALKALI) - 1) if len(amounts) >= max(LIKELIHOOD) else 0
    return FURTHER_ALKALI**further


@lru_cache(maxsize=65_536)
def _mixing(amounts: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    found = assigned(dict(amounts))
    if len(amounts) < min(LIKELIHOOD) or found.kind != "ions":
        return ()
    single = {symbol: states[0][0] for symbol, states in found.states if len(states) == 1}
    return tuple(
        (one, other)
        for one, other in combinations(single, 2)
        if single[one] == single[other] and _alike(one, other, int(single[one]))
    )


def _alike(one: str, other: str, charge: int) -> bool:
    if charge < 0:
        return any({one, other} <= kind for kind in _ANIONS)
    chi = element_table()["electronegativity"]
    radii = _radius(one, charge), _radius(other, charge)
    if None in radii or abs(chi[ATOMIC_NUMBER[one]] - chi[ATOMIC_NUMBER[other]]) > ELECTRONEGATIVITIES:
        return False
    return max(radii) - min(radii) < RADII * max(radii)  # type: ignore[operator, type-var]


@cache
def _radius(symbol: str, charge: int) -> float | None:
    """Return the radius of an ion, Å, of high spin where there are two; None where nobody has measured it."""
    from pymatgen.core import Element

    element = Element(symbol)
    sixfold = element.data.get("Shannon radii", {}).get(str(charge), {}).get("VI", {})
    spin = sixfold.get("", sixfold.get("High Spin"))
    return spin["ionic_radius"] if spin else element.ionic_radii.get(charge)
