"""Round trip structure → gene + geometry → structure over a data set; writes round_trip.json.

python benchmarks/round_trip.py ../shared/data/structures/mp20.csv.gz
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from pymatgen.analysis.structure_matcher import StructureMatcher
from rich.progress import track

from invdesign.crystal.symmetry import SymmetryError, gene_of, realise
from invdesign.crystal.wyckoff import space_group_table
from invdesign.data.dataset import read_dataset


def main(source: Path) -> None:
    """Measure and write the figures."""
    matcher = StructureMatcher()
    for number in range(1, 231):
        space_group_table(number)
    outcome: Counter[str] = Counter()
    rest: list[str] = []
    forth = back = 0.0
    for entry in track(list(read_dataset(source)), source.name):
        start = time.process_time()
        try:
            gene, geometry = gene_of(entry.structure)
        except SymmetryError as error:
            outcome["no gene"] += 1
            rest.append(f"{entry.id}: {error}")
            continue
        middle = time.process_time()
        again = realise(gene, geometry)
        forth, back = forth + middle - start, back + time.process_time() - middle
        matched = matcher.fit(entry.structure, again)
        outcome["match" if matched else "no match"] += 1
        if not matched:
            rest.append(f"{entry.id} {entry.structure.composition.reduced_formula}: {gene}")
        outcome["gene comes back"] += gene_of(again)[0] == gene
    n = outcome["match"] + outcome["no match"] + outcome["no gene"]
    figures = {
        "source": source.name,
        "crystals": n,
        "symprec": 0.1,
        "matcher": "pymatgen StructureMatcher, defaults (0.2, 0.3, 5 degrees)",
        **outcome,
        "match_rate": outcome["match"] / n,
        "rest": rest,
        "genes_per_cpu_s": n / forth,
        "structures_per_cpu_s": n / back,
        "hardware": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("moyopy", "pymatgen", "numpy")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps({key: value for key, value in figures.items() if key != "rest"}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
