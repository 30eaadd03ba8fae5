"""What gene-diffusion samples, before any relaxation; writes gene_diffusion.json.

python benchmarks/gene_diffusion.py ../shared/data
gene-rank tells gaps and stability: it does not guide, but learned from relaxed-genes as the generator did.
`benchmarks/generation` has an evaluator on which neither was trained.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import wasserstein_distance

from invdesign.core.target import Window, parse_target
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.data.tokens import tokenise
from invdesign.filters.charge_balance import charge_balance
from invdesign.filters.novelty import KnownMaterials
from invdesign.generators.gene_diffusion.pipeline import GeneDiffusion
from invdesign.predictors.gene_ranker import GeneRanker

if TYPE_CHECKING:
    from invdesign.crystal.gene import Gene

N, SEED = 1024, 11
CACHE = Path(".cache/invdesign")


def describe(
    genes: list[Gene], ranker: GeneRanker, known: KnownMaterials, window: Window | None
) -> dict[str, float]:
    """Shares of a sample of genes."""
    novelty = np.array([known.novelty(gene).value for gene in genes])
    estimates = ranker.predict(genes)
    metrics = {
        "unique": len({gene.hash for gene in genes}) / len(genes),
        "realisable": float(np.mean([gene.realisable for gene in genes])),
        "charge balanced": float(np.mean([charge_balance(gene.composition).passed for gene in genes])),
        "gene not known": float((novelty > 0).mean()),
        "composition not known": float((novelty == 2).mean()),
        "mean P(e_above_hull < 0.1), gene-rank": float(
            np.mean([e["e_above_hull"].probability(Window(-np.inf, 0.1)) for e in estimates])
        ),
    }
    if window:
        inside = [e["band_gap"].probability(window) for e in estimates]
        metrics["mean P(gap in window), gene-rank"] = float(np.mean(inside))
    return metrics


def element_shares(counts: np.ndarray) -> np.ndarray:
    """Share of each element among the occupied elements of all crystals."""
    return counts / counts.sum()


def main(data: Path) -> None:
    """Measure and write the metrics."""
    ranker, known = GeneRanker.load("gene-rank"), KnownMaterials.load()
    results: dict[str, object] = {}
    free = GeneDiffusion.load()
    start = time.process_time()
    genes = free.pipeline([{}] * N, seed=SEED, guidance=0.0)
    seconds = time.process_time() - start
    tokens = [tokenise(data / "structures" / f"{s}.csv.gz", CACHE) for s in ("mp20", "mpts52", "wbm")]
    trained = np.zeros(len(SYMBOLS))
    for part in tokens:
        for row in part.elements:
            trained[np.unique(row[row > 0])] += 1
    sampled = np.zeros(len(SYMBOLS))
    for gene in genes:
        sampled[[ATOMIC_NUMBER[element] for element in gene.elements]] += 1
    results["unconditional"] = {
        **describe(genes, ranker, known, None),
        "total variation of elements against training": float(
            0.5 * np.abs(element_shares(trained) - element_shares(sampled)).sum()
        ),
        "Wasserstein distance of atom counts against training": float(
            wasserstein_distance([g.n_atoms for g in genes], np.concatenate([p.n_atoms for p in tokens]))
        ),
        "genes per CPU second, no guidance": N / seconds,
    }
    target = parse_target(["band_gap=1.5±0.25"])
    window = target.windows["band_gap"]
    results["unconditional, for that window"] = describe(genes, ranker, known, window)
    for guidance in (0.0, 0.5, 1.0, 2.0):
        generator = GeneDiffusion.load(guidance={"band_gap": guidance})
        asked = [candidate.gene for candidate in generator.propose(target, N, SEED)]
        results[f"band_gap=1.5±0.25, its guidance {guidance:g}"] = describe(asked, ranker, known, window)
    report = {
        "n": N,
        "seed": SEED,
        "results": results,
        "hardware": f"{platform.machine()}, one thread",
        "versions": {name: version(name) for name in ("torch", "diffusers", "smact")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
