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


CHALCOGENS = ("S", "Se", "Te")
ALKALI = elements("Li Na K Rb Cs")
SOFT = ALKALI | elements("Be Mg Ca Sr Ba Ra Zn Cd Hg Eu Yb Tl H")
"""Elements beside which anions of one element grow long; hydrogen stands for ammonium and other cations."""
STRONG = ALKALI | elements("Ca Sr Ba Eu Yb")
NET = SOFT | elements("Al Ga In Mn")
"""Metals of Zintl phases, if one of them is :data:`STRONG`."""
AMMONIUM = elements("N")
AZIDES = SOFT | elements("Ag Cu Pb")
TRIHALIDES = ALKALI | elements("Tl H Ba Sr")
PYRITES = elements("Mn Fe Co Ni Cu Ru Os Rh Ir")
"""Metals that take pairs of chalcogens rather than a charge of 4."""


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
        zintl: whether they are soft, or of :data:`NET` and one of them of :data:`STRONG`.
        pyrites: whether the metals are :data:`PYRITES`.
        azides: whether they are of :data:`AZIDES`.
        trihalides: whether they are of :data:`TRIHALIDES`.
        centre: the only other element that is not soft, nor of ammonium; empty without one or with several.
        centres: its atoms.
    """

    beside: str
    clusters: bool = False
    amount: int = 0
    binary: bool = False
    only_metals: bool = False
    only_soft: bool = False
    only_alkali: bool = False
    soft: bool = False
    zintl: bool = False
    pyrites: bool = False
    azides: bool = False
    trihalides: bool = False
    centre: str = ""
    centres: int = 0

    def of(self, element: str, atoms: int) -> Surroundings:
        """Return what matters to so many atoms of an element."""
        centre, oxide = "", self.beside == "O"
        if (element == self.centre and oxide and element in _CENTRES) or (
            element == self.beside and ((oxide and self.centre in _CENTRES) or self._trichalcogenide(atoms))
        ):
            centre = self.centre
        return Surroundings(
            self.beside,
            self.clusters,
            self.amount if self._ratio_matters(element, atoms) else 0,
            self.binary,
            centre=centre,
            centres=self.centres if centre and element == self.beside else 0,
            **{name: getattr(self, name) for name in _DECIDING.get(element, ())},
        )

    def _ratio_matters(self, element: str, atoms: int) -> bool:
        """Whether it matters how many atoms of ``beside`` there are for each of an element."""
        if element not in _COUNTED:
            return False
        ratio, chalcogenide = self.amount / atoms, self.beside in CHALCOGENS
        if self.beside == "O" and (element in ("C", "S") or (element == self.centre and ratio == 4)):
            return True
        if ratio == 3 and element in _BETWEEN and (chalcogenide or element == "P"):
            return True
        if ratio == 1 and chalcogenide and (element in ("Ga", "In") or self.pyrites):
            return True
        return self.binary and (element in _CAGES or ratio == _HALIDES.get(element))

    def _trichalcogenide(self, atoms: int) -> bool:
        return (
            self.binary
            and self.centre in _TRICHALCOGENIDES
            and self.beside in CHALCOGENS
            and atoms == 3 * self.centres
        )


def chain_share(element: str, atoms: int, charge: int, around: Surroundings) -> float:
    """Share of an anion's atoms that have a mean charge of ``-charge / atoms`` and bonds to their like."""
    ratio = Fraction(charge, atoms)
    rule = _CHAINS.get(element)
    if rule is None:
        return 0.0
    share = rule(ratio, around)
    if around.pyrites and ratio == 1 and element in _ARSENIC and around.beside in CHALCOGENS:
        return _USUAL if around.amount == atoms else share * _BESIDE_ANOTHER  # FeAsS
    if element != around.beside:
        return share * _BESIDE_ANOTHER
    return share if around.binary or element in _NETS else share * _IN_TERNARIES


