"""What all pictures share: colours, and a figure that is written whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.io.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, RED, INK, FAINT, PALE = "#1f6f8b", "#d98c3f", "#d1495b", "#22303a", "#73828c", "#d5dde1"


def new_figure(width: float, height: float, **options: Any) -> Figure:  # noqa: ANN401 - matplotlib's
    """Return an empty figure, inches, with its own canvas: pyplot would change a notebook's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure, replaced whole."""
    with atomic_write(path) as draft:
        figure.savefig(draft, format="png")
