"""The funnel as one picture: what entered and passed each stage, what it cost, why candidates left."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.core.funnel import Funnel, Stage
from invdesign.report.plots.canvas import BLUE, FAINT, INK, ORANGE, PALE, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PASSED, LEFT, COST = BLUE, PALE, ORANGE
BAR = 0.62
TITLE = 120  # characters of a line


def draw_funnel(funnel: Funnel, path: Path, *, title: str) -> None:
    """Draw the funnel's counts (log scale), core seconds and main reasons of rejection."""
    stages = [stage for stage in funnel if stage.entered]
    lines = textwrap.wrap(title, TITLE)
    head = 0.85 + 0.22 * len(lines)  # inches
    figure = new_figure(13, 0.55 + head + 0.52 * len(stages))
    counts, cost, reasons = figure.subplots(
        1, 3, sharey=True, width_ratios=(5.0, 2.4, 5.2), gridspec_kw={"wspace": 0.04}
    )
    figure.subplots_adjust(left=0.105, right=0.99, top=1 - head / figure.get_figheight(), bottom=0.03)
    top = 1 - 0.22 / figure.get_figheight()
    figure.text(0.012, top, "\n".join(lines), fontsize=13, weight="bold", color=INK, va="top")
    _draw_counts(counts, stages)
    _draw_cost(cost, stages)
    _draw_reasons(reasons, stages)
    for axes in (counts, cost, reasons):
        axes.set_xticks([])
        axes.set_xticks([], minor=True)
        axes.tick_params(left=False)
        axes.spines[:].set_visible(False)
    counts.set_yticks(range(len(stages)), [stage.name for stage in stages], fontsize=10.5, color=INK)
    counts.set_ylim(len(stages) - 0.5, -0.5)
    write_png(figure, path)


def _draw_counts(axes: Axes, stages: list[Stage]) -> None:
    y = range(len(stages))
    axes.set_xscale("log")
    widest = max(stage.entered for stage in stages)
    axes.set_xlim(0.7, 14 * max(10, widest))
    axes.barh(y, [s.entered - 0.7 for s in stages], BAR, left=0.7, color=LEFT)
    axes.barh(y, [max(s.passed - 0.7, 0) for s in stages], BAR, left=0.7, color=PASSED)
    for i, stage in enumerate(stages):
        share = f"  {stage.passed / stage.entered:.0%}" if stage.rejected else ""
        axes.text(
            stage.entered * 1.12 + 0.7,
            i,
            f"{stage.passed:,}",
            va="center",
            color=INK,
            fontsize=10.5,
            weight="bold",
        )
        offset = 11 + 6.8 * len(f"{stage.passed:,}")
        axes.annotate(
            share.strip(),
            (stage.entered * 1.12 + 0.7, i),
            xytext=(offset, 0),
            textcoords="offset points",
            va="center",
            color=FAINT,
            fontsize=9,
        )
    axes.set_title("went on, of those that came in (log scale)", loc="left", fontsize=9.5, color=FAINT)


def _draw_cost(axes: Axes, stages: list[Stage]) -> None:
    total = sum(stage.core for stage in stages) or 1.0
    most = max(stage.core for stage in stages) or 1.0
    axes.set_xlim(0, 2.1 * most)
    axes.barh(range(len(stages)), [stage.core for stage in stages], BAR, color=COST)
    for i, stage in enumerate(stages):
        if stage.core:
            label = f"{stage.core:,.0f} s" if stage.core >= 10 else f"{stage.core:.1f} s"
            share = f" · {stage.core / total:.0%}" if stage.core / total >= 0.01 else ""
            axes.text(stage.core + 0.04 * most, i, label + share, va="center", color=INK, fontsize=9)
    axes.set_title(f"core seconds (sum {total:,.0f})", loc="left", fontsize=9.5, color=FAINT)


def _draw_reasons(axes: Axes, stages: list[Stage]) -> None:
    axes.set_xlim(0, 1)
    for i, stage in enumerate(stages):
        main = [f"{n:,} {reason}" for reason, n in stage.reasons.most_common(2)]
        text = "\n".join(textwrap.shorten(line, 74, placeholder=" …") for line in main)
        axes.text(0.0, i, text, va="center", color=FAINT, fontsize=8.2, linespacing=1.35)
    axes.set_title("why the others left", loc="left", fontsize=9.5, color=FAINT)
