"""Contacts: distances between atoms relative to the sum of their covalent radii.

The radii (Cordero) are too long for Ce and the light actinides, whose shortest bonds (uranyl, 1.8 Å) would
otherwise set the limit for everything else; they get 1.75 Å here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table
from invdesign.crystal.soundness import FEW, nearest, pair_distances, reduced

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_CONTACT = 0.70
"""Least distance between two atoms, as a share of the sum of their radii."""
IMPOSSIBLE = 0.5
"""Share of the sum of radii below which two atoms are a mistake; 26 299 crystals of ours have none."""
_NEIGHBORS = 12  # of an atom that are looked at: a heap of atoms has millions
_SHORT_BONDED = 1.75  # Å, radius of Ce, U, Np and Pu


@lru_cache(maxsize=1)
def _radii() -> np.ndarray:
    """Radius by atomic number, Å, shape (104,)."""
    radii = element_table()["covalent_radius"].copy()
    radii[[ATOMIC_NUMBER[element] for element in ("Ce", "U", "Np", "Pu")]] = _SHORT_BONDED
    return radii


def shortest_contact(structure: Structure) -> tuple[str, str, float, float]:
    """Find the two elements that are closest for their size, their distance (Å) and its share of the radii.

    Periodic images of the same atom count. Where no two atoms are within the sum of their radii, the pair
    that is nearest to it is found by looking further.
    """
    numbers = np.array(structure.atomic_numbers)
    radii = _radii()[numbers]
    largest, edge = float(radii.max()), min(structure.lattice.abc)
    # also keeps a collapsed cell from having millions of neighbours
    if edge < MIN_CONTACT * 2 * largest:
        symbol = SYMBOLS[int(numbers[radii.argmax()])]
        return symbol, symbol, edge, edge / (2 * largest)
    reach = 2 * largest
    while True:
        centres, others, _, distances = structure.get_neighbor_list(reach, exclude_self=True)
        if len(distances):
            shares = distances / (radii[centres] + radii[others])
            nearest = int(shares.argmin())
            first, second = SYMBOLS[int(numbers[centres[nearest]])], SYMBOLS[int(numbers[others[nearest]])]
            return first, second, float(distances[nearest]), float(shares[nearest])
        reach *= 1.5


def impossible_contact(structure: Structure) -> tuple[str, str, float, float] | None:
    """Find two atoms closer than :data:`IMPOSSIBLE`: their elements, their distance and the limit, Å."""
    numbers = np.array(structure.atomic_numbers)
    radii, matrix = _radii()[numbers], structure.lattice.matrix
    largest = int(radii.argmax())
    reach = 2 * IMPOSSIBLE * float(radii[largest])
    thinnest = 1 / float(np.linalg.norm(np.linalg.inv(matrix), axis=0).max())
    if thinnest < reach and (edge := float(np.linalg.norm(reduced(matrix), axis=1).min())) < reach:
        return SYMBOLS[int(numbers[largest])], SYMBOLS[int(numbers[largest])], edge, reach
    if thinnest > 2 * reach and len(numbers) <= FEW:
        first, second, distances = pair_distances(matrix, structure.frac_coords)
    else:
        distances, found = nearest(matrix, structure.frac_coords, reach, _NEIGHBORS)
        first, second, distances = (
            np.arange(len(numbers)).repeat(_NEIGHBORS),
            found.ravel(),
            distances.ravel(),
        )
    limits = IMPOSSIBLE * (radii[first] + radii[second])
    if not (distances < limits).any():
        return None
    worst = int((distances / limits).argmin())
    symbols = [SYMBOLS[int(numbers[ends[worst]])] for ends in (first, second)]
    return symbols[0], symbols[1], float(distances[worst]), float(limits[worst])
