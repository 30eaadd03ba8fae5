"""Orderings of alloys: crystals that differ from a mixture of known ones only in who sits where.

Similar elements mix: a generated KRbO is one of the countless orderings of the solid solution of K2O and
Rb2O, not a new compound. Known crystals are ordered here, so an alloy is known by its ends: both crystals
that result from giving the sites of two similar elements to one of them.

Thresholds: radii within 0.3 Å and electronegativities within 1.0 (Pauling), wider than Hume-Rothery's.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from invdesign.crystal.elements import ATOMIC_NUMBER, element_table
from invdesign.filters.novelty import KnownMaterials

if TYPE_CHECKING:
    from pymatgen.core import Structure

RADIUS = 0.3  # Å, of covalent radii
ELECTRONEGATIVITY = 1.0  # Pauling


def like_elements(first: str, second: str) -> bool:
    """Whether two elements mix on one site of a crystal, by size and electronegativity."""
    table, places = element_table(), [ATOMIC_NUMBER[first], ATOMIC_NUMBER[second]]
    radii, pull = table["covalent_radius"][places], table["electronegativity"][places]
    return bool(abs(radii[0] - radii[1]) <= RADIUS and abs(pull[0] - pull[1]) <= ELECTRONEGATIVITY)


def alloy_of(structure: Structure, known: KnownMaterials) -> str:
    """Return the known crystals that a crystal is an ordered mixture of: ``K-Rb: mp-971 and mp-1394``.

    Args:
        structure: ordered; any cell.
        known: reference that the ends of the alloy are looked up in.
    """
    for pair in combinations(sorted(structure.symbol_set), 2):
        if not like_elements(*pair):
            continue
        ends = [_known_id(structure.copy(), old, new, known) for old, new in (pair, pair[::-1])]
        if all(ends):
            return f"{pair[1]}-{pair[0]}: {ends[0]} and {ends[1]}"
    return ""


def _known_id(structure: Structure, old: str, new: str, known: KnownMaterials) -> str:
    """Id of the known crystal that a structure becomes with one element in another's place."""
    structure.replace_species({old: new})
    return next(map(known.id_of, known.same_as(structure)), "")
