"""Supercells for what a crystal does beyond its own cell: vibrations and molecular dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure


_IMAGES = np.array([shift for shift in product((-1, 0, 1), repeat=3) if any(shift)])


def reduced(structure: Structure) -> Structure:
    """Return the same crystal in a cell of short vectors."""
    try:
        return structure.get_reduced_structure()
    except ValueError:  # pymatgen's search for Niggli's cell can run out of turns
        return structure.get_reduced_structure("LLL")


def multiples(
    cell: np.ndarray, n_atoms: int, *, side: float, most_atoms: int, allowed: Sequence[int]
) -> tuple[int, int, int]:
    """How often to repeat a cell along each of its vectors.

    Of the supercells within ``most_atoms``, the one whose periodic images lie farthest apart, as far as
    ``side`` counts; of equals the smallest. A cell that is too large already stays alone.

    Args:
        cell: rows are lattice vectors, (3, 3) Å; short ones (a reduced cell).
        n_atoms: in the cell.
        side: Å, the distance between images that is enough.
        most_atoms: in the supercell.
        allowed: multiples to choose from; 1 among them.
    """
    fitting = [(a, b, c) for a, b, c in product(allowed, repeat=3) if n_atoms * a * b * c <= most_atoms]
    return min(fitting, key=lambda m: (-min(side, _apart(cell, m)), np.prod(m), m), default=(1, 1, 1))


def _apart(cell: np.ndarray, multiple: tuple[int, ...]) -> float:
    """Distance of an atom's nearest periodic image, Å, to a hundredth so that equal axes are equal."""
    vectors = _IMAGES @ (np.array(multiple)[:, None] * cell)
    return round(float(np.linalg.norm(vectors, axis=1).min()), 2)
