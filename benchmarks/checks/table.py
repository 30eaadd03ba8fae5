"""Writes ``README.md`` from ``phonons.json`` and ``md.json``."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from invdesign.stability.phonons import SOFTEST, THRESHOLD

HERE = Path(__file__).parent
POTENTIALS = ("chgnet", "tensornet", "7net-0")
VOTE = "two of chgnet, 7net-0, 7net-l3i5"
THRESHOLDS = (-0.3, -0.5, -0.8, -1.0)


def main() -> None:
    """Two tables, and who was flagged."""
    phonons, md = (json.loads((HERE / f"{gate}.json").read_text()) for gate in ("phonons", "md"))
    rows = phonons["crystals"]
    lines = ["# The gates of `design --check`", "", "Lowest mode under … THz (of three: the gate):", ""]
    lines += [_row(["", "potential", "crystals", *(f"{t:g}" for t in THRESHOLDS), "core s (median, most)"])]
    lines += [_row(["---"] * (4 + len(THRESHOLDS)))]
    for kind in ("non-metals", "metals", "saddles"):
        own = [row for row in rows if row["set"] == kind]
        for potential in POTENTIALS:
            counts = [sum(_low(row, potential) < t for row in own) for t in THRESHOLDS]
            seconds = [row[potential]["core_s"] for row in own]
            lines.append(_row([kind, potential, len(own), *counts, _cost(seconds)]))
        voted = [_voted(row) for row in own]
        counts = ["", "", f"**{sum(rejected for rejected, _ in voted)}**", ""]
        lines.append(_row([kind, VOTE, len(own), *counts, _cost([seconds for _, seconds in voted])]))
    lines += [
        "",
        "Known crystals under −0.5 THz with any, saddles over −0.8 (CHGNet, TensorNet, 7net-0, 7net-l3i5): ",
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
    lines += ["", "Two picoseconds at 300 K:", ""]
    lines += [_row(["", "crystal", "potential", "bonds kept", "moved, Å", "spread, Å", "atoms", "core s"])]
    lines += [_row(["---"] * 8)]
    for row in md["crystals"]:
        for potential in filter(row.__contains__, ("chgnet", "7net-0")):
            one = row[potential]
            told = [one["fails"], "", "", ""] if "fails" in one else _held(one)
            lines.append(_row([row["set"], row["name"], potential, *told, one["core_s"]]))
    lines += [
        "",
        f"{phonons['hardware']['cpu']}, shared with other work; invdesign at `{phonons['revision']}`.",
    ]
    lines += [
        "",
        "`further.json`: other known crystals (seeds 0 and 3) and saddle points, by the same functions; THz.",
        "",
    ]
    lines += ["Written by `table.py`; `checks.py` describes the measurement."]
    (HERE / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cost(seconds: list[float]) -> str:
    return f"{median(seconds):.1f}, {max(seconds):.1f}"


def _low(row: dict[str, Any], potential: str) -> float:
    low: float = row[potential].get("lowest", -99.0)
    return low


def _voted(row: dict[str, Any]) -> tuple[bool, float]:
    """Whether two of three find an imaginary mode, and the core seconds; the third is asked last."""
    asked = ["chgnet", "7net-0"]
    if _imaginary(row["chgnet"]) != _imaginary(row["7net-0"]):
        asked.append("7net-l3i5")
    return _imaginary(row[asked[-1]]), sum(row[one]["core_s"] for one in asked)


def _imaginary(found: dict[str, Any]) -> bool:
    return "lowest" not in found or found["lowest"] < max(THRESHOLD, -SOFTEST * found["highest"])


def _lows(row: dict[str, Any]) -> list[float]:
    return [_low(row, potential) for potential in (*POTENTIALS, "7net-l3i5") if potential in row]


def _held(one: dict[str, Any]) -> list[str]:
    figures = [f"{one[name]:.2f}" for name in ("bonds", "moved", "rms_displacement")]
    return [*figures, str(one["n_atoms"])]


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
