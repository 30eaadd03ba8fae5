"""Magnetic moments to start from: high spin, ferromagnetic, by oxidation state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.validators.charge import assignments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Element, Structure

IN_METALS = {"Cr": 1.0, "Mn": 3.0, "Fe": 2.3, "Co": 1.7, "Ni": 0.6}
"""Moments (μB) of 3d metals where no oxidation states apply."""
HEAVY = 1.0  # μB: 4d and 5d ions are mostly low-spin


def starting_moments(structure: Structure, valence: Mapping[str, int]) -> list[float]:
    """A moment (μB) per site; none at all (an empty list) where spin is not needed.

    Spin is needed with open d or f shells, and with an odd number of electrons outside metals: such a
    crystal cannot have a gap without it.

    Args:
        structure: the cell that will be computed.
        valence: electrons of each element in the calculation.
    """
    from pymatgen.core import Element

    states = _states(structure)
    elements = {symbol: Element(symbol) for symbol in structure.symbol_set}
    moments = {symbol: _moment(element, states.get(symbol)) for symbol, element in elements.items()}
    if any(moments.values()):
        return [moments[site.specie.symbol] for site in structure]
    odd = sum(valence[site.specie.symbol] for site in structure) % 2
    if odd and not all(element.is_metal for element in elements.values()):
        return [1.0 / len(structure)] * len(structure)
    return []


def _states(structure: Structure) -> dict[str, tuple[tuple[int, int], ...]]:
    """The likeliest oxidation states, as (state, atoms), by element; empty where none balance."""
    found = assignments(structure.composition, most=1)
    return dict(found[0].states) if found else {}


def _moment(element: Element, states: tuple[tuple[int, int], ...] | None) -> float:
    if states is None:
        return _unpaired_f(element, 3) if element.is_lanthanoid else IN_METALS.get(element.symbol, 0.0)
    if element.is_lanthanoid:
        each = [(_unpaired_f(element, state), atoms) for state, atoms in states]
    elif element.is_transition_metal:
        each = [(_unpaired_d(element, state), atoms) for state, atoms in states]
    else:
        return 0.0
    return sum(moment * atoms for moment, atoms in each) / sum(atoms for _, atoms in each)


def _unpaired_d(element: Element, state: int) -> float:
    electrons = max(0, min(10, element.group - state))
    unpaired = float(min(electrons, 10 - electrons))
    return unpaired if element.row == 4 else min(unpaired, HEAVY)


def _unpaired_f(element: Element, state: int) -> float:
    electrons = max(0, min(14, element.Z - 54 - state))
    return float(min(electrons, 14 - electrons))
