"""Anions of several atoms of one element: pairs, chains, rings, nets and clusters, by counting electrons.

An anion of valence v = 8 - N has v - q bonds to its like where its mean charge is -q (Zintl): S2-, S-S pairs
at q = 1, chains beyond; so O2 2-, N3-, I3-, C2 2-, P-P, Si4 4- and B6 are numbers q, each with its share.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple


def elements(names: str) -> frozenset[str]:
    """Return the symbols in a text."""
    return frozenset(names.split())


ALKALI = elements("Li Na K Rb Cs")
SOFT = ALKALI | elements("Be Mg Ca Sr Ba Ra Zn Cd Hg Eu Yb Tl H")
"""Elements beside which anions of one element grow long; hydrogen stands for ammonium and other cations."""
AZIDES = SOFT | elements("Ag Cu Pb")
TRIHALIDES = ALKALI | elements("Tl H Ba Sr")


MeanStates = tuple[tuple[int | Fraction, int | Fraction], ...]
"""(oxidation state, number of atoms) of one element; fractions are means, or of half a cell."""

VALENCE = {
    **dict.fromkeys(("F", "Cl", "Br", "I", "H", "Au"), 1),
    **dict.fromkeys(("O", "S", "Se", "Te", "Po"), 2),
    **dict.fromkeys(("N", "P", "As", "Sb", "Bi"), 3),
    **dict.fromkeys(("C", "Si", "Ge", "Sn", "Pb"), 4),
    "B": 5,
}
"""Electrons that an atom takes up to a full shell."""


class Surroundings(NamedTuple):
    """What decides the ions of an element in a compound; what does not is left at its default.

    Attributes:
        beside: the most electronegative element, if it is no metal.
        clusters: whether atoms of a positive charge may bond to their like.
        amount: atoms of ``beside``.
        binary: whether there are two elements.
        only_metals: whether all others are metals or hydrogen.
        only_soft: whether all others are :data:`SOFT`.
        only_alkali: whether all others are alkali metals.
        soft: whether the metals and hydrogen are :data:`SOFT`.
        azides: whether they are of :data:`AZIDES`.
        trihalides: whether they are of :data:`TRIHALIDES`.
    """

    beside: str
    clusters: bool = False
    amount: int = 0
    binary: bool = False
    only_metals: bool = False
    only_soft: bool = False
    only_alkali: bool = False
    soft: bool = False
    azides: bool = False
    trihalides: bool = False

    def of(self, element: str) -> Surroundings:
        """Return what matters to one element."""
        plain = Surroundings(self.beside, self.clusters, self.amount if element in _BETWEEN else 0)
        return plain if element not in _CHAINS else self._replace(amount=plain.amount)


def chain_share(element: str, atoms: int, charge: int, around: Surroundings) -> float:
    """Share of an anion's atoms that have a mean charge of ``-charge / atoms`` and bonds to their like."""
    ratio = Fraction(charge, atoms)
    rule = _CHAINS.get(element)
    if rule is None:
        return 0.0
    return rule(ratio, around) * (1.0 if element == around.beside else _BESIDE_ANOTHER)


def _oxygen(ratio: Fraction, around: Surroundings) -> float:
    if not around.only_soft:
        return 0.0
    if ratio == 1:
        return _WELL_KNOWN
    if around.only_alkali and ratio in (_HALF, _THIRD):
        return _WELL_KNOWN
    return _RARE if ratio > _HALF else 0.0


def _nitrogen(ratio: Fraction, around: Surroundings) -> float:
    if not around.only_metals:
        return 0.0
    if ratio == _THIRD:
        return _WELL_KNOWN if around.azides else _UNCOMMON
    return _UNCOMMON if ratio in (1, 2) else 0.0


def _chalcogen(ratio: Fraction, around: Surroundings) -> float:
    if ratio == 1:
        return _WELL_KNOWN
    return _WELL_KNOWN if ratio >= _THIRD and around.soft else _UNCOMMON


def _zintl(ratio: Fraction, around: Surroundings) -> float:
    if around.soft and ratio >= _HALF:
        return _WELL_KNOWN
    return _WELL_KNOWN if ratio in (1, 2) and around.binary else _UNCOMMON


def _carbon(ratio: Fraction, around: Surroundings) -> float:
    return _WELL_KNOWN if ratio == 1 and around.soft else _UNCOMMON


def _boron(ratio: Fraction, around: Surroundings) -> float:
    return _WELL_KNOWN if ratio in (_THIRD, _HALF, 1) and around.binary else _UNCOMMON


def _halogen(ratio: Fraction, around: Surroundings) -> float:
    if not around.trihalides:
        return 0.0
    return _WELL_KNOWN if ratio == _THIRD else _UNCOMMON


_HALF, _THIRD = Fraction(1, 2), Fraction(1, 3)
_WELL_KNOWN, _UNCOMMON, _RARE = 0.25, 0.02, 0.004
_BESIDE_ANOTHER = 0.1
_CHAINS: dict[str, Callable[[Fraction, Surroundings], float]] = {
    "O": _oxygen,
    "N": _nitrogen,
    **dict.fromkeys(("S", "Se", "Te"), _chalcogen),
    **dict.fromkeys(("P", "As", "Sb", "Bi", "Si", "Ge", "Sn", "Pb"), _zintl),
    "C": _carbon,
    "B": _boron,
    **dict.fromkeys(("I", "Br"), _halogen),
}
_BETWEEN = {
    **dict.fromkeys(("Si", "Ge", "Sn", "Pb", "C"), (1, 3)),
    **dict.fromkeys(("P", "As", "Sb", "Bi"), (2, 4)),
    **dict.fromkeys(("S", "Se", "Te"), (3, 5)),
    **dict.fromkeys(("Ga", "In", "Tl"), (2,)),
}
"""States with an odd electron: found only in pairs."""
_CHALCOGENS = ("S", "Se", "Te")


def pair_fits(element: str, state: int, atoms: int, around: Surroundings) -> bool | None:
    """Whether a state that needs a bond to a like atom has its usual partners; None: it needs no bond.

    Such are P2S6, Ge2Te6, the layers of GaS and InSe, oxalate, dithionite and dithionate.
    """
    if state not in _BETWEEN.get(element, ()):
        return None
    ratio = around.amount / atoms
    if element in ("Ga", "In"):
        return around.beside in _CHALCOGENS and ratio == 1
    if element == "C":
        return around.beside == "O" and ratio >= 2
    if element == "S":
        return around.beside == "O" and ratio >= 2
    return ratio == 3 and (around.beside in _CHALCOGENS or element == "P")


def group_size(element: str, mean: Fraction, atoms: int) -> int:
    """Return the atoms of one element in the group that carries a whole charge: 1, or 3 in N3-, 6 in B6."""
    usual = _GROUPS.get(element, 1)
    if mean < 0 and mean > -VALENCE.get(element, 0) and usual % mean.denominator == 0 == atoms % usual:
        return usual
    return mean.denominator


_GROUPS = {"B": 6, **dict.fromkeys(("O", "S", "Se", "Te", "C", "N"), 2)}
