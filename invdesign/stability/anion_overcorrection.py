"""What MP2020 corrects too much: chalcogens and halogens that share electrons among themselves.

PBE binds an anion too weakly relative to its element. MP2020 adds one energy for each atom of sulfur,
selenium, tellurium, chlorine, bromine or iodine that is an anion (Wang et al. 2021, Sci. Rep. 11, 15496),
and counts every atom, also where the cations cannot reduce all of them: MgS2, KBr3 or LiS4 are on its hull,
and SnSe4 lies 0.1 eV/atom below it. Here the correction goes with the charge that the cations can give at
most, as it does for peroxides in MP2020 itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from invdesign.composition.state_likelihood import shares_of
from invdesign.crystal.elements import ATOMIC_NUMBER, element_table

CORRECTIONS = {"S": 0.503, "Se": 0.472, "Te": 0.422, "Cl": 0.614, "Br": 0.534, "I": 0.379}
"""What MP2020 lowers each anion by, eV/atom."""
KINDS = ({"S": 2, "Se": 2, "Te": 2}, {"Cl": 1, "Br": 1, "I": 1})
"""Chalcogens and halogens: electrons that an atom lacks to an octet."""
RARE = 0.05
"""Share of an element's ions from which on a state counts."""


@cache
def highest_state(element: str, beside: str) -> int:
    """Return the highest oxidation state that an element has, not too rarely, beside an anion."""
    shares = shares_of(element, beside)
    return max((state for state, share in shares.items() if share >= RARE), default=0)


def overcorrection(fractions: Mapping[str, float]) -> float | None:
    """Return what has to be added to an energy with MP2020's corrections, eV/atom.

    Electrons of all other elements, at the highest oxidation states that they have beside such anions, go to
    the most electronegative one first.

    Args:
        fractions: atomic fraction by element symbol.

    Returns:
        None beside oxygen, fluorine, nitrogen or an anion of another kind: chalcogens and halogens are then
        as often cations or neutral. Such a compound and its competitors are compared as they are.
    """
    electronegativity = element_table()["electronegativity"]
    chi = {symbol: float(electronegativity[ATOMIC_NUMBER[symbol]]) for symbol in fractions}
    ordered = sorted(fractions, key=lambda symbol: -chi[symbol])
    charge = next((kind for kind in KINDS if ordered[0] in kind), {})
    anions = [symbol for symbol in ordered if symbol in charge]
    if fractions.keys() & CORRECTIONS.keys() - set(anions):
        return None
    if len(fractions) == 1:
        return 0.0
    most = {symbol: highest_state(symbol, ordered[0]) for symbol in ordered}
    left = sum(most[symbol] * fractions[symbol] for symbol in ordered if symbol not in anions)
    if len(anions) == len(ordered):  # TeSe2, IBr: bonds that no anion is made in
        return CORRECTIONS[anions[0]] * fractions[anions[0]]
    total = 0.0
    for place, symbol in enumerate(anions):
        need = charge[symbol] * fractions[symbol]
        # a less electronegative anion may give its electrons too: tellurium in K2TeS3
        beneath = sum(most[other] * fractions[other] for other in anions[place + 1 :])
        if left > 0:
            total += CORRECTIONS[symbol] * fractions[symbol] * (1 - min(1.0, (left + beneath) / need))
        left -= need
    return total
