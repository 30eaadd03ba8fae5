"""How likely an element takes its oxidation states beside a given anion, and what else its atoms can do.

The shares of the states are counted in the Materials Project, on top of the ICSD's counts as smact and
pymatgen have them (``training/state_shares.py``), by element and by the most electronegative element of the
compound. Beside one state an element may take two (mixed valence), form pairs and chains (``polyanions``),
or, in a second attempt, keep electrons in bonds between its atoms (clusters, subvalent metals).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from invdesign.composition.polyanions import (
    CHALCOGENS,
    PYRITES,
    MeanStates,
    Surroundings,
    chain_share,
    elements,
    groups,
    needs_pair,
    pair_share,
)

_ORDER = (
    "Cs Rb K Na Li Fr Ra Ba Sr Ca Mg Eu Yb La Ce Pr Nd Pm Sm Gd Tb Dy Ho Er Tm Lu Y Sc Ac Th Pa U Np Pu Am "
    "Cm Bk Cf Es Fm Md No Lr Be Hf Zr Ti Ta Nb V Cr Mn Tc Re W Mo Os Ru Fe Co Ni Ir Rh Pd Zn Cd Cu Ag Al Hg "
    "Ga In Tl Pb Sn Bi Pt Au Po B Si Ge Sb H As P Te C Se S At He Ne Ar Kr Xe Rn I N Br Cl O F"
)
ORDER = {symbol: place for place, symbol in enumerate(_ORDER.split())}
"""Elements from the most electropositive; metals come before all others, whatever their electronegativity."""
_FIRST_NONMETAL = ORDER["B"]

MIXED = elements(
    "Ag Au Bi Ce Co Cr Cu Eu Fe Ga In Mn Mo Nb Ni Os Pb Pd Pr Pt Re Ru Sb Sm Sn Tb Ti Tl U V W Yb"
)
"""Elements of which compounds with two oxidation states are well known."""
SKIP = elements("Ag As Au Bi Ga Ge In Pb Sb Sn Tl")
"""Elements whose states are two apart: the one between is a mixture of its neighbours, or a pair."""
_SINGLY = elements("Ag Au Bi Ga In Sb Tl")  # such a mixture even with one atom in the formula
_TWO_KINDS = {"N": (-3, 5), "H": (-1, 1)}
"""Ammonium beside nitrate, protons beside hydride."""
_MIXED_SHARE, _RARELY_MIXED, _UNEVEN = 0.4, 0.02, 0.2
_TRIVALENT = elements("La Ce Pr Nd Gd Tb Dy Ho Er Tm Lu Y Sc")
_PAIRS_INSTEAD = 0.1
_LIFT, _LONE_PAIR_LIFT = 0.5, 0.4
_APART = {1: 1.0, 2: 0.3}
_CLUSTERED = {"C": 0.05}
_CLUSTER, _SUBVALENT = 0.01, 0.004
_OXIDISERS = {
    "I": {("Cu", 2), ("Cu", 3), ("Fe", 3), ("Tl", 3), ("Pb", 4)},
    "Br": {("Cu", 3), ("Pb", 4)},
    "Cl": {("Cu", 3)},
    "S": {("Pb", 4)},
    "Se": {("Pb", 4), ("Eu", 3)},
    "Te": {("Pb", 4), ("Eu", 3)},
}
"""Ions that take an electron from an anion; entries of computed compounds have them all the same."""
_OXIDISED = 0.05
POSSIBLE = 0.0007
"""Likelihood from which on there are any oxidation states, so also of those of one element."""
_MOST_ATOMS = 100  # of an element that may divide over states
Shared = tuple[float, int, MeanStates]  # share, charge and states of some ions


class Ions(NamedTuple):
    """What the atoms of one element can be.

    Attributes:
        charge: of all of them, e.
        log: logarithm of the share.
        share: of the element's atoms beside such anions that are so.
        states: oxidation state and atoms of each kind; empty within chains and clusters, where charge and
            atoms tell the mean.
    """

    charge: int
    log: float
    share: float
    states: MeanStates


class Options(NamedTuple):
    """What the atoms of one element can be, the likeliest first, and the lowest charge among these."""

    ions: tuple[Ions, ...]
    lowest: int


def is_nonmetal(symbol: str) -> bool:
    """Whether an element can be an anion beside metals (metalloids can)."""
    return ORDER.get(symbol, -1) >= _FIRST_NONMETAL


@lru_cache(maxsize=1)
def _shares() -> dict[tuple[str, str], dict[int, float]]:
    """Share of each state by element and most electronegative element."""
    table: dict[tuple[str, str], dict[int, float]] = {}
    text = files("invdesign.composition").joinpath("state_shares.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        element, beside, state = row["element"], row["beside"], int(row["state"])
        weaker = _OXIDISED if (element, state) in _OXIDISERS.get(beside, ()) else 1.0
        table.setdefault((element, beside), {})[state] = weaker * float(row["share"])
    return table


def read_shares_again() -> None:
    """Forget the shares, whose file has changed."""
    for cached in (_shares, _shares_in, _mixed_sets, ion_options):
        cached.cache_clear()


def shares_of(element: str, beside: str) -> dict[int, float]:
    """Share of each oxidation state of an element in compounds of a most electronegative element."""
    table = _shares()
    return table.get((element, beside)) or table.get((element, "")) or {}


def plain_shares(element: str, beside: str) -> dict[int, float]:
    """Share of each state that no kind of compound lowers."""
    paired = element in PYRITES and beside in CHALCOGENS
    return {
        state: share
        for state, share in shares_of(element, beside).items()
        if not (needs_pair(element, state) or (paired and state == 4) or (element == "O" and state > 0))
    }


@lru_cache(maxsize=100_000)
def ion_options(element: str, atoms: int, around: Surroundings) -> Options:
    """Return what so many atoms of an element can be: the likeliest of each charge, by likelihood."""
    if around.clusters:
        found = ion_options(element, atoms, around._replace(clusters=False)).ions
        shares = {ions.charge: ions.share for ions in found}
        weak = _clusters(element, atoms, _shares_in(element, around.beside, _kind(element, around)), around)
        found += tuple(_ions(one) for one in weak if one[0] > shares.get(one[1], 0.0))
    else:
        best: dict[int, Shared] = {}
        for option in _options(element, atoms, around, most_kinds=2):
            share, charge, _ = option
            if share >= POSSIBLE and (charge not in best or share > best[charge][0]):
                best[charge] = option
        found = tuple(_ions(option) for option in best.values())
    lowest = min((ions.charge for ions in found), default=0)
    return Options(tuple(sorted(found, key=lambda ions: -ions.share)), lowest)


def every_option(element: str, atoms: int, around: Surroundings) -> list[Ions]:
    """Every set of ions that some atoms of an element can be, of up to three states."""
    options = _options(element, atoms, around, most_kinds=3)
    return [_ions(option) for option in options if option[0] >= POSSIBLE]


def _ions(option: Shared) -> Ions:
    share, charge, states = option
    return Ions(charge, math.log(share), share, states)


def _options(element: str, atoms: int, around: Surroundings, most_kinds: int) -> Iterator[Shared]:
    """Share, charge and states of each option."""
    kind = _kind(element, around)
    shares = _shares_in(element, around.beside, kind)
    for state, share in shares.items():
        yield pair_share(element, state, atoms, around, share), state * atoms, ((state, atoms),)
    for share, states in groups(element, atoms, around):
        yield share, int(sum(state * n for state, n in states)), states
    if atoms > _MOST_ATOMS:
        return
    for kinds in range(2, most_kinds + 1):
        for chosen, share in _mixed_sets(element, around.beside, kind, kinds):
            yield from _mixtures(element, atoms, chosen, share)
    for charge in range(1, max(-min(shares, default=0) * atoms, 0)):
        yield chain_share(element, atoms, charge, around), -charge, ()


Kind = Literal["binary", "oxoanion", "other"]


def _kind(element: str, around: Surroundings) -> Kind:
    """Return in what kind of compound an element has its states."""
    if around.binary and element not in _TRIVALENT:
        return "binary"
    return "oxoanion" if around.centre == element and is_nonmetal(element) else "other"


@lru_cache(maxsize=20_000)
def _shares_in(element: str, beside: str, kind: Kind) -> dict[int, float]:
    """Share of each state in a kind of compound.

    Nothing competes for the electrons in a binary compound and in an oxoanion between soft cations: states
    below the likeliest are raised, and in a binary shares are relative to the largest.
    """
    shares = shares_of(element, beside)
    if element == "O" and kind != "binary":  # positive in OF2 alone
        shares = {state: p for state, p in shares.items() if state < 0}
    if kind == "other":
        return shares
    binary = kind == "binary"
    most = max((p for state, p in shares.items() if state > 0), default=1.0)
    highest = max((state for state, p in shares.items() if state > 0 and p >= most / 2), default=0)
    if element in PYRITES and beside in CHALCOGENS:
        shares = {state: p * (_PAIRS_INSTEAD if state == 4 else 1.0) for state, p in shares.items()}
    scale = most if binary else 1.0
    lift = _LONE_PAIR_LIFT if element in SKIP or not binary else _LIFT
    step = 1 if binary else 2  # oxoanions keep their electrons in pairs
    return {
        state: p
        if state < 0
        else (p / scale) ** (lift if state < highest and (highest - state) % step == 0 else 1.0)
        for state, p in shares.items()
    }


@lru_cache(maxsize=20_000)
def _mixed_sets(element: str, beside: str, kind: Kind, kinds: int) -> list[tuple[tuple[int, ...], float]]:
    """States that an element has together in a compound, with the share of such mixtures."""
    shares = _shares_in(element, beside, kind)
    states = sorted(state for state in shares if state > 0)
    if beside in CHALCOGENS:
        states = [state for state in states if state < 5 or element not in ("As", "Sb")]  # not beside 3+
    sets = [chosen for chosen in combinations(states, kinds) if _mix(element, chosen)]
    if element in _TWO_KINDS and kinds == 2:
        sets.append(_TWO_KINDS[element])
    common = _MIXED_SHARE if element in MIXED or element in _TWO_KINDS else _RARELY_MIXED
    found = []
    for chosen in sets:
        apart = max(b - a for a, b in pairwise(chosen))
        expected = 2 if element in SKIP else 1
        factor = 1.0 if element in _TWO_KINDS else _APART.get(1 + abs(apart - expected), 0.05)
        share = common * factor * math.prod(shares.get(state, 0.0) for state in chosen) ** (1 / kinds)
        share *= 0.3 ** (kinds - 2)
        if share >= POSSIBLE:
            found.append((chosen, share))
    return found


def _mixtures(element: str, atoms: int, chosen: tuple[int, ...], share: float) -> Iterator[Shared]:
    """Divide atoms over states; also a single atom in the formula where that is usual."""
    states: MeanStates
    if len(chosen) == 2:
        (low, high), rare = chosen, share * _UNEVEN
        for n in range(1, atoms):
            even = atoms <= 3 * n <= 2 * atoms  # neither more than twice the other
            states = ((low, n), (high, atoms - n))
            yield share if even else rare, low * n + high * (atoms - n), states
    else:
        for counts in _compositions(atoms, len(chosen)):
            states = tuple(zip(chosen, counts, strict=True))
            even = max(counts) <= 2 * min(counts)
            charge = sum(state * n for state, n in zip(chosen, counts, strict=True))
            yield share * (1.0 if even else _UNEVEN), charge, states
    if len(chosen) == 2 and element in _SINGLY:
        for n in range(1, 2 * atoms, 2) if atoms <= 2 else [atoms] * (atoms % 2):
            half = Fraction(n, 2)
            states = ((chosen[0], half), (chosen[1], atoms - half))
            yield share, int(chosen[0] * half + chosen[1] * (atoms - half)), states


def _mix(element: str, states: tuple[int, ...]) -> bool:
    if element not in SKIP:
        return True
    usual = {"Ag": (1, 2, 3), "Au": (1, 3)}.get(element)
    if usual:
        return set(states) <= set(usual)
    return len({state % 2 for state in states}) == 1 and states[0] % 2 == _PARITY[element]


_PARITY = {"As": 1, "Bi": 1, "Ga": 1, "Ge": 0, "In": 1, "Pb": 0, "Sb": 1, "Sn": 0, "Tl": 1}


@lru_cache(maxsize=500)
def _compositions(atoms: int, kinds: int) -> list[tuple[int, ...]]:
    """Return every way to divide atoms over kinds, one each at least."""
    return [
        tuple(b - a for a, b in zip((0, *cuts), (*cuts, atoms), strict=True))
        for cuts in combinations(range(1, atoms), kinds - 1)
    ]


_SUBVALENT_METALS = elements(
    "Cs Rb Ag Ca Sr Ba Sc Y La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Th U Ti Zr Hf V Nb Ta Cr Mo W "
    "Mn Tc Re Fe Ru Os Co Rh Ir Ni Pd Pt Cu Au Hg Bi Np Pu Pa In Tl"
)
_SUBNITRIDES = elements("Ca Sr Ba")  # Ca2N, NaBa3N; CaNaO is none


def _clusters(element: str, atoms: int, shares: dict[int, float], around: Surroundings) -> Iterator[Shared]:
    """Return bonds among atoms that carry a positive charge: boranes, Ag2F, ZrCl."""
    lowest = min((state for state in shares if state > 0), default=0)
    if is_nonmetal(element):
        most, share = max(shares, default=0) * atoms, _CLUSTERED.get(element, _CLUSTER)
    elif element in _SUBVALENT_METALS and (
        element not in _SUBNITRIDES or around.binary or around.beside == "N"
    ):
        most, share = lowest * atoms, _SUBVALENT
    else:
        return
    for charge in range(most):
        yield share, charge, ()
