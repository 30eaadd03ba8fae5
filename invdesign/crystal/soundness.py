"""What every crystal from a file must be: ordered, of known elements, finite, its atoms apart."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import hypot
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_DISTANCE = 0.2
"""Å; closer atoms are one atom twice. A generator's failed crystals, with atoms up to 0.4 Å apart, which no
potential evaluates, are read and count against it as invalid."""
MAX_VOLUME_PER_ATOM = 1e4
"""Å³; a molecule in a box has some thousand."""
MIN_VOLUME = 0.1
"""Å³, of a cell."""
MAX_ATOMS = 20_000
"""Of one crystal."""
MAX_EDGE = 1e4
"""Å; the longest polytype of SiC has 1 500."""
MAX_COORDINATE = 1e6
"""Cell edges; beyond, less than ten digits are left within the cell."""

FEW = 100  # atoms; up to here all pairs are quicker than a tree


def checked(structure: Structure, where: str) -> Structure:
    """Return the structure, plain elements on its sites, once it is known to be an ordered, sound crystal.

    Args:
        structure: a crystal as it was read; charges are removed, deuterium and tritium become hydrogen.
        where: the file or table row, for error messages.

    Raises:
        InputError: no atoms, a partly or mixedly occupied site, a site that is no element, a cell without
            volume or with one beyond sense, numbers that are not finite, atoms on one another.
    """
    from pymatgen.core import Species

    if len(structure) == 0:
        raise InputError(f"{where}: the structure has no atoms; give a crystal.")
    symbols = set()
    for number, site in enumerate(structure, start=1):
        if not site.is_ordered:
            raise disordered(number, site.species_string, site.frac_coords, where)
        symbols.add(site.specie.symbol)
    unknown = symbols - ATOMIC_NUMBER.keys() - HEAVY_HYDROGEN
    if unknown:
        raise InputError(
            f"{where}: {', '.join(sorted(unknown))} is no element up to Lr; name each site's element."
        )
    check_geometry(structure.lattice.matrix, structure.frac_coords, where)
    if any(isinstance(species, Species) for species in structure.types_of_specie):
        structure.remove_oxidation_states()
    if symbols & HEAVY_HYDROGEN:
        structure.replace_species(dict.fromkeys(symbols & HEAVY_HYDROGEN, "H"))
    return structure


def disordered(number: int, species: str, position: np.ndarray, where: str) -> InputError:
    """Return the error of a partly or mixedly occupied site, the ``number``-th of its file."""
    place = ", ".join(f"{x:.4g}" for x in position)
    return InputError(
        f"{where}: site {number} ({species} at {place}) is disordered; give an ordered structure."
    )


def check_geometry(matrix: np.ndarray, positions: np.ndarray, where: str) -> float:
    """Refuse what cannot be a crystal: cell vectors (3, 3) in Å, fractional positions (n, 3), n > 0.

    Returns:
        The volume of the cell, Å³.

    Raises:
        InputError: a number that is not finite or beyond sense, a cell without volume or with more than
            :data:`MAX_VOLUME_PER_ATOM`, atoms closer than :data:`MIN_DISTANCE`.
    """
    if len(positions) > MAX_ATOMS:
        raise InputError(
            f"{where}: {len(positions)} atoms are more than the {MAX_ATOMS} read; give a unit cell."
        )
    volume, thinnest = check_cell(matrix, where)
    if not (positions.max() < MAX_COORDINATE and positions.min() > -MAX_COORDINATE):  # NaN is neither
        raise InputError(
            f"{where}: an atom's coordinates are not numbers, or lie a million cells away; give finite ones."
        )
    if volume > MAX_VOLUME_PER_ATOM * len(positions):
        raise InputError(
            f"{where}: {volume / len(positions):.3g} Å³ an atom is more than any crystal has "
            f"({MAX_VOLUME_PER_ATOM:g}); give the cell in Å."
        )
    if (shortest := _shortest_distance(matrix, positions, thinnest)) < MIN_DISTANCE:
        raise InputError(
            f"{where}: two atoms are {shortest:.3f} Å apart, and less than {MIN_DISTANCE} Å is no bond; "
            "give each atom once, with its symmetry and its cell in Å."
        )
    return volume


def check_cell(matrix: np.ndarray, where: str) -> tuple[float, float]:
    """Refuse cell vectors (3, 3), Å, that are not finite, beyond sense or without volume.

    Returns:
        The volume, Å³, and the least distance between opposite faces, Å.

    Raises:
        InputError: they are.
    """
    vectors = matrix.tolist()  # plain numbers: ten times as fast as numpy for so few
    if not all(hypot(*vector) < MAX_EDGE for vector in vectors):  # NaN is not less either
        raise InputError(
            f"{where}: the unit cell is not of finite numbers below {MAX_EDGE:g} Å; give its vectors in Å."
        )
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = vectors
    faces = (
        (by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx),
        (cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax),
        (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx),
    )
    volume = abs(ax * faces[0][0] + ay * faces[0][1] + az * faces[0][2])
    if not volume > MIN_VOLUME:
        raise InputError(f"{where}: the unit cell has no volume; give three independent cell vectors in Å.")
    return volume, volume / max(hypot(*face) for face in faces)


def _shortest_distance(matrix: np.ndarray, positions: np.ndarray, thinnest: float) -> float:
    """Return the shortest distance between atoms, images included, in Å.

    Args:
        matrix: cell vectors (3, 3), Å.
        positions: fractional, (n, 3).
        thinnest: the least distance between opposite faces, Å.

    Returns:
        The distance if it is less than :data:`MIN_DISTANCE`, else any that is not less.
    """
    if thinnest < 2 * MIN_DISTANCE:
        shortest = float(np.linalg.norm(reduced(matrix), axis=1).min())
        if shortest < MIN_DISTANCE:
            return shortest
        return float(nearest(matrix, positions, MIN_DISTANCE, 1)[0].min())
    if len(positions) > FEW:
        return float(nearest(matrix, positions, MIN_DISTANCE, 1)[0].min())
    if len(positions) == 1:
        return thinnest
    return float(pair_distances(matrix, positions)[2].min())


def pair_distances(matrix: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two atoms of every pair and their distance, Å, if it is below half the cell's thickness."""
    first, second = _pairs(len(positions))
    gaps = positions[first] - positions[second]
    gaps -= np.rint(gaps)
    gaps = gaps @ matrix
    return first, second, np.sqrt(np.einsum("ij,ij->i", gaps, gaps))


@lru_cache
def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(n, 1)
    return first, second


def reduced(matrix: np.ndarray) -> np.ndarray:
    """Return the vectors (3, 3) of the Niggli cell, Å."""
    import moyopy

    return np.array(moyopy.niggli_reduce(matrix.tolist())[0])


def nearest(matrix: np.ndarray, positions: np.ndarray, reach: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest neighbors of each atom within ``reach`` (Å), images included.

    Args:
        matrix: cell vectors (3, 3), Å; no two images of an atom are closer than ``reach``.
        positions: fractional, (n, 3).
        reach: Å.
        k: how many.

    Returns:
        Distances (n, k), Å, infinite where there is none, and which atoms these are, (n, k).
    """
    from scipy.spatial import cKDTree

    margin = reach * np.linalg.norm(np.linalg.inv(matrix), axis=0)  # of the cell's edges
    if margin.max() > 1:
        thick = reduced(matrix)
        positions, matrix = positions @ matrix @ np.linalg.inv(thick), thick
        margin = reach * np.linalg.norm(np.linalg.inv(matrix), axis=0)
    positions = positions % 1
    shifts = np.array(list(product(*(range(-n, n + 1) for n in np.ceil(margin).astype(int)))))
    shifted = (positions + shifts[:, None]).reshape(-1, 3)
    (near,) = ((shifted >= -margin) & (shifted <= 1 + margin)).all(axis=1).nonzero()
    tree = cKDTree(shifted[near] @ matrix)
    distances, found = tree.query(positions @ matrix, k=range(2, k + 2), distance_upper_bound=reach)
    return distances, near[np.minimum(found, len(near) - 1)] % len(positions)
