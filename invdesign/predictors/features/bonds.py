"""What the near neighbours of a crystal look like: kinds of bonds, their lengths, coordination.

Distances count in units of the sum of covalent radii, so that one histogram serves every element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import element_table
from invdesign.potentials.batching import neighbour_pairs
from invdesign.potentials.interface import as_frames

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.potentials.interface import Frame

CUTOFF = 6.0  # Å
_EDGES = np.array([0.0, 0.85, 0.95, 1.05, 1.15, 1.3, 1.5, 1.75, 2.0])  # of the sum of covalent radii
_BOND = 1.25  # pairs closer than this, times the sum of radii, count as bonded (softly)
_SOFT = 0.06
N_BOND_FEATURES = 3 * (len(_EDGES) - 1) + 11


def bond_matrix(structures: Sequence[Structure | Frame]) -> np.ndarray:
    """Bond features (n, ``N_BOND_FEATURES``); nan where two atoms coincide or one has no neighbour.

    Per atom, for pairs of two metals, metal and non-metal, two non-metals: neighbours by relative
    distance; then bond count by kind, coordination (mean, deviation, extremes), and over the bonds the
    mean electronegativity difference, its deviation and the mean relative length, and the shortest one.
    """
    rows = np.full((len(structures), N_BOND_FEATURES), np.nan, dtype=np.float32)
    for row, frame in enumerate(as_frames(structures)):
        try:
            rows[row] = _bonds(frame)
        except ValueError:  # such a geometry has no bonds to describe: unknown features
            continue
    return rows


def _bonds(frame: Frame) -> np.ndarray:
    table = element_table()
    pairs = neighbour_pairs(frame, CUTOFF)
    first, second = frame.numbers[pairs.first], frame.numbers[pairs.second]
    radius, chi = table["covalent_radius"], table["electronegativity"]
    relative = pairs.distances / (radius[first] + radius[second])
    metal = table["is_metal"]
    kind = (2 - metal[first] - metal[second]).astype(int)  # 0: two metals, 2: two non-metals
    n_bins = len(_EDGES) - 1
    place = np.digitize(relative, _EDGES[1:])
    near = place < n_bins
    histogram = np.bincount(kind[near] * n_bins + place[near], minlength=3 * n_bins) * 2 / len(frame)
    weight = 1 / (1 + np.exp((relative - _BOND) / _SOFT))
    coordination = np.bincount(pairs.first, weight, len(frame)) + np.bincount(
        pairs.second, weight, len(frame)
    )
    total = weight.sum() + 1e-9
    difference = np.abs(chi[first] - chi[second])
    mean_difference = (weight * difference).sum() / total
    summary = [
        *(np.bincount(kind, weight, 3) * 2 / len(frame)),
        coordination.mean(),
        coordination.std(),
        coordination.min(),
        coordination.max(),
        mean_difference,
        np.sqrt((weight * (difference - mean_difference) ** 2).sum() / total),
        (weight * relative).sum() / total,
        relative.min(),
    ]
    return np.concatenate([histogram, summary])
