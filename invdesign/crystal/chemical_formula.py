"""Formulas as chemists write them: CuInSe2, FeAs2, KH2PO4, Ca3(PO4)2.

Elements stand in IUPAC's order (Red Book 2005, table VI), the most electropositive first, amounts in the
smallest whole numbers. Brackets stand around real polyanions alone, which the other elements can balance.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import TYPE_CHECKING

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table

if TYPE_CHECKING:
    from pymatgen.core import Composition

_CHARGES = {
    ("C", "O", 3): 2,
    ("N", "O", 3): 1,
    ("N", "O", 2): 1,
    ("B", "O", 3): 3,
    ("Si", "O", 4): 4,
    ("P", "O", 4): 3,
    ("P", "O", 3): 1,
    ("As", "O", 4): 3,
    ("V", "O", 4): 3,
    ("Ge", "O", 4): 4,
    ("S", "O", 4): 2,
    ("S", "O", 3): 2,
    ("Se", "O", 4): 2,
    ("Se", "O", 3): 2,
    ("Cl", "O", 4): 1,
    ("Cl", "O", 3): 1,
    ("Br", "O", 3): 1,
    ("I", "O", 3): 1,
    ("Cr", "O", 4): 2,
    ("Mo", "O", 4): 2,
    ("W", "O", 4): 2,
    ("O", "H", 1): 1,
    ("C", "N", 1): 1,
    ("B", "H", 4): 1,
    ("Al", "H", 4): 1,
}
"""Charge, negative, of a polyanion: central element, the other, atoms of this."""
POLYANIONS = tuple((ATOMIC_NUMBER[x], ATOMIC_NUMBER[y], n) for x, y, n in _CHARGES)
"""The same by atomic number."""

_MOST = 100  # denominator, of amounts that are fractions


@lru_cache(maxsize=1)
def iupac_ranks() -> tuple[int, ...]:
    """Place of each element in a formula, by atomic number; what is first is the most electropositive."""
    from pymatgen.core import Element

    order = sorted(SYMBOLS[1:], key=lambda symbol: Element(symbol).iupac_ordering)
    return (len(SYMBOLS), *(order.index(symbol) for symbol in SYMBOLS[1:]))


def chemical_formula(amounts: Mapping[str, float]) -> str:
    """Return the reduced formula of amounts by symbol; amounts in no such ratio stay as they are.

    Molecules of one element and peroxides keep both atoms: O2, Na2O2.
    """
    ranks = iupac_ranks()
    counts = {
        symbol: amounts[symbol] for symbol in sorted(amounts, key=lambda s: ranks[ATOMIC_NUMBER.get(s, 1)])
    }
    counts = _whole(counts)
    plain = "".join(_times(symbol, amount) for symbol, amount in counts.items())
    return _doubled().get(plain) or _with_units(counts) or plain


def _whole(counts: dict[str, float]) -> dict[str, float]:
    """Amounts in the smallest whole numbers, to a thousandth of the least; as they are beyond 100."""
    if all(float(amount).is_integer() for amount in counts.values()):
        divisor = gcd(*map(int, counts.values()))
        return {s: int(amount) // divisor for s, amount in counts.items()}
    parts = {s: Fraction(amount).limit_denominator(_MOST) for s, amount in counts.items()}
    scale = lcm(*(part.denominator for part in parts.values()))
    exact = all(abs(part - counts[s]) < 1e-3 * counts[s] for s, part in parts.items())
    if scale > _MOST or not exact:
        return counts
    divisor = gcd(*(int(part * scale) for part in parts.values()))
    return {s: int(part * scale) // divisor for s, part in parts.items()}


def formula_of(composition: Composition) -> str:
    """Return :func:`chemical_formula` of a composition; charges are dropped."""
    return chemical_formula(composition.get_el_amt_dict())


@lru_cache(maxsize=1)
def _doubled() -> dict[str, str]:
    from pymatgen.core import Composition

    return dict(Composition.special_formulas)


def _with_units(counts: dict[str, float]) -> str | None:
    """Return a formula with ammonium ahead and polyanions together; None where there is neither."""
    rest = dict(counts)
    ahead = ""
    if len(counts) > 2 and counts.get("H") == 4 * counts.get("N", 0):
        ahead = _times("NH4", rest.pop("N"))
        del rest["H"]
    for (x, y, n), charge in _CHARGES.items():
        if x in rest and y in rest and rest[y] == n * rest[x] and len(counts) > 2:
            number = rest[x]
            cations = {s: amount for s, amount in rest.items() if s not in {x, y, *_HALOGENS}}
            if not ahead and not _balanced(cations, charge * number):
                continue
            unit = x + _times(y, n)
            before = "".join(_times(s, amount) for s, amount in _hydrogen_last(cations).items())
            after = "".join(_times(s, amount) for s, amount in rest.items() if s in _HALOGENS - {x, y})
            return f"{ahead}{before}{_times(unit, number)}{after}"
    return ahead + "".join(_times(s, amount) for s, amount in rest.items()) if ahead else None


_HALOGENS = frozenset(("F", "Cl", "Br", "I"))


def _hydrogen_last(cations: dict[str, float]) -> dict[str, float]:
    return {s: n for s, n in cations.items() if s != "H"} | {s: n for s, n in cations.items() if s == "H"}


def _balanced(cations: Mapping[str, float], charge: float) -> bool:
    """Whether cations may have so much charge."""
    highest = element_table()["max_oxidation"]
    most = sum(amount * highest[ATOMIC_NUMBER.get(symbol, 1)] for symbol, amount in cations.items())
    return bool(cations) and sum(cations.values()) <= charge + 1e-6 and charge <= most + 1e-6


def _times(unit: str, number: float) -> str:
    if number == 1:
        return unit
    return f"({unit}){number:g}" if sum(map(str.isupper, unit)) > 1 else f"{unit}{number:g}"
