"""Is P(hit) reliable? Reads held_out.csv.gz; writes reliability.json and docs/images/reliability.png.

    python benchmarks/ranking/reliability.py

P(gap in window) on mp20's and WBM's held-out crystals, P(E above hull < limit) and their product on WBM's.
Expected calibration error (ECE): mean distance of predicted and observed share over ten bins of equal width,
weighted by the crystals in each. Most crystals are predicted to be no hit, and are none: so that they do not
hide the rest, it is also given for those with a predicted probability of a tenth or more.
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
"""Predicted probability and whether it happened, (n,) each."""


def read(part: str, source: str, *, gated: bool) -> dict[str, np.ndarray]:
    """Columns of the table's rows of one part and source; rows that did not relax are left out.

    With ``gated`` those, too, that a campaign for a gap would reject for their oxidation states.
    """
    with gzip.open(TABLE, "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["part"], row["source"]) == (part, source)]
    rows = [row for row in rows if row["predicted_e_above_hull"] != "nan"]
    rows = [row for row in rows if row["gap_gates"] == "1" or not gated]
    names = [name for name in rows[0] if name not in {"source", "formula", "part"} and rows[0][name]]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def gap_pair(rows: dict[str, np.ndarray], window: Window) -> Pair:
    """Of the gap lying in a window."""
    columns = (rows[f"gap_{name}"].tolist() for name in ("mean", "sigma", "p_zero"))
    predicted = [Estimate(*values).probability(window) for values in zip(*columns, strict=True)]
    gap = np.where(rows["gap"] < 1e-3, 0.0, rows["gap"])
    return np.array(predicted), (gap >= window.low) & (gap <= window.high)


def stability_pair(rows: dict[str, np.ndarray], limit: float, model: str = "predicted") -> Pair:
    """Of lying under a limit above the hull."""
    from scipy.special import ndtr

    predicted = ndtr((limit - rows[f"{model}_e_above_hull"]) / rows[f"{model}_sigma"])
    return predicted, rows["e_above_hull"] <= limit


def both(first: Pair, second: Pair) -> Pair:
    """Of two goals at once, their errors taken as independent."""
    return first[0] * second[0], first[1] & second[1]


def together(pairs: Iterable[Pair]) -> Pair:
    """All of them pooled."""
    predicted, observed = zip(*pairs, strict=True)
    return np.concatenate(predicted), np.concatenate(observed)


def chance_error(predicted: np.ndarray) -> float:
    """ECE that as many crystals would show if each probability were exact: what chance alone makes of it."""
    rng = np.random.default_rng(0)
    draws = (rng.random(len(predicted)) < predicted for _ in range(50))
    return float(np.mean([calibration_error(predicted, observed, BINS) for observed in draws]))


def reliability(pair: Pair) -> dict[str, float]:
    """ECE of all and of the likely ones, and mean predicted and observed share."""
    predicted, observed = pair
    likely = predicted >= LIKELY
    return {
        "n": len(predicted),
        "ece": round(calibration_error(predicted, observed, BINS), 4),
        "ece_if_perfect": round(chance_error(predicted), 4),
        "predicted": round(float(predicted.mean()), 4),
        "observed": round(float(observed.mean()), 4),
        "n_likely": int(likely.sum()),
        "ece_likely": round(calibration_error(predicted[likely], observed[likely], BINS), 4),
        "predicted_likely": round(float(predicted[likely].mean()), 4),
        "observed_likely": round(float(observed[likely].mean()), 4),
        "brier": round(float(((predicted - observed) ** 2).mean()), 4),
    }


def pools(part: str, *, gated: bool = False) -> dict[str, dict[str, Pair]]:
    """Every pair by panel and name, those of one panel pooled last under ``all``; ``gated``: see ``read``."""
    known, new = read(part, "mp20", gated=gated), read(part, "wbm", gated=gated)
    gaps = {
        f"{source} {window}": gap_pair(rows, window)
        for source, rows in (("mp20", known), ("wbm", new))
        for window in WINDOWS
    }
    stabilities = {f"< {limit:g}": stability_pair(new, limit) for limit in LIMITS}
    products = {
        f"{window}, < {limit:g}": both(gap_pair(new, window), stability_pair(new, limit))
        for window in WINDOWS
        for limit in LIMITS
    }
    panels = {"gap in window": gaps, "E above hull under limit": stabilities, "both": products}
    released = {f"< {limit:g}, released": stability_pair(new, limit, "released") for limit in LIMITS}
    for panel in panels.values():
        panel["all"] = together(panel.values())
    return {**panels, "E above hull, as released": {**released, "all": together(released.values())}}


def draw(panels: dict[str, Pair]) -> None:
    """Draw observed against predicted shares by bins, with 95 % intervals and numbers of crystals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.1), dpi=130, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, pair) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        _panel(axes, title, pair)
    figure.savefig(PICTURE, format="png")


def _panel(axes: Axes, title: str, pair: Pair) -> None:
    predicted, observed = pair
    place = np.minimum((predicted * BINS).astype(int), BINS - 1)
    axes.plot([0, 1], [0, 1], color="#b9c4ca", lw=1)
    for chosen in (place == b for b in range(BINS)):
        if chosen.any():
            rate = Rate(int(observed[chosen].sum()), int(chosen.sum()))
            low, high = rate.interval
            x = predicted[chosen].mean()
            axes.plot([x, x], [low, high], color="#1f6f8b", lw=1.5)
            axes.plot(x, rate.value, "o", color="#1f6f8b", ms=5)
            axes.annotate(
                f"{chosen.sum():,}",
                (x, high),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color="#73828c",
            )
    found = reliability(pair)
    axes.set_title(
        f"{title}\nECE {found['ece']:.3f}; predicted ≥ {LIKELY}: {found['ece_likely']:.3f}", fontsize=10
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.06), xlabel="predicted", ylabel="observed")


def main() -> None:
    """Write metrics and picture of the test part; the gap's trees were trained on the calibration part."""
    test = pools("test")
    found = {
        name: {
            panel: {name: reliability(pair) for name, pair in chosen.items()}
            for panel, chosen in panels.items()
        }
        for name, panels in (("test", test), ("gated", pools("test", gated=True)))
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    draw({panel: test[panel]["all"] for panel in ("gap in window", "E above hull under limit", "both")})
    for name, panels in found.items():
        for panel, chosen in panels.items():
            print(name, panel, chosen["all"])


if __name__ == "__main__":
    main()
