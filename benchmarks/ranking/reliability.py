"""Is P(hit) what it says? Reads held_out.csv.gz; writes reliability.json and docs/images/reliability.png.

    python benchmarks/ranking/reliability.py

P(gap in window) on mp20's and WBM's held-out crystals, P(E above hull < limit) and their product on WBM's.
Expected calibration error (ECE): mean distance of said and seen share over ten bins of equal width, weighted
by the crystals in each. Most crystals are said to be no hit, and are none: so that they do not hide the rest,
it is also given for those said to be one with a tenth or more.
"""

from __future__ import annotations

import csv
import gzip
import json
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.core.candidate import Estimate
from invdesign.core.target import Window
from invdesign.training.metrics import calibration_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes

HERE = Path(__file__).parent
TABLE, OUT = HERE / "held_out.csv.gz", HERE / "reliability.json"
PICTURE = HERE.parents[1] / "docs" / "images" / "reliability.png"
WINDOWS = [Window(1.25, 1.75), Window(0.5, 1.5), Window(1, 2), Window(2, 3), Window(3, 5), Window(3, inf)]
WINDOWS += [Window(1, inf), Window(-inf, 0.5)]
LIMITS = (0.0, 0.05, 0.1, 0.2)
LIKELY = 0.1
BINS = 10
Pair = tuple[np.ndarray, np.ndarray]
"""Said probability and whether it happened, (n,) each."""


def read(part: str, source: str) -> dict[str, np.ndarray]:
    """Columns of the table's rows of one part and source; rows that did not relax are left out."""
    with gzip.open(TABLE, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["part"], row["source"]) == (part, source)]
    rows = [row for row in rows if row["said_height"] != "nan"]
    names = [name for name in rows[0] if name not in {"source", "formula", "part"} and rows[0][name]]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def gap_pair(rows: dict[str, np.ndarray], window: Window) -> Pair:
    """Of the gap lying in a window."""
    columns = (rows[f"gap_{name}"].tolist() for name in ("mean", "sigma", "p_zero"))
    said = [Estimate(*figures).probability(window) for figures in zip(*columns, strict=True)]
    gap = np.where(rows["gap"] < 1e-3, 0.0, rows["gap"])
    return np.array(said), (gap >= window.low) & (gap <= window.high)


def height_pair(rows: dict[str, np.ndarray], limit: float, model: str = "said") -> Pair:
    """Of lying under a limit above the hull."""
    from scipy.special import ndtr

    said = ndtr((limit - rows[f"{model}_height"]) / rows[f"{model}_sigma"])
    return said, rows["height"] <= limit


def both(first: Pair, second: Pair) -> Pair:
    """Of two goals at once, their errors taken as independent."""
    return first[0] * second[0], first[1] & second[1]


def together(pairs: Iterable[Pair]) -> Pair:
    """All of them pooled."""
    said, seen = zip(*pairs, strict=True)
    return np.concatenate(said), np.concatenate(seen)


def chance_error(said: np.ndarray) -> float:
    """ECE that as many crystals would show if each probability were exact: what chance alone makes of it."""
    rng = np.random.default_rng(0)
    draws = (rng.random(len(said)) < said for _ in range(50))
    return float(np.mean([calibration_error(said, seen, BINS) for seen in draws]))


def figures(pair: Pair) -> dict[str, float]:
    """ECE of all and of the likely ones, and mean said and seen share."""
    said, seen = pair
    likely = said >= LIKELY
    return {
        "n": len(said),
        "ece": round(calibration_error(said, seen, BINS), 4),
        "ece_if_perfect": round(chance_error(said), 4),
        "said": round(float(said.mean()), 4),
        "seen": round(float(seen.mean()), 4),
        "n_likely": int(likely.sum()),
        "ece_likely": round(calibration_error(said[likely], seen[likely], BINS), 4),
        "said_likely": round(float(said[likely].mean()), 4),
        "seen_likely": round(float(seen[likely].mean()), 4),
        "brier": round(float(((said - seen) ** 2).mean()), 4),
    }


def pools(part: str) -> dict[str, dict[str, Pair]]:
    """Every pair by panel and name, those of one panel pooled last under ``all``."""
    known, new = read(part, "mp20"), read(part, "wbm")
    gaps = {
        f"{source} {window}": gap_pair(rows, window)
        for source, rows in (("mp20", known), ("wbm", new))
        for window in WINDOWS
    }
    heights = {f"< {limit:g}": height_pair(new, limit) for limit in LIMITS}
    products = {
        f"{window}, < {limit:g}": both(gap_pair(new, window), height_pair(new, limit))
        for window in WINDOWS
        for limit in LIMITS
    }
    panels = {"gap in window": gaps, "E above hull under limit": heights, "both": products}
    shipped = {f"< {limit:g}, shipped": height_pair(new, limit, "shipped") for limit in LIMITS}
    for panel in panels.values():
        panel["all"] = together(panel.values())
    return {**panels, "E above hull, as shipped": {**shipped, "all": together(shipped.values())}}


def draw(panels: dict[str, Pair]) -> None:
    """Said against seen shares by bins, with 95 % intervals, and how many crystals said so."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.1), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, pair) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        _panel(axes, title, pair)
    figure.savefig(PICTURE, format="png")


def _panel(axes: Axes, title: str, pair: Pair) -> None:
    said, seen = pair
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    axes.plot([0, 1], [0, 1], color="#b9c4ca", lw=1)
    for own in (place == b for b in range(BINS)):
        if own.any():
            rate = Rate(int(seen[own].sum()), int(own.sum()))
            low, high = rate.interval
            x = said[own].mean()
            axes.plot([x, x], [low, high], color="#1f6f8b", lw=1.5)
            axes.plot(x, rate.value, "o", color="#1f6f8b", ms=5)
            axes.annotate(
                f"{own.sum():,}",
                (x, high),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color="#73828c",
            )
    found = figures(pair)
    axes.set_title(
        f"{title}\nECE {found['ece']:.3f}; said ≥ {LIKELY}: {found['ece_likely']:.3f}", fontsize=10
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.06), xlabel="said", ylabel="seen")


def main() -> None:
    """Write figures and picture of the test part; trees for the gap have learned the calibration part."""
    test = pools("test")
    found = {
        "test": {panel: {name: figures(pair) for name, pair in own.items()} for panel, own in test.items()}
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    draw({panel: test[panel]["all"] for panel in ("gap in window", "E above hull under limit", "both")})
    for panel, own in found["test"].items():
        print(panel, own["all"])


if __name__ == "__main__":
    main()
