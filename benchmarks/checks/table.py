"""Writes ``README.md`` from ``phonons.json`` and ``md.json``."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
POTENTIALS = ("chgnet", "tensornet", "7net-0")
THRESHOLDS = (-0.3, -0.5, -0.8, -1.0)


def main() -> None:
    """Two tables, and who was flagged."""
    phonons, md = (json.loads((HERE / f"{gate}.json").read_text()) for gate in ("phonons", "md"))
    rows = phonons["crystals"]
    lines = ["# The gates of `design --check`", "", "Lowest mode under … THz:", ""]
    lines += [_row(["", "potential", "crystals", *(f"{t:g}" for t in THRESHOLDS), "core s (median, most)"])]
    lines += [_row(["---"] * (4 + len(THRESHOLDS)))]
    for kind in ("non-metals", "metals", "saddles"):
        own = [row for row in rows if row["set"] == kind]
        for potential in POTENTIALS:
            found = [row[potential] for row in own]
            counts = [sum(one.get("lowest", -99.0) < t for one in found) for t in THRESHOLDS]
            seconds = [one["core_s"] for one in found]
            cost = f"{median(seconds):.1f}, {max(seconds):.1f}"
            lines.append(_row([kind, potential, len(own), *counts, cost]))
    lines += [
        "",
        "Known crystals under −0.5 THz with any, and saddles over −0.8 (CHGNet, TensorNet, SevenNet-0): ",
    ]
    lines[-1] += "; ".join(
        f"{row['name']} " + ", ".join(f"{low:.2f}" for low in _lows(row))
        for row in rows
        if (min(_lows(row)) < -0.5 if row["set"] != "saddles" else max(_lows(row)) > -0.8)
    )
    ratios = sorted(
        row["chgnet"]["highest"] / row["tensornet"]["highest"] for row in rows if row["set"] != "saddles"
    )
    tenth = len(ratios) // 10
    lines[-1] += (
        f". CHGNet's highest mode over TensorNet's, known crystals: {median(ratios):.2f} "
        f"({ratios[tenth]:.2f} to {ratios[-1 - tenth]:.2f}, 80 %)."
    )
    lines += ["", "Two picoseconds at 300 K, CHGNet:", ""]
    lines += [_row(["", "crystal", "bonds kept", "moved, Å", "spread, Å", "atoms", "core s"])]
    lines += [_row(["---"] * 7)]
    for row in md["crystals"]:
        one = row["chgnet"]
        told = [one["fails"], "", "", ""] if "fails" in one else _held(one)
        lines.append(_row([row["set"], row["name"], *told, one["core_s"]]))
    lines += [
        "",
        f"{phonons['hardware']['cpu']}, shared with other work; invdesign at `{phonons['revision']}`.",
    ]
    lines += ["Written by `table.py`; `checks.py` describes the measurement."]
    (HERE / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lows(row: dict[str, Any]) -> list[float]:
    return [row[potential]["lowest"] for potential in POTENTIALS]


def _held(one: dict[str, Any]) -> list[str]:
    return [f"{one['bonds']:.2f}", f"{one['moved']:.2f}", f"{one['spread']:.2f}", str(one["n_atoms"])]


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