def _oxygen(ratio: Fraction, around: Surroundings) -> float:
    if not around.only_soft:
        return 0.0
    if ratio == 1:
        return _WELL_KNOWN
    if around.only_alkali and ratio in (_HALF, _THIRD, 2 * _THIRD):  # the last is Rb4O6
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
        if around.binary:
            return _USUAL if around.pyrites else _USUAL / 2
        return _WELL_KNOWN
    return _WELL_KNOWN if ratio >= _THIRD and around.soft else _UNCOMMON


def _zintl(ratio: Fraction, around: Surroundings) -> float:
    if (around.zintl and ratio >= _HALF) or (around.soft and around.binary and ratio in _CAGE_ANIONS):
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
_USUAL, _WELL_KNOWN, _UNCOMMON, _RARE = 0.9, 0.25, 0.02, 0.004
_CAGE_ANIONS = (Fraction(3, 7), Fraction(3, 11), Fraction(1, 5), Fraction(1, 15))
"""P7 3-, P11 3-, BaP10 and KP15."""
_ARSENIC = elements("P As Sb")
_PEROXIDES = elements("Cr Nb Ta V Mo W")
"""Metals of which K3CrO8 and its like are known."""
_BESIDE_ANOTHER, _IN_TERNARIES = 0.1, 0.4
_NETS = elements("P As Sb Bi B C Si Ge Sn Pb")
_CHAINS: dict[str, Callable[[Fraction, Surroundings], float]] = {
    "O": _oxygen,
    "N": _nitrogen,
    **dict.fromkeys(CHALCOGENS, _chalcogen),
    **dict.fromkeys(("P", "As", "Sb", "Bi", "Si", "Ge", "Sn", "Pb"), _zintl),
    "C": _carbon,
    "B": _boron,
    **dict.fromkeys(("I", "Br"), _halogen),
}
_DECIDING = {
    "O": ("only_soft", "only_alkali"),
    "N": ("only_metals", "azides"),
    **dict.fromkeys(CHALCOGENS, ("soft", "pyrites")),
    **dict.fromkeys(("P", "As", "Sb"), ("soft", "zintl", "pyrites")),
    **dict.fromkeys(("Bi", "Si", "Ge", "Sn", "Pb"), ("soft", "zintl")),
    "C": ("soft",),
    "B": (),
    **dict.fromkeys(("I", "Br"), ("trihalides",)),
}
"""What their rules ask for."""
_BETWEEN = {
    **dict.fromkeys(("Si", "Ge", "Sn", "Pb", "C"), (1, 3)),
    **dict.fromkeys(("P", "As", "Sb", "Bi"), (2, 4)),
    **dict.fromkeys(CHALCOGENS, (3, 5)),
    **dict.fromkeys(("Ga", "In", "Tl"), (2,)),
}
"""States with an odd electron: found only in pairs."""
_OXALATES = {("C", 3): 2, ("S", 3): 2, ("S", 5): 3}
"""Oxygen over carbon in oxalate, over sulphur in dithionite and dithionate."""
_UNPAIRED = 0.02
_PEROXO = {"C": (1, 2), "P": (1,), "S": (1, 2), "B": (2,)}
"""Oxygen atoms of peroxo groups for one atom: 1 in S2O8 2-, 2 in SO5 2-."""
_TETRAHEDRA = {"Cr": (5,), "Mn": (5, 6, 7), "Fe": (6,), "Tc": (7,), "Ru": (6, 7), "Re": (7,)}
"""States of metals that are usual in MO4 between soft cations."""
_HALIDES = {"B": 2, "C": 3, "Si": 3, "Ge": 3, "P": 2, "As": 2, "S": 1, "Se": 1}
"""States in molecules of a halide with one bond between like atoms: B2Cl4, Si2Cl6, P2I4, S2Cl2."""
_CAGES = {"P": {"S": (3, 10), "Se": (3, 10), "O": (6, 10)}, "As": {"S": (3, 10), "Se": (3, 10)}}
"""Least and most atoms of the other element for four of these: P4S3, As4S4, P4O7."""
_COUNTED = _BETWEEN.keys() | _TETRAHEDRA.keys() | _HALIDES.keys() | _CAGES.keys()
_TRICHALCOGENIDES = elements("Ti Zr Hf Nb Ta Th U")
_OXOANIONS = elements("B C Si Ge N P As Sb S Se Te Cl Br I")
_CENTRES = _OXOANIONS | _PEROXIDES | _TETRAHEDRA.keys() | _TRICHALCOGENIDES


