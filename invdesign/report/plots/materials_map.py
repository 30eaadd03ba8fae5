"""Materials as points on a plane: a table, a picture, an interactive page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invdesign.core.properties import PROPERTIES
from invdesign.io.atomic import atomic_write
from invdesign.report.plots.canvas import INK, PALE, RED, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNKNOWN, CANDIDATE = PALE, RED
NAMED_CLUSTERS = 12  # the largest ones have a separate colour, in the picture a number
PALETTE = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"),
    *("#ee8866", "#44bb99", "#997700", "#222255", "#bbcc33", "#663333"),
)
OTHER = "#9aa7af"


@dataclass(frozen=True, slots=True)
class Map:
    """Materials on a plane: n of a data set, then m candidates drawn over them.

    Attributes:
        ids: (n + m).
        formulas: (n + m).
        n_known: n.
        points: (n + m, 2).
        axes: what the two axes are.
        cluster: (n + m,), 0 for the largest, -1 for none; a candidate has its nearest known material's.
        isolation: (n + m,) mean distance to the nearest materials of the data, 1 for the median one of them.
        outlier: (n + m,) whether more isolated than nearly all of the data.
        colour: name of the property that colours the points; empty: clusters alone do.
        values: (n + m,) of it, nan where there is none.
    """

    ids: list[str]
    formulas: list[str]
    n_known: int
    points: NDArray[np.float64]
    axes: tuple[str, str]
    cluster: NDArray[np.int64]
    isolation: NDArray[np.float64]
    outlier: NDArray[np.bool_]
    colour: str
    values: NDArray[np.float64]

    @property
    def scale(self) -> str:
        """Words and unit of the property that colours the points."""
        known = PROPERTIES.get(self.colour)
        return f"{known.words} ({known.unit})" if known else self.colour.replace("_", " ")

    def limits(self, values: NDArray[np.float64]) -> tuple[float, float]:
        """Return ends of a colour scale: the 2 % at either end would otherwise take most of it."""
        finite = values[np.isfinite(values)]
        low, high = np.quantile(finite, [0.02, 0.98]) if len(finite) else (0.0, 1.0)
        return float(low), float(max(high, low + 1e-9))

    def cluster_colours(self) -> list[str]:
        """Return a colour for each material by its cluster."""
        colours = [*PALETTE, OTHER, UNKNOWN]  # the last: -1
        return [colours[min(label, NAMED_CLUSTERS)] for label in self.cluster.tolist()]


def map_rows(drawn: Map) -> list[dict[str, Any]]:
    """Return a row for each material."""
    rows = []
    for i, (x, y) in enumerate(drawn.points.tolist()):
        row = {
            "id": drawn.ids[i],
            "formula": drawn.formulas[i],
            "set": "data" if i < drawn.n_known else "over",
            "x": round(x, 5),
            "y": round(y, 5),
            "cluster": int(drawn.cluster[i]) + 1 or "none",
            "outlier_score": round(float(drawn.isolation[i]), 4),
            "outlier": "yes" if drawn.outlier[i] else "no",
        }
        if drawn.colour:
            row[drawn.colour] = float(drawn.values[i]) if np.isfinite(drawn.values[i]) else ""
        rows.append(row)
    return rows


def draw_png(drawn: Map, path: Path) -> None:
    """Draw the map coloured by the property, if there is one, and by cluster with the outliers ringed."""
    panels = 2 if drawn.colour else 1
    figure = new_figure(7.4 * panels, 6.4, layout="constrained")
    *first, last = np.atleast_1d(figure.subplots(1, panels))
    if first:
        _draw_values(drawn, first[0])
    _draw_clusters(drawn, last)
    for axes in (*first, last):
        axes.set_xlabel(drawn.axes[0], color=INK)
        axes.set_ylabel(drawn.axes[1], color=INK)
        axes.spines[["top", "right"]].set_visible(False)
    write_png(figure, path)


def _size(n: int) -> float:
    return float(np.clip(9000 / n, 3, 40))


def _draw_values(drawn: Map, axes: Axes) -> None:
    known = np.arange(len(drawn.ids)) < drawn.n_known
    has = np.isfinite(drawn.values)
    low, high = drawn.limits(drawn.values[: drawn.n_known])
    size = _size(drawn.n_known)
    x, y = drawn.points.T
    axes.scatter(x[known & ~has], y[known & ~has], s=size, c=UNKNOWN, linewidths=0)
    rows = np.flatnonzero(known & has)
    rows = rows[np.argsort(drawn.values[rows], kind="stable")]
    scale: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": high}
    points = axes.scatter(x[rows], y[rows], s=size, c=drawn.values[rows], linewidths=0, **scale)
    axes.get_figure().colorbar(points, ax=axes, label=drawn.scale)  # type: ignore[union-attr]
    if known.all():
        return
    edge: dict[str, Any] = {"marker": "D", "s": 34, "edgecolors": CANDIDATE, "linewidths": 1.3}
    over = ~known
    axes.scatter(x[over & ~has], y[over & ~has], c="white", **edge)
    axes.scatter(x[over & has], y[over & has], c=drawn.values[over & has], **edge, **scale)
    axes.scatter([], [], c="white", label=f"{over.sum()} candidates", **edge)
    axes.legend(frameon=False, loc="best", fontsize=9)


def _draw_clusters(drawn: Map, axes: Axes) -> None:
    n, size = drawn.n_known, _size(drawn.n_known)
    x, y = drawn.points.T
    axes.scatter(x[:n], y[:n], s=size, c=drawn.cluster_colours()[:n], linewidths=0)
    rings = np.flatnonzero(drawn.outlier[:n])
    ring: dict[str, Any] = {"s": 4 * size + 12, "facecolors": "none", "edgecolors": INK, "linewidths": 0.7}
    axes.scatter(x[rings], y[rings], label=f"{len(rings)} outliers", **ring)
    if n < len(x):
        over: dict[str, Any] = {"marker": "D", "s": 34, "edgecolors": CANDIDATE, "linewidths": 1.3}
        axes.scatter(x[n:], y[n:], c="white", label=f"{len(x) - n} candidates", **over)
    n_clusters = int(drawn.cluster[:n].max(initial=-1)) + 1
    for label in range(min(n_clusters, NAMED_CLUSTERS)):
        middle = np.median(drawn.points[:n][drawn.cluster[:n] == label], axis=0)
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75}
        axes.text(
            middle[0], middle[1], str(label + 1), fontsize=9, weight="bold", color=INK, ha="center", bbox=box
        )
    none = int((drawn.cluster[:n] < 0).sum())
    aside = f", {none} materials in none" if none else ""
    axes.set_title(f"{n_clusters} clusters{aside}", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, loc="best", fontsize=9)


def draw_html(drawn: Map, path: Path) -> None:
    """Write one page that needs nothing else: zoom, names under the pointer, a choice of colours."""
    from plotly import graph_objects as go

    n = drawn.n_known
    figure = go.Figure()
    colourings = _colourings(drawn)
    first = next(iter(colourings.values()))
    for number, (name, part) in enumerate((("data", slice(0, n)), ("candidates", slice(n, None)))):
        ids = drawn.ids[part]
        if not ids:
            continue
        marker = {key: values[number] for key, values in first.items()}
        marker |= {"size": 10 if number else 6, "symbol": "diamond" if number else "circle"}
        marker |= {"line": {"width": 2 if number else 0, "color": CANDIDATE}, "opacity": 1 if number else 0.8}
        figure.add_trace(
            go.Scattergl(
                x=drawn.points[part, 0].round(4),
                y=drawn.points[part, 1].round(4),
                mode="markers",
                name=f"{name} ({len(ids)})",
                text=_hovers(drawn, range(len(drawn.ids))[part]),
                hovertemplate="%{text}<extra></extra>",
                marker=marker,
            )
        )
    traces = len(figure.data)
    buttons = [
        {
            "label": name,
            "method": "restyle",
            "args": [{f"marker.{key}": values[:traces] for key, values in marker.items()}],
        }
        for name, marker in colourings.items()
    ]
    figure.update_layout(
        template="plotly_white",
        title=f"{n} materials" + (f", {len(drawn.ids) - n} candidates" if traces > 1 else ""),
        xaxis_title=drawn.axes[0],
        yaxis_title=drawn.axes[1],
        legend={"x": 0, "y": 1.06, "orientation": "h"},
        updatemenus=[{"buttons": buttons, "x": 1.0, "y": 1.1, "xanchor": "right"}],
        hoverlabel={"align": "left"},
    )
    page = figure.to_html(include_plotlyjs=True, full_html=True, config={"scrollZoom": True})
    with atomic_write(path) as draft:
        draft.write_text(page, encoding="utf-8")


def _colourings(drawn: Map) -> dict[str, dict[str, list[Any]]]:
    """By name: what the markers of the data and of the candidates take."""
    n = drawn.n_known

    def scaled(values: NDArray[np.float64]) -> dict[str, list[Any]]:
        low, high = drawn.limits(values[:n])
        rounded = [float(f"{value:.4g}") for value in values.tolist()]  # nan is drawn grey
        scale: dict[str, list[Any]] = {"colorscale": ["Viridis"] * 2, "cmin": [low] * 2, "cmax": [high] * 2}
        return {"color": [rounded[:n], rounded[n:]], "showscale": [True, False], **scale}

    found = {drawn.scale: scaled(drawn.values)} if drawn.colour else {}
    colours = drawn.cluster_colours()
    found["cluster"] = {"color": [colours[:n], colours[n:]], "showscale": [False, False]}
    found["outlier score"] = scaled(drawn.isolation)
    return found


def _hovers(drawn: Map, rows: range) -> list[str]:
    from html import escape

    texts = []
    for i in rows:
        value = ""
        if drawn.colour and np.isfinite(drawn.values[i]):
            value = f"<br>{escape(drawn.scale)}: {drawn.values[i]:.4g}"
        cluster = f"cluster {drawn.cluster[i] + 1}" if drawn.cluster[i] >= 0 else "in no cluster"
        outlier = ", outlier" if drawn.outlier[i] else ""
        texts.append(
            f"<b>{escape(drawn.formulas[i])}</b> {escape(drawn.ids[i])}{value}<br>"
            f"{cluster}; outlier score {drawn.isolation[i]:.2f}{outlier}"
        )
    return texts
