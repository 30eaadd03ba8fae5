"""Are the rows of a shortlist different crystals? Prints what the stored ones of benchmarks/design hold.

python benchmarks/ranking/diversity.py [SHORTLIST.csv …]
"""

from __future__ import annotations

import csv
import sys
from itertools import combinations
from pathlib import Path

import numpy as np

from invdesign.campaign.ranking import similarity
from invdesign.crystal.gene import Gene

STORED = sorted((Path(__file__).parents[1] / "design").glob("*.csv"))


def metrics(path: Path) -> dict[str, float]:
    """How many formulas, prototypes and sets of elements the rows have, and how alike they are."""
    with path.open(encoding="utf-8", newline="") as file:
        genes = [Gene.parse(row["gene"]) for row in csv.DictReader(file)]
    alike = np.zeros((len(genes), len(genes)))
    for (i, a), (j, b) in combinations(enumerate(genes), 2):
        alike[i, j] = alike[j, i] = similarity(a, b)
    return {
        "rows": len(genes),
        "formulas": len({gene.formula for gene in genes}),
        "prototypes": len({gene.prototype for gene in genes}),
        "chemical systems": len({frozenset(gene.elements) for gene in genes}),
        "most alike pair": round(float(alike.max()), 3),
        "median likeness to the nearest": round(float(np.median(alike.max(axis=1))), 3),
        "median likeness of a pair": round(float(np.median(alike[np.triu_indices(len(genes), 1)])), 3),
    }


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or STORED:
        print(path.name, metrics(path))
