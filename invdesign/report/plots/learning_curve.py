"""A learning curve: error or AUC of several methods against the number of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from invdesign.report.plots.canvas import BLUE, FAINT, INK, ORANGE, new_figure, write_png

ASIDE = 1.02  # so that one method's bars do not hide another's
COLOURS = (BLUE, ORANGE, "#7a9e5b", "#8a6ea5", "#b5485d")


def draw_learning_curve(
    curves: Mapping[str, Sequence[tuple[int, float, float]]], path: Path, *, ordinate: str, title: str = ""
) -> None:
    """Draw (n, mean, std) of every method, std as bars; the last one, a baseline, is grey.

    Args:
        curves: by method.
        path: the PNG; replaced whole.
        ordinate: what is measured, with its unit.
        title: above the figure.
    """
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = new_figure(7.2, 4.4, layout="constrained")
    axes = figure.subplots()
    for place, (method, points) in enumerate(curves.items()):
        n, mean, std = zip(*points, strict=True)
        last = place == len(curves) - 1
        colour = FAINT if last else COLOURS[place]
        shifted = [size * ASIDE ** (place - (len(curves) - 1) / 2) for size in n]
        style = "--" if last else "-"
        axes.errorbar(
            shifted,
            mean,
            std,
            fmt=f"o{style}",
            markersize=4,
            capsize=3,
            elinewidth=1,
            color=colour,
            label=method,
        )
    axes.set_xscale("log")
    sizes = sorted({n for points in curves.values() for n, _, _ in points})
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set_xlabel("examples", color=INK)
    axes.set_ylabel(ordinate, color=INK)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    write_png(figure, path)
