"""What every crystal from a file must be: ordered, of known elements, finite, its atoms apart."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import hypot, sqrt
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

_FEW = 100  # atoms; up to here all pairs are quicker than a tree


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
        reduced = _reduced(matrix)
        edge = float(np.linalg.norm(reduced, axis=1).min())
        if edge < MIN_DISTANCE:
            return edge
        return _shortest_by_tree(reduced, positions @ matrix @ np.linalg.inv(reduced))
    if len(positions) > _FEW:
        return _shortest_by_tree(matrix, positions)
    first, second = _pairs(len(positions))
    if not len(first):
        return thinnest
    gaps = positions[first] - positions[second]
    gaps -= np.rint(gaps)
    gaps = gaps @ matrix
    return sqrt(np.einsum("ij,ij->i", gaps, gaps).min())


@lru_cache
def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(n, 1)
    return first, second


def _reduced(matrix: np.ndarray) -> np.ndarray:
    import moyopy

    return np.array(moyopy.niggli_reduce(matrix.tolist())[0])


def _shortest_by_tree(matrix: np.ndarray, positions: np.ndarray) -> float:
    """Nearest neighbor of each atom among all atoms and the images just outside the cell's faces."""
    from scipy.spatial import cKDTree

    positions = positions % 1
    margin = MIN_DISTANCE * np.linalg.norm(np.linalg.inv(matrix), axis=0)  # of the cell's edges
    reach = [range(-n, n + 1) for n in np.ceil(margin).astype(int)]
    shifted = np.concatenate([positions + shift for shift in product(*reach)])
    near = ((shifted >= -margin) & (shifted <= 1 + margin)).all(axis=1)
    distances = cKDTree(shifted[near] @ matrix).query(positions @ matrix, k=2)[0]
    return float(distances[:, 1].min())
