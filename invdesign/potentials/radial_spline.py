"""Functions of a distance as quintic B-splines: what a network computes from distances alone, tabulated.

On uniform knots every distance lies under six splines, whose weights are the same polynomials of the fraction
of its interval everywhere; so many functions at once cost a weighted sum of six rows. The weights carry
the gradient, and the result has four continuous derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

DEGREE = 5
INTERVALS = 160  # TensorNet-MatPES: 1e-9 eV and 1e-7 eV/Å off (64: 4e-7 and 2e-5)
SAMPLES_PER_INTERVAL = 4


class RadialSpline:
    """Least-squares splines of functions of one distance.

    Attributes:
        coefficients: one column a function, (INTERVALS + 5, n_functions) float64.
    """

    def __init__(self, functions: Callable[[Tensor], Tensor], start: float, stop: float) -> None:
        """Sample and fit.

        Args:
            functions: distances (m,) float64, Å, to values (m, n_functions).
            start: shortest distance, Å.
            stop: longest distance, Å.
        """
        import torch
        from scipy.interpolate import BSpline, PPoly, make_lsq_spline

        self._start, self._step = start, (stop - start) / INTERVALS
        samples = np.linspace(start, stop, SAMPLES_PER_INTERVAL * INTERVALS + 1)
        values = functions(torch.from_numpy(samples)).double().numpy()
        knots = start + self._step * np.arange(-DEGREE, INTERVALS + DEGREE + 1)
        self.coefficients = torch.from_numpy(make_lsq_spline(samples, values, knots, k=DEGREE).c)
        # one spline over its six intervals, by powers of the fraction; the last of six lies in its first
        element = BSpline.basis_element(np.arange(DEGREE + 2), extrapolate=False)
        pieces = PPoly.from_spline(element).c[:, DEGREE : 2 * DEGREE + 1]
        self._powers = torch.from_numpy(pieces[::-1, ::-1].copy())  # (power, spline)

    def weights(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table and their weights, both (m, 6); the weights float64 with gradient."""
        import torch

        place = (distances - self._start) / self._step
        interval = place.detach().floor().clamp(0, INTERVALS - 1)
        fraction = place - interval
        powers = torch.stack([fraction**k for k in range(DEGREE + 1)], dim=1)
        rows = interval.long()[:, None] + torch.arange(DEGREE + 1, device=distances.device)
        return rows, powers @ self._powers.to(distances.device)
