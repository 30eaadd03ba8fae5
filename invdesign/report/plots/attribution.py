"""What drove a prediction as a bar chart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invdesign.report.plots.canvas import BLUE, FAINT, INK, ORANGE, new_figure, write_png

RAISES, LOWERS = BLUE, ORANGE


def draw_drivers(row: Mapping[str, Any], path: Path) -> None:
    """Draw one explanation: bars from where it starts to the expected value, the nearest materials below.

    Args:
        row: of :func:`invdesign.analysis.explain_files.explain`.
        path: the PNG; replaced whole.
    """
    name, unit = row["words"], row["unit"]
    drivers = row["drivers"]
    figure = new_figure(8, 1.9 + 0.36 * len(drivers), layout="constrained")
    axes = figure.subplots()
    start = row["baseline"]
    for place, driver in enumerate(drivers):
        change = driver["contribution"]
        axes.barh(place, change, 0.62, left=start, color=RAISES if change > 0 else LOWERS)
        axes.text(max(start, start + change), place, f" {change:+.3g}", va="center", fontsize=9, color=INK)
        start += change
        axes.plot([start, start], [place, place + 1], color=FAINT, linewidth=0.7)
    axes.axvline(row["baseline"], color=FAINT, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(drivers)), [driver["name"] for driver in drivers], color=INK)
    axes.set_ylim(len(drivers) - 0.3, -0.7)
    axes.use_sticky_edges = False
    axes.margins(x=0.1)
    value = f"{row['value']:.3g} {unit} ({row['low']:.3g} to {row['high']:.3g})"
    axes.set_title(f"{row['formula']}: {name} {value}", loc="left", fontsize=11, color=INK)
    near = ", ".join(
        f"{material['formula']} {material.get(row['property'], float('nan')):.3g}".removesuffix(" nan")
        for material in row["neighbors"][:4]
    )
    axes.set_xlabel(
        f"{name} ({unit}), from {row['start']} ({row['baseline']:.3g}) "
        f"to the expected value ({row['expected']:.3g})\nnearest known: {near or 'none'}",
        color=INK,
        fontsize=9,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    write_png(figure, path)
