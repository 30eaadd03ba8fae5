"""How many compounds have two elements that would share their sites, reported and proposed ones.

python benchmarks/solid-solutions/measure.py ../shared/data

Reported: ordered crystals of mp20 and mpts52 at most 0.05 eV/atom above the hull. Generated: what
campaigns relaxed for `relaxed-genes`, unknown, at most 0.1 eV/atom above the hull, with a gap above 0.3 eV.
Substituted: WBM with such a gap. Compounds whose likeliest states are ions; each formula once.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from invdesign.composition.assignment import assigned
from invdesign.composition.formula import reduced_amounts
from invdesign.composition.solid_solutions import mixing
from invdesign.io.artifacts import resolve
from invdesign.io.provenance import git_revision, hardware

OUT = Path(__file__).parent / "solid-solutions.json"


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a table."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def main(data: Path) -> None:
    """Count, and write the shares down."""
    structures = data / "structures"
    outcomes = rows(resolve("models", "relaxed-genes") / "outcomes.csv.gz")
    formulas = {
        "reported": {
            row["pretty_formula"]
            for name in ("mp20", "mpts52")
            for row in rows(structures / f"{name}.csv.gz")
            if float(row["e_above_hull"]) <= 0.05
        },
        "generated": {
            row["formula"]
            for row in outcomes
            if row["novelty"] in {"2", "3"}
            and float(row["e_above_hull"] or "nan") <= 0.1
            and float(row["band_gap"] or "nan") > 0.3
        },
        "substituted": {
            row["pretty_formula"]
            for row in rows(structures / "wbm.csv.gz")
            if float(row["band_gap"] or "nan") > 0.3
        },
    }
    result = {kind: shares(sorted(found)) for kind, found in formulas.items()}
    about = {"hardware": hardware(), "revision": git_revision()}
    OUT.write_text(json.dumps({**about, "shares": result}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def shares(formulas: list[str]) -> dict[str, dict[str, float]]:
    """Compounds of ions, and the share with a pair, by number of elements."""
    counts: dict[int, list[bool]] = {}
    for formula in formulas:
        amounts = reduced_amounts(formula)
        if len(amounts) >= 3 and assigned(amounts).kind == "ions":
            counts.setdefault(min(len(amounts), 5), []).append(bool(mixing(amounts)))
    return {str(n): {"n": len(c), "share": round(sum(c) / len(c), 4)} for n, c in sorted(counts.items())}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
