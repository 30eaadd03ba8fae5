"""Band gaps by the occupations that a code printed."""

from __future__ import annotations

from typing import Any

import numpy as np

from invdesign.dft.codes.gpaw.job import CalculationError, gap_above

HALF = 0.5  # filled: occupied
_LOST = 0.02  # electrons that the rounding of printed occupations may lose


def gap_by_occupation(
    eigenvalues: np.ndarray,
    occupations: np.ndarray,
    filled: float | None = None,
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the gap above the bands that are more than half filled, as ``band_gap`` and ``direct``.

    A Fermi level may lie in a band, and smearing fills levels above it a little, or empties those below.

    Args:
        eigenvalues: spin x k-point x band, eV.
        occupations: of each, 0 to 1.
        filled: bands that the electrons fill, of all spins: half the electrons without spin, else all. None:
            the sum of the occupations.
        weights: of the k-points; None: equal ones.

    Raises:
        CalculationError: the occupations do not hold the electrons, an eigenvalue is no number, or there are
            too few bands.
    """
    known = weights is not None and len(weights) == occupations.shape[1]
    shares = weights if known and weights is not None else np.ones(occupations.shape[1])
    shares = shares / shares.sum()
    held = float((occupations.sum(axis=(0, 2)) * shares).sum())
    filled = held if filled is None else filled
    gap = gap_above(eigenvalues, (occupations > HALF).sum(axis=2), filled)
    if gap["band_gap"] and known and abs(held - filled) > _LOST + 1e-3 * filled:
        raise CalculationError(
            f"the occupations fill {held:.3f} bands, the electrons {filled:.3f}: the gap is unknown"
        )
    return gap
