"""The tables of docs/concepts/geometry.md from the JSONs: `python benchmarks/geometry/table.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
NAMES = ("inherited", "diffusion", "chosen", "sampled", "default")
LIMIT = 0.1  # eV/atom above the hull

Start = dict[str, Any]


def line(name: str, number: str, rows: list[list[Start]]) -> str:
    """One row: what the starting structures of each gene came to."""
    energies = [[t["e_above_hull"] for t in own if t["e_above_hull"] is not None] for own in rows]
    starts = [t for own in rows for t in own]
    hits = sum(any(h < LIMIT for h in own) for own in energies)
    moved = [t["rmsd"] for t in starts if t["rmsd"] is not None]
    steps = sum(t["steps"] for t in starts)
    lowest = [min(own) if own else np.inf for own in energies]
    cells = (
        name,
        number,
        f"{hits} of {len(rows)} ({hits / len(rows):.2f})",
        f"{np.median(lowest):.3f}",
        f"{len(starts) / len(rows):.1f}",
        f"{sum(t['e_above_hull'] is not None for t in starts) / len(starts):.2f}",
        f"{steps / len(starts):.1f}",
        f"{np.mean(moved):.3f}",
        f"{1000 * hits / steps:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def tried(rows: list[dict[str, Any]]) -> int:
    """Most starts of one gene."""
    return max(len(row["starts"]) for row in rows)


def relaxations(which: str) -> list[str]:
    """Return the table of one set of genes: each source alone, then inherited ones before draws."""
    found = {
        name: json.loads((HERE / f"{which}-{name}.json").read_text())
        for name in NAMES
        if (HERE / f"{which}-{name}.json").is_file()
    }
    shared = min(map(len, found.values()))
    found = {name: rows[:shared] for name, rows in found.items()}
    lines = [
        f"`{which}`, {shared} genes:",
        "",
        "| geometries | starts | genes < 0.1 eV/atom | median | each | converged | steps | RMSD | per 1000 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        line(name, str(n), [row["starts"][:n] for row in rows])
        for name, rows in found.items()
        for n in (1, 2, 4)
        if n <= tried(rows)
    ]
    for drawn in [name for name in ("diffusion", "chosen") if name in found]:
        for first, n in ((1, 2), (2, 4)):
            rows = []
            for known, new in zip(found["inherited"], found[drawn], strict=True):
                own = known["starts"][:first]
                rows.append(own + new["starts"][: n - len(own)])
            if n - first <= tried(found[drawn]):
                lines.append(line(f"{first} inherited, then {drawn}", str(n), rows))
    return lines


def matches() -> list[str]:
    """Return the table of matching.json."""
    results = json.loads((HERE / "matching.json").read_text())
    lines = [
        "| geometries | match at 1 | RMSD | match at 20 | RMSD | has one | plausible | per core second |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results.items():
        one, top = row["at 1"], row["at 20"]
        lines.append(
            f"| {name} | {one['match']:.2f} | {one['rmsd']:.3f} | {top['match']:.2f} | {top['rmsd']:.3f} | "
            f"{row['has one']:.2f} | {row['plausible']:.2f} | {row['geometries per core second']:.0f} |"
        )
    return lines


if __name__ == "__main__":
    blocks = [relaxations(w) for w in ("novel", "held-out") if (HERE / f"{w}-inherited.json").is_file()]
    if (HERE / "matching.json").is_file():
        blocks.append(matches())
    sys.stdout.write("\n\n".join("\n".join(block) for block in blocks) + "\n")
