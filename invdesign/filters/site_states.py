"""Oxidation states that a structure holds: bonds between non-metals change the charge of their ions.

A composition cannot tell K2S3 with chains from a sulfide: each S-S bond takes an electron less from the
metals. Every atom of a non-metal gets the charges that its bonds leave it by the octet rule (8 - N): one less
negative for each bond to its own element, two for each bond to a more electronegative one, or the usual
states of a cation with and without a lone pair. Atoms that symmetry makes equal have one state: mixed
valence needs distinct orbits. A metal with an odd electron that it would share (In2+ in InSe) needs a bond to
its like. The crystal stands if some choice of these and of usual states of the metals is
neutral.

Of 770 crystals of mp20 with a gap above 0.3 eV and without boron 97.7 % stand, of 352 without a gap 68 %.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from math import gcd, log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from invdesign.composition.assignment import surroundings, written
from invdesign.composition.formula import reduced_amounts
from invdesign.composition.polyanions import VALENCE as MISSING
from invdesign.composition.polyanions import MeanStates, elements, needs_pair
from invdesign.composition.state_likelihood import ORDER, ion_options, shares_of
from invdesign.crystal.elements import ATOMIC_NUMBER, element_table
from invdesign.crystal.symmetry import orbits_of
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure

GATE = "site states"
CONTRADICTION = "its bonds contradict usual states"
UNRULED = "no non-metals that keep to the octet rule"
BY_STRUCTURE = "by its structure"
UNCOUNTED = "its metals have no usual states to count with"
_OCTET = elements("C Si Ge N P As Sb O S Se Te F Cl Br I")
VALENCE = {symbol: 8 - MISSING[symbol] for symbol in sorted(_OCTET)}
"""Valence electrons of the non-metals that keep to the octet rule; boron has clusters."""
BOND, NEAR = 1.15, 1.35
"""Distances over sums of covalent radii: up to the first a bond; up to the second an ion may be a cation."""
TETREL_BOND = 1.1
"""The first for two atoms of C, Si or Ge: in rings of two with oxygen or sulfur they come as near as 1.13."""
REACH = 3.6  # Å
POSSIBLE = 0.02
"""Share of the ions of an element next to such an anion from which on a state counts."""
SOFTNESS = 0.31  # Å, of bond valences, as pymatgen has it
MOST_SUMS = 4000


class Bonds(NamedTuple):
    """Bonds of each atom, (n,).

    Of non-metals to their own element, to more electronegative non-metals, and near the latter; of any atom
    to its own element.
    """

    like: np.ndarray
    up: np.ndarray
    near: np.ndarray
    paired: np.ndarray


def bonds_of(structure: Structure) -> Bonds:
    """Count the bonds between non-metals of an ordered crystal."""
    n, numbers = len(structure), np.array(structure.atomic_numbers)
    table = element_table()
    first, second, _, distance = structure.get_neighbor_list(REACH)
    radius, scale = table["covalent_radius"][numbers], table["electronegativity"][numbers]
    relative = distance / (radius[first] + radius[second])
    nonmetal = np.isin(numbers, [ATOMIC_NUMBER[symbol] for symbol in VALENCE])
    both = nonmetal[first] & nonmetal[second]
    tetrels = np.isin(numbers[first], [ATOMIC_NUMBER[symbol] for symbol in ("C", "Si", "Ge")])
    paired = (numbers[first] == numbers[second]) & (relative < np.where(tetrels, TETREL_BOND, BOND))
    like = both & paired
    upward = both & (scale[second] > scale[first])
    counted = (like, upward & (relative < BOND), upward & (relative < NEAR), paired)
    return Bonds(*(np.bincount(first[pairs], minlength=n) for pairs in counted))


def nonmetal_states(symbol: str, like: int, up: int, near: int) -> set[float]:
    """Return the states that bonds leave an atom of a non-metal.

    Args:
        symbol: of :data:`VALENCE`.
        like: its bonds to its own element.
        up: its bonds to more electronegative non-metals.
        near: those up to the longer limit.
    """
    valence = VALENCE[symbol]
    missing = 8 - valence
    if symbol in {"C", "N"} and (like or up):  # double and triple bonds
        return set(range(-missing, valence + 1))
    octet = -missing + like
    if near:
        lone = {valence, valence - 2, valence - like, valence - 2 - like, min(valence, octet + 2 * up)}
        return lone | ({valence - 4} if valence >= 6 else set()) | (set() if up else {octet})
    if symbol == "I" and like:  # polyiodides
        return {-1, 0, 1}
    if symbol == "O" and like == 1:  # peroxides and superoxides
        return {-1, -0.5}
    return {min(0, octet)}


def bond_valences(structure: Structure) -> np.ndarray:
    """Return the sum of bond valences of each atom of an ordered crystal, (n,), positive for cations.

    O'Keeffe and Brese 1991 (doi:10.1021/ja00009a002), pymatgen's parameters; 0 for elements without any.
    """
    from pymatgen.analysis.bond_valence import BV_PARAMS
    from pymatgen.core import Element

    numbers = np.array(structure.atomic_numbers)
    parameters = [BV_PARAMS.get(Element.from_Z(z), {"r": np.nan, "c": np.nan}) for z in numbers.tolist()]
    size, pull = (np.array([own[name] for own in parameters]) for name in ("r", "c"))
    first, second, _, distance = structure.get_neighbor_list(REACH)
    one, other = size[first], size[second]
    roots = (np.sqrt(pull[first]) - np.sqrt(pull[second])) ** 2
    length = one + other - one * other * roots / (pull[first] * one + pull[second] * other)
    scale = element_table()["electronegativity"][numbers]
    valence = np.exp((length - distance) / SOFTNESS) * np.sign(scale[second] - scale[first])
    return np.bincount(first, weights=np.nan_to_num(valence), minlength=len(structure))


def cation_states(symbol: str, amounts: Mapping[str, int]) -> dict[int, float]:
    """Return the states of a cation in a compound, with their shares; hydrogen has both signs.

    Args:
        symbol: the element.
        amounts: atoms in the reduced formula, by element.
    """
    around = surroundings(sorted(amounts, key=ORDER.__getitem__), amounts)
    shares = shares_of(symbol, around.beside) | {
        int(ions.states[0][0]): ions.share
        for ions in ion_options(symbol, amounts[symbol], around.of(symbol, amounts[symbol])).ions
        if len(ions.states) == 1
    }
    return {state: p for state, p in shares.items() if p >= POSSIBLE and (state > 0 or symbol == "H")}


def site_states(structure: Structure) -> Verdict:
    """Check whether the bonds of an ordered, relaxed crystal leave charges that its metals can balance.

    Returns:
        The verdict. Its reason names the states by site, of all neutral choices the likeliest and nearest
        to the sums of bond valences, or by how much the nearest choice fails; and bonds between like atoms.
    """
    symbols = [str(site.specie.symbol) for site in structure]
    if not VALENCE.keys() & set(symbols) or "B" in symbols:
        return Verdict(GATE, passed=True, reason=UNRULED)
    bonds, valences = bonds_of(structure), bond_valences(structure)
    amounts = reduced_amounts(structure.composition)
    totals: dict[float, Choice] = {0: (0.0, ())}
    for place, size in zip(*np.unique(orbits_of(structure), return_counts=True), strict=True):
        symbol, (*counts, paired) = symbols[place], (int(own[place]) for own in bonds)
        if symbol in VALENCE:
            costs = dict.fromkeys(sorted(nonmetal_states(symbol, *counts)), 0.0)
        else:
            costs = {
                s: (s - valences[place]) ** 2 - log(p)
                for s, p in cation_states(symbol, amounts).items()
                if paired or not needs_pair(symbol, s)
            }
        totals = _added(totals, symbol, int(size), costs)
        if not totals or len(totals) > MOST_SUMS:
            return Verdict(GATE, passed=True, reason=UNCOUNTED)
    off = min(totals, key=abs)
    like = _like_bonds(symbols, bonds.like)
    if off:
        reason = f"{CONTRADICTION}: the nearest leave {off:+g} in the cell{like}"
        return Verdict(GATE, passed=False, reason=reason, value=float(off))
    return Verdict(GATE, passed=True, reason=f"{written(_states(totals[0][1]))}{like}")


def states_told(charges: Verdict, held: Verdict | None) -> str:
    """Return the states of a crystal: those that its structure holds, the composition's where it tells none.

    Args:
        charges: of the composition (``charge balance``).
        held: of the structure (:func:`site_states`), if it was looked at.
    """
    if held is not None and held.reason.startswith(CONTRADICTION):
        return f"none: {held.reason}"
    if held is None or not holds_others(charges, held):
        return charges.reason
    return f"{BY_STRUCTURE}: {_states_of(held)}"


def holds_others(charges: Verdict, held: Verdict) -> bool:
    """Whether elements of a crystal have other mean charges than in the likeliest states of its composition.

    How the atoms of one element share their charge does not count. False where one of both tells no ions.
    """
    _, _, likeliest = charges.reason.partition(": ")
    mine, theirs = (_mean_charges(text.split(", ")[0]) for text in (likeliest, held.reason))
    return bool(mine and theirs) and mine != theirs


_ION = re.compile(r"(?:(\d+) )?([A-Z][a-z]?)(?:(\d+)\((\d+)([+-])\)|(\d+)([+-])|0)")
"""``2 Fe3+``, ``S2(2-)``, ``Se0``: number, element, atoms and charge of a group, or charge of an atom."""


def _mean_charges(ions: str) -> dict[str, Fraction]:
    """Mean charge by element of written ions; empty where the text is none."""
    found = list(_ION.finditer(ions))
    if " ".join(ion[0] for ion in found) != ions:
        return {}
    atoms, total = Counter[str](), Counter[str]()
    for n, element, group, of_group, group_sign, of_atom, sign in (ion.groups("") for ion in found):
        number = int(n or 1)
        atoms[element] += number * int(group or 1)
        charge = int(f"{group_sign or sign}{of_group or of_atom or 0}")
        total[element] += number * charge
    return {element: Fraction(total[element], atoms[element]) for element in atoms}


def _states_of(held: Verdict) -> str:
    return held.reason.split(", with ")[0]


Choice = tuple[float, tuple[tuple[str, float, int], ...]]
"""Cost, and (symbol, state, atoms) of each orbit."""


def _added(
    totals: Mapping[float, Choice], symbol: str, size: int, costs: Mapping[float, float]
) -> dict[float, Choice]:
    """Total charges with one more orbit, each with the cheapest choice of states."""
    found: dict[float, Choice] = {}
    for charge, (cost, chosen) in totals.items():
        for state, own in costs.items():
            total, new = charge + size * state, cost + size * own
            if total not in found or new < found[total][0]:
                found[total] = (new, (*chosen, (symbol, state, size)))
    return found


def _states(orbits: tuple[tuple[str, float, int], ...]) -> list[tuple[str, MeanStates]]:
    """Return the states of a formula unit by element, cations first."""
    atoms: dict[str, Counter[float]] = {}
    for symbol, state, size in orbits:
        atoms.setdefault(symbol, Counter())[state] += size
    unit = gcd(*(own.total() for own in atoms.values()))
    return [
        (symbol, tuple((Fraction(state), Fraction(n, unit)) for state, n in sorted(atoms[symbol].items())))
        for symbol in sorted(atoms, key=ORDER.__getitem__)
    ]


def _like_bonds(symbols: list[str], like: np.ndarray) -> str:
    """Name the bonds between like atoms: ``, with 2 S-S bonds``."""
    ends = Counter[str]()
    for symbol, count in zip(symbols, like.tolist(), strict=True):
        ends[symbol] += count
    named = [f"{n // 2} {symbol}-{symbol} bond{'s' * (n > 2)}" for symbol, n in sorted(ends.items()) if n]
    return f", with {' and '.join(named)}" if named else ""