def needs_pair(element: str, state: int) -> bool:
    """Whether atoms of a state have an odd electron, which they share with their like."""
    return state in _BETWEEN.get(element, ())


def pair_share(element: str, state: int, atoms: int, around: Surroundings, share: float) -> float:
    """Return the share of a state: more where it needs a bond to a like atom and its partners fit, or less.

    Such are P2S6, Ge2Te6, the layers of GaS and InSe, oxalate, dithionite and dithionate.
    """
    if not needs_pair(element, state):
        return share
    ratio, beside = Fraction(around.amount, atoms), around.beside
    if element in ("C", "S"):
        fits = beside == "O" and ratio == _OXALATES.get((element, state))
        share *= 1.0 if beside == "O" and ratio >= 2 else _UNPAIRED
    elif element in ("Ga", "In"):  # InTe has In+ and In3+
        fits = beside in CHALCOGENS and ratio == 1 and (element, beside) != ("In", "Te")
        share *= _UNPAIRED
    else:
        fits = ratio == 3 and (beside in CHALCOGENS or element == "P")
        share *= _UNPAIRED
    return max(share, _WELL_KNOWN) if fits else share


def groups(element: str, atoms: int, around: Surroundings) -> list[tuple[float, MeanStates]]:
    """Return what atoms of an element are in kinds of compounds of their own, with its share.

    These are molecular halides and cages, tetrahedral oxoanions of metals, peroxo- and thio-anions, and the
    trichalcogenides of TiS3's kind.
    """
    if not (around.amount or around.centre):
        return []
    found: list[MeanStates] = []
    ratio = Fraction(around.amount, atoms)
    if around.binary and around.beside in ("F", "Cl", "Br", "I") and ratio == _HALIDES.get(element):
        found.append(((_HALIDES[element], atoms),))
    least, most = _CAGES.get(element, {}).get(around.beside, (1, 0))
    if around.binary and least <= 4 * ratio <= most:
        found.append(((whole(2 * ratio), atoms),))
    if around.beside == "O" and around.centre == element and ratio == 4:
        found += [((state, atoms),) for state in _TETRAHEDRA.get(element, ())]
    if around.beside == "O" and around.centre == element == "S" and ratio in _THIONATES:
        found.append(((whole(2 * ratio - Fraction(2, _THIONATES[ratio])), atoms),))
    if element == around.beside == "O" and around.centre in _PEROXO:
        pairs = (n * around.centres for n in _PEROXO[around.centre])
        found += [((-2, atoms - n), (-1, n)) for n in pairs if n < atoms]
    if element == around.beside == "O" and around.centre in _PEROXIDES and atoms == 8 * around.centres:
        found.append(((-1, atoms),))
    shared = [(_WELL_KNOWN, states) for states in found]
    if element == around.beside and around.centre in _TRICHALCOGENIDES and element in CHALCOGENS:
        shared.append((_USUAL, ((-2, atoms // 3), (-1, atoms // 3 * 2))))
    return shared


def whole(mean: Fraction) -> int | Fraction:
    """Return a mean as a whole number if it is one."""
    return int(mean) if mean.denominator == 1 else mean


_THIONATES = {Fraction(6, n): n for n in (3, 4, 5, 6)}
"""Oxygen over sulphur, and the sulphur atoms, of SnO6 2-."""


def group_size(element: str, mean: Fraction) -> int:
    """Return the atoms of one element in the group that carries a whole charge: 2 in O2 2-, 3 in N3-."""
    if not -VALENCE.get(element, 0) < mean < 0:
        return mean.denominator
    if element in CHALCOGENS and (-2 / mean).denominator == 1:
        return int(-2 / mean)
    usual = _GROUPS.get(element, 1)
    if usual % mean.denominator == 0 and not (element == "B" and mean == -1):
        return usual
    return mean.denominator


_GROUPS = {"B": 6, **dict.fromkeys(("O", "C", "N"), 2)}
