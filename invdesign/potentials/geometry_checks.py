"""Checks of geometries before a potential sees them: what would crash or flood a neighbour list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invdesign.potentials.interface import Frame

# Outside these bounds a neighbour list is either useless or does not fit into memory.
MIN_VOLUME_PER_ATOM = 2.0  # Å³; the densest known solids have 5
MAX_VOLUME_PER_ATOM = 1000.0  # Å³
MIN_CELL_HEIGHT = 1.0  # Å
MIN_DISTANCE = 0.4  # Å; half the bond of H2


def geometry_faults(frames: Sequence[Frame]) -> dict[int, str]:
    """Return why geometries cannot be evaluated, by index: NaN, no atoms, a collapsed or exploded cell."""
    if not frames:
        return {}
    sizes = np.array([len(frame) for frame in frames])
    cells = np.stack([frame.cell for frame in frames])
    crystal = np.repeat(np.arange(len(frames)), sizes)
    faulty = ~np.isfinite(np.concatenate([frame.positions for frame in frames])).all(axis=1)
    finite = np.isfinite(cells).all(axis=(1, 2)) & (np.bincount(crystal[faulty], minlength=len(frames)) == 0)
    cells = np.where(finite[:, None, None], cells, np.eye(3))
    volumes = np.abs(np.linalg.det(cells))
    per_atom = volumes / np.maximum(sizes, 1)
    areas = np.linalg.norm(np.cross(cells[:, [1, 2, 0]], cells[:, [2, 0, 1]]), axis=2).max(axis=1)
    heights = volumes / np.maximum(areas, np.finfo(float).tiny)
    dense_or_thin = (per_atom < MIN_VOLUME_PER_ATOM) | (per_atom > MAX_VOLUME_PER_ATOM)
    faults: dict[int, str] = {}
    for k in np.flatnonzero(~finite | (sizes == 0) | dense_or_thin | (heights < MIN_CELL_HEIGHT)).tolist():
        if not finite[k]:
            faults[k] = "positions or cell are not finite"
        elif sizes[k] == 0:
            faults[k] = "the cell holds no atoms"
        elif dense_or_thin[k]:
            bounds = f"{MIN_VOLUME_PER_ATOM:g} to {MAX_VOLUME_PER_ATOM:g}"
            faults[k] = f"{per_atom[k]:.3g} Å³ per atom is outside {bounds}"
        else:
            faults[k] = f"the cell is flat ({heights[k]:.2f} Å between opposite faces)"
    return faults


def check_shortest(distances: np.ndarray) -> None:
    """Refuse atoms on top of each other, given the distances between neighbours (m,) in Å.

    Raises:
        ValueError: two atoms are closer than ``MIN_DISTANCE``.
    """
    if len(distances) and (shortest := distances.min()) < MIN_DISTANCE:
        raise ValueError(f"two atoms are {shortest:.2f} Å apart")
