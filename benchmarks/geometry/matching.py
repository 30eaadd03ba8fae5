"""How often a held-out crystal's geometry is found, given its gene.

python benchmarks/geometry/matching.py inherited diffusion sampled --n 200

Crystals of mp20 whose compositions no model was trained on; the library leaves out their formulas.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from crystals import corpus, held_out
from pymatgen.analysis.structure_matcher import StructureMatcher
from sources import SOURCES

from invdesign.crystal.symmetry import realise
from invdesign.filters.geometry import geometry_check
from invdesign.generators.geometry.source import GeometrySource

if TYPE_CHECKING:
    from pymatgen.core import Structure

HERE = Path(__file__).resolve().parent
MATCHER = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)


def rmsd(found: Structure, true: Structure) -> float | None:
    """Normalised root mean square displacement; None where they do not match."""
    match = MATCHER.get_rms_dist(found, true)
    return None if match is None else float(match[0])


def metrics(best: list[list[float | None]], top: int) -> dict[str, Any]:
    """Match rate and mean RMSD of the best of the first ``top``."""
    kept = [min((r for r in row[:top] if r is not None), default=None) for row in best]
    matched = [r for r in kept if r is not None]
    return {"match": len(matched) / len(kept), "rmsd": float(np.mean(matched)) if matched else None}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", choices=[*SOURCES])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="geometry-diffusion")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = corpus(given.data)
    rows = held_out(known, given.n, given.seed)
    genes = [known.tokens.gene(row) for row in rows]
    truth = [realise(gene, known.tokens.geometry(row)) for gene, row in zip(genes, rows, strict=True)]
    left_out = set(known.formula[known.held_out].tolist())
    source = GeometrySource.load(diffusion=given.model).without(left_out)
    path = HERE / "matching.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in given.sources:
        start = time.process_time()
        proposals = SOURCES[name](source, genes, given.top, given.seed)
        seconds = time.process_time() - start
        structures = [
            [realise(gene, geometry) for geometry, _ in own]
            for gene, own in zip(genes, proposals, strict=True)
        ]
        distances = [[rmsd(s, true) for s in own] for own, true in zip(structures, truth, strict=True)]
        made = [s for own in structures for s in own]
        results[name] = {
            "n": len(genes),
            "has one": sum(map(bool, proposals)) / len(genes),
            "plausible": sum(geometry_check(s).passed for s in made) / len(made),
            "geometries per core second": len(made) / seconds,
            "at 1": metrics(distances, 1),
            f"at {given.top}": metrics(distances, given.top),
        }
        print(name, json.dumps(results[name]), flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
