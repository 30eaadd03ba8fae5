"""What reported compounds are like that generated ones near the hull are not.

python benchmarks/realised/measure.py ../shared/data

Mixing: how many have two elements that would share their sites. Reported are ordered crystals of mp20 and
mpts52 at most 0.05 eV/atom above the hull; generated what campaigns relaxed for `relaxed-genes`, unknown, at
most 0.1 eV/atom above the hull, with a gap above 0.3 eV; substituted WBM with such a gap. Compounds whose
likeliest states are ions; each formula once. Alkali: of those with an alkali metal and no such pair, how
many have a second one. Energies: how reported compositions and generated new ones with
a gap lie above the hull; below it counts as on it.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from invdesign.composition.assignment import assigned
from invdesign.composition.formula import reduced_amounts
from invdesign.composition.solid_solutions import mixing
from invdesign.io.artifacts import resolve
from invdesign.io.provenance import git_revision, hardware

OUT = Path(__file__).parent / "realised.json"
EDGES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1)  # eV/atom
NEW, NEW_STRUCTURE = "2", "3"
ALKALI = {"Li", "Na", "K", "Rb", "Cs"}


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a table."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
        yield from csv.DictReader(handle)


def main(data: Path) -> None:
    """Count, and write the shares down."""
    reported: dict[str, float] = {}
    for name in ("mp20", "mpts52"):
        for row in rows(data / "structures" / f"{name}.csv.gz"):
            formula, energy = row["pretty_formula"], float(row["e_above_hull"])
            reported[formula] = min(energy, reported.get(formula, energy))
    generated = [
        (row["formula"], float(row["e_above_hull"]), row["novelty"])
        for row in rows(resolve("models", "relaxed-genes") / "outcomes.csv.gz")
        if row["e_above_hull"] and float(row["band_gap"] or "nan") > 0.3
    ]
    substituted = rows(data / "structures" / "wbm.csv.gz")
    near = {
        "reported": {formula for formula, energy in reported.items() if energy <= 0.05},
        "generated": {f for f, energy, known in generated if energy <= 0.1 and known in {NEW, NEW_STRUCTURE}},
        "substituted": {r["pretty_formula"] for r in substituted if float(r["band_gap"] or "nan") > 0.3},
    }
    result = {
        "mixing": {kind: shares(found, mixing) for kind, found in near.items()},
        "alkali": {kind: shares(unmixed(found), second_alkali) for kind, found in near.items()},
        "energies": {
            "reported": energies(list(reported.items())),
            "generated": energies([(f, energy) for f, energy, known in generated if known == NEW]),
        },
    }
    about = {"hardware": hardware(), "revision": git_revision()}
    OUT.write_text(json.dumps({**about, **result}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def unmixed(formulas: set[str]) -> set[str]:
    """Formulas with an alkali metal whose elements would not share sites."""
    return {f for f in formulas if ALKALI & reduced_amounts(f).keys() and not mixing(f)}


def second_alkali(formula: str) -> bool:
    """Whether a compound has two alkali metals."""
    return len(ALKALI & reduced_amounts(formula).keys()) > 1


def shares(formulas: set[str], has: Callable[[str], object]) -> dict[str, dict[str, float]]:
    """Compounds of ions, and the share that has something, by number of elements (five: and more)."""
    counts: dict[int, list[bool]] = {}
    for formula in formulas:
        amounts = reduced_amounts(formula)
        if len(amounts) >= 3 and assigned(amounts).kind == "ions":
            counts.setdefault(min(len(amounts), 5), []).append(bool(has(formula)))
    return {str(n): {"n": len(c), "share": round(sum(c) / len(c), 4)} for n, c in sorted(counts.items())}


def energies(found: list[tuple[str, float]]) -> dict[str, dict[str, object]]:
    """Shares of the compositions up to 0.1 eV/atom in each bin of ``EDGES``, by number of elements."""
    by_size: dict[int, list[float]] = {}
    for formula, energy in found:
        if energy <= EDGES[-1]:
            by_size.setdefault(len(reduced_amounts(formula)), []).append(max(energy, 0.0))
    return {
        str(n): {"n": len(e), "shares": (np.histogram(e, EDGES)[0] / len(e)).round(4).tolist()}
        for n, e in sorted(by_size.items())
        if n in {2, 3, 4, 5}
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
