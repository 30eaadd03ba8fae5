"""A data set as points on a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.report import replaced

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

INK, UNKNOWN = "#22303a", "#d5dde1"


def draw_map(
    points: NDArray[np.float64],
    values: NDArray[np.float64],
    path: Path,
    *,
    colour: str,
    shares: tuple[float, float],
) -> None:
    """Draw points (n, 2), coloured by values (n,), grey where these are NaN.

    Args:
        points: coordinates.
        values: of the property that colours them.
        path: the PNG; replaced whole.
        colour: the property's name.
        shares: of the variance, on each axis.
    """
    # an own figure and canvas: pyplot would take hold of a notebook's or a script's state
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.4), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    known = np.isfinite(values)
    size = float(np.clip(6000 / len(points), 2, 40))
    x, y = points.T
    axes.scatter(x[~known], y[~known], s=size, c=UNKNOWN, linewidths=0)
    if known.any():
        # the 2 % at either end would otherwise take most of the scale
        low, high = np.quantile(values[known], [0.02, 0.98])
        order = np.argsort(values[known], kind="stable")
        drawn = axes.scatter(
            x[known][order],
            y[known][order],
            s=size,
            c=values[known][order],
            cmap="viridis",
            vmin=low,
            vmax=high,
            linewidths=0,
        )
        figure.colorbar(drawn, ax=axes, label=colour.replace("_", " "))
    axes.set_xlabel(f"first principal axis of the latents ({shares[0]:.0%} of the variance)", color=INK)
    axes.set_ylabel(f"second ({shares[1]:.0%})", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    with replaced(path) as draft:
        figure.savefig(draft, format="png")
