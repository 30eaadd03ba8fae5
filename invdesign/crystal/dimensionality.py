"""In how many directions a crystal is connected: molecules 0, chains 1, layers 2, frameworks 3.

Atoms within 1.25 times the sum of their covalent radii are bonded, which no contact between the chains of
tellurium is (1.26), and an atom to all that are at most a tenth further than its nearest: so large ions have
neighbors. Beside non-metals, two metals are not bonded to each other, else the cations would join everything.
An ion counts like any other atom: what alkali metals hold together is no molecule. Alkali and alkaline-earth
ions have no directed bonds, and neighbors of many distances: up to 1.45 times the sum of radii. In the empty
gap between layers the next anion is 1.7 times as far (CaI2, Cs2O).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import element_table

if TYPE_CHECKING:
    from pymatgen.core import Structure

BONDED = 1.25
"""Longest bond, in sums of covalent radii."""
_IONIC = 1.45  # the same, from the most electropositive metals to non-metals
_ELECTROPOSITIVE = 1.0  # up to calcium's electronegativity
_EVEN = 1.1  # longest bond, in that of the nearest neighbor
_REACH = 1.6  # in sums of covalent radii
_ALLOY = 0.75  # share of metals from which these are bonded to one another
WORDS = ("molecules", "chains", "layers", "framework")


def dimensionality(structure: Structure) -> int:
    """Return the largest dimensionality of a bonded part of an ordered crystal, 0 to 3.

    That is the rank of the translations by which the part returns to itself (Larsen et al. 2019,
    doi:10.1103/PhysRevMaterials.3.034003).
    """
    numbers = np.array(structure.atomic_numbers)
    table = element_table()
    radii, metal = table["covalent_radius"][numbers], table["is_metal"][numbers] > 0
    centers, others, images, distances = structure.get_neighbor_list(2 * _REACH * radii.max())
    share = distances / (radii[centers] + radii[others])
    if metal.mean() < _ALLOY:
        share[metal[centers] & metal[others]] = np.inf
    nearest = np.full(len(numbers), np.inf)
    np.minimum.at(nearest, centers, share)
    limit = np.maximum(BONDED, _EVEN * nearest)[centers]
    salt = (table["electronegativity"][numbers] <= _ELECTROPOSITIVE)[centers] & ~metal[others]
    limit[salt] = np.maximum(limit[salt], _IONIC)
    bonds: list[list[tuple[int, np.ndarray]]] = [[] for _ in numbers]
    for bond in np.flatnonzero(share < np.minimum(limit, _REACH)).tolist():
        bonds[centers[bond]].append((int(others[bond]), images[bond]))
        bonds[others[bond]].append((int(centers[bond]), -images[bond]))
    cell: dict[int, np.ndarray] = {}  # of each atom as it is reached from the first of its part
    most = 0
    for first in range(len(numbers)):
        if first in cell:
            continue
        cell[first], reached, loops = np.zeros(3), [first], [np.zeros(3)]
        for atom in reached:
            for other, image in bonds[atom]:
                there = cell[atom] + image
                if other not in cell:
                    cell[other] = there
                    reached.append(other)
                loops.append(there - cell[other])
        most = max(most, int(np.linalg.matrix_rank(np.array(loops))))
    return most
