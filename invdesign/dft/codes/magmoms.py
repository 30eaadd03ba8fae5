"""Magnetic moments to start from, for all codes: ferromagnetic, by the likeliest oxidation states.

High spin in the first row of transition metals, but for the ions that are low-spin in nearly all oxides
and fluorides (:data:`LOW_SPIN`); as many parallel spins as fit in f shells; :data:`HEAVY` for 4d and 5d
ions. A run that starts ferromagnetic mostly stays so: antiferromagnets get too small a gap or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.composition.assignment import assignment
from invdesign.composition.polyanions import MeanStates

if TYPE_CHECKING:
    from pymatgen.core import Element, Structure

IN_METALS = {"Cr": 1.0, "Mn": 3.0, "Fe": 2.3, "Co": 1.7, "Ni": 0.6}
"""Moments (μB) of 3d metals where no oxidation states apply."""
OXYGEN = 1.0  # μB: the molecule's triplet, 0.5 eV/atom below what has no spin
HEAVY = 1.0  # μB: 4d and 5d ions are mostly low-spin
LOW_SPIN = {("Co", 3): 0.6, ("Co", 4): 1.0, ("Ni", 3): 1.0, ("Ni", 4): 0.6}
"""Moments (μB) of 3d ions that are low-spin; 0.6, the Materials Project's, where all electrons pair: enough
to find a moment that is there after all."""


def ionic_moments(structure: Structure) -> dict[str, float]:
    """Moment (μB) of each element with an open d or f shell in its oxidation state.

    Empty where no oxidation states balance, as in intermetallics.
    """
    from pymatgen.core import Element

    moments = {
        symbol: _of_ion(Element(symbol), states) for symbol, states in oxidation_states(structure).items()
    }
    return {symbol: moment for symbol, moment in moments.items() if moment}


def starting_moments(structure: Structure) -> list[float]:
    """Return a moment (μB) per site; none at all (an empty list) where spin is not needed.

    Spin is needed with open d or f shells, and with an odd number of electrons outside metals: such a
    crystal cannot have a gap without it.

    Args:
        structure: the cell that will be computed.
    """
    moments = ionic_moments(structure) if oxidation_states(structure) else _of_metals(structure)
    if structure.symbol_set == ("O",):
        moments = {"O": OXYGEN}
    if moments:
        return [moments.get(site.specie.symbol, 0.0) for site in structure]
    odd = sum(site.specie.Z for site in structure) % 2  # a frozen core's electrons are paired
    if odd and not all(site.specie.is_metal for site in structure):
        return [1.0 / len(structure)] * len(structure)
    return []


def _of_metals(structure: Structure) -> dict[str, float]:
    from pymatgen.core import Element

    moments = {
        symbol: _unpaired_f(Element(symbol), 3)
        if Element(symbol).is_lanthanoid
        else IN_METALS.get(symbol, 0.0)
        for symbol in structure.symbol_set
    }
    return {symbol: moment for symbol, moment in moments.items() if moment}


def oxidation_states(structure: Structure) -> dict[str, MeanStates]:
    """Return the likeliest oxidation states, as (state, atoms), by element; empty where none balance."""
    found = assignment(structure.composition)
    return dict(found.states) if found.kind == "ions" and found.word != "none" else {}


def _of_ion(element: Element, states: MeanStates) -> float:
    """Return the mean over its atoms, of which there may be several oxidation states."""
    if element.is_lanthanoid or element.is_actinoid:
        each = [(_unpaired_f(element, int(state)), float(atoms)) for state, atoms in states]
    elif element.is_transition_metal:
        each = [(_unpaired_d(element, int(state)), float(atoms)) for state, atoms in states]
    else:
        return 0.0
    return sum(moment * atoms for moment, atoms in each) / sum(atoms for _, atoms in each)


def _unpaired_d(element: Element, state: int) -> float:
    if (element.symbol, state) in LOW_SPIN:
        return LOW_SPIN[element.symbol, state]
    electrons = max(0, min(10, element.group - state))
    unpaired = float(min(electrons, 10 - electrons))
    return unpaired if element.row == 4 else min(unpaired, HEAVY)


def _unpaired_f(element: Element, state: int) -> float:
    electrons = max(0, min(14, element.Z - (54 if element.is_lanthanoid else 86) - state))
    return float(min(electrons, 14 - electrons))
