"""What geometries of each source become when they are relaxed, as a campaign relaxes them.

python benchmarks/geometry/relaxing.py novel inherited diffusion sampled --n 100
python benchmarks/geometry/relaxing.py held-out inherited diffusion sampled --n 50

``novel``: genes of gene diffusion, balanced, of a composition that no known crystal has. ``held-out``: genes
of mp20 crystals that no model was trained on. CHGNet, mp-hull; none is stopped early. A JSON per set and
source holds every relaxation, in the order in which they were proposed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from crystals import corpus, held_out, novel
from matching import rmsd
from sources import SOURCES

from invdesign.crystal.symmetry import realise
from invdesign.filters.geometry import geometry_check
from invdesign.generators.geometry.source import GeometrySource
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull

if TYPE_CHECKING:
    from invdesign.crystal.gene import Gene
    from invdesign.crystal.geometry import Geometry

HERE = Path(__file__).resolve().parent
CHUNK = 8  # genes relaxed together


class Evaluator:
    """Relaxes and places on the hull."""

    def __init__(self, *, hypothetical: bool) -> None:
        self.potential, self.hypothetical = load_potential("chgnet"), hypothetical
        self.calibration, self.hull = EnergyCalibration.load(), Hull.load()

    def outcomes(self, gene_geometries: list[tuple[Gene, Geometry]]) -> list[dict[str, Any]]:
        """Per geometry: steps, energy above hull (eV/atom; None where it came to nothing), RMSD moved."""
        starts = [realise(gene, geometry) for gene, geometry in gene_geometries]
        tried = [i for i, start in enumerate(starts) if geometry_check(start).passed]
        found: list[dict[str, Any]] = [{"steps": 0, "e_above_hull": None, "rmsd": None} for _ in starts]
        ends = relax([starts[i] for i in tried], self.potential, keep_symmetry=True)
        for i, end in zip(tried, ends, strict=True):
            found[i]["steps"] = end.n_steps
            if not end.converged or not geometry_check(end.structure).passed:
                continue
            composition = end.structure.composition
            energy = self.calibration.formation_energy(
                composition, end.energy, hypothetical=self.hypothetical
            )
            found[i]["e_above_hull"] = round(
                float(self.hull.e_above_hull(composition, energy).e_above_hull), 4
            )
            found[i]["rmsd"] = rmsd(starts[i], end.structure)
        return found


def main() -> None:
    """Relax what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=["novel", "held-out"])
    parser.add_argument("sources", nargs="+", choices=[*SOURCES])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="geometry-diffusion")
    given = parser.parse_args()
    torch.set_num_threads(1)
    source = GeometrySource.load(diffusion=given.model)
    if given.set == "held-out":
        known = corpus(given.data)
        genes = [known.tokens.gene(row) for row in held_out(known, given.n, given.seed)]
        source = source.without(set(known.formula[known.held_out].tolist()))
    else:
        genes = novel(given.n, given.seed)
    evaluator = Evaluator(hypothetical=given.set == "novel")
    genes = [gene for gene in genes if evaluator.potential.elements >= set(gene.elements)]
    for name in given.sources:
        path = HERE / f"{given.set}-{name}.json"
        rows: list[dict[str, Any]] = []
        for first in range(0, len(genes), CHUNK):
            block = genes[first : first + CHUNK]
            proposals = SOURCES[name](source, block, given.starts, given.seed + first)
            pairs = [(g, geometry) for g, own in zip(block, proposals, strict=True) for geometry, _ in own]
            outcomes = iter(evaluator.outcomes(pairs))
            for gene, own in zip(block, proposals, strict=True):
                starts = [{"origin": origin, **next(outcomes)} for _, origin in own]
                rows.append({"gene": str(gene), "n_free": gene.n_free, "starts": starts})
            path.write_text(json.dumps(rows, indent=0) + "\n")
        print(name, len(rows), flush=True)


if __name__ == "__main__":
    main()
