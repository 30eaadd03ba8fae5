"""Predicted against computed: a panel per property, with the intervals that were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.report.plots.canvas import BLUE, FAINT, INK, RED, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD, MISSED = BLUE, RED
NAMED = 12  # points of a panel; with more, those farthest outside their intervals alone have names
PANEL = 4.3  # inches


def draw_parity(panels: Sequence[Mapping[str, Any]], path: Path, *, title: str, below: str = "") -> None:
    """Draw the panels side by side, two in a row where there are more.

    Args:
        panels: each with ``words``, ``unit``, ``points`` (rows of ``formula, predicted, low, high,
            computed, inside``), ``caption``, and ``bars``: whether to draw the computed values alone.
        path: the PNG; replaced whole.
        title: above all.
        below: a line under it.
    """
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    size = (PANEL * columns + 0.4, (PANEL + 0.25) * rows + 0.75)
    figure = new_figure(*size, layout="constrained")
    figure.suptitle(title, x=0.012, ha="left", fontsize=13, weight="bold", color=INK)
    if below:
        figure.supxlabel(below, x=0.012, ha="left", fontsize=9, color=FAINT)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        (_draw_bars if panel["bars"] else _draw)(axes, panel)
        axes.set_title(f"{panel['words']}\n{panel['caption']}", loc="left", fontsize=9.5, color=INK)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    write_png(figure, path)


def _draw(axes: Axes, panel: Mapping[str, Any]) -> None:
    points = panel["points"]
    low, high = _limits(points)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1, zorder=1)
    missed = [point for point in points if point["inside"] is False]
    for colour, shown in (
        (HELD, [point for point in points if point["inside"] is not False]),
        (MISSED, missed),
    ):
        _scatter(axes, shown, colour)
    named = sorted(missed, key=lambda point: -abs(point["error"]))[:NAMED]
    for point in points if len(points) <= NAMED else named:
        _name(axes, point, (low + high) / 2)
    axes.set_xlabel(f"DFT ({panel['unit']})", color=INK)
    axes.set_ylabel(f"predicted ({panel['unit']})", color=INK)


def _scatter(axes: Axes, points: Sequence[Mapping[str, Any]], colour: str) -> None:
    """Draw all points of a colour at once: one by one, a thousand take a quarter of a minute."""
    ends = [
        (point["predicted"], point["predicted"]) if point["low"] is None else (point["low"], point["high"])
        for point in points
    ]
    predicted = [point["predicted"] for point in points]
    below = [value - low for value, (low, _) in zip(predicted, ends, strict=True)]
    above = [high - value for value, (_, high) in zip(predicted, ends, strict=True)]
    intervals = any(point["low"] is not None for point in points)
    axes.errorbar(
        [point["computed"] for point in points],
        predicted,
        yerr=[below, above] if intervals else None,
        fmt="o",
        markersize=5.5,
        color=colour,
        ecolor=colour,
        elinewidth=1.2,
        capsize=3,
        zorder=3,
    )


def _name(axes: Axes, point: Mapping[str, Any], middle: float) -> None:
    """Name a point on the side that has room, away from the diagonal."""
    right = point["computed"] > middle
    above = point["predicted"] > point["computed"]
    axes.annotate(
        point["formula"],
        (point["computed"], point["predicted"]),
        xytext=(-6 if right else 6, 7 if above else -7),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=9,
        color=INK,
        zorder=2,
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
    )


def _draw_bars(axes: Axes, panel: Mapping[str, Any]) -> None:
    """One bar a candidate, largest above; with many, the largest of them."""
    points = sorted(panel["points"], key=lambda point: point["computed"])[-NAMED:]
    axes.barh(range(len(points)), [point["computed"] for point in points], 0.62, color=HELD)
    for place, point in enumerate(points):
        axes.text(point["computed"], place, f" {point['computed']:.3f}", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(points)), [point["formula"] for point in points], color=INK)
    axes.set_ylim(-0.8, max(len(points), 4) - 0.2)
    axes.set_xlim(0, 1.15 * max([*(point["computed"] for point in points), 0.01]))
    axes.tick_params(left=False)
    axes.set_xlabel(f"DFT ({panel['unit']})", color=INK)


def _limits(points: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Of both axes: all points and the ends of their intervals, with a margin."""
    values = [
        point[end]
        for point in points
        for end in ("computed", "predicted", "low", "high")
        if point[end] is not None
    ]
    low, high = min(values), max(values)
    margin = 0.07 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin
