"""Does the quick rank find the candidates worth relaxing? Writes gene_ranking.json.

    invdesign design "e_above_hull<0.1" --out run77 --n 1024 --n-relax 1024 --seed 77
    python benchmarks/gene_ranking.py run77 [RANKER]

The campaign relaxes all that pass its gates, so that any ranking of them can be judged afterwards. A
ranker learns from DFT and M3GNet; the judge is the campaign's potential, CHGNet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from invdesign.campaign.evaluation import Rate
from invdesign.campaign.store import Store
from invdesign.predictors.figures import auc, calibration_error, spearman
from invdesign.predictors.gene_rank import GeneRanker
from invdesign.ranking import hit_probability, select
from invdesign.targets import parse_target

SHARES = (1, 2, 4, 8, 16)
TARGET = parse_target(["e_above_hull<0.1"])


def figures(score: np.ndarray, hit: np.ndarray, height: np.ndarray, genes: list, cost: dict) -> dict:
    """How well a score orders candidates, and what the best of it yield per relaxation and core second."""
    found = np.isfinite(height)
    order = np.argsort(-score, kind="stable")
    yields = {}
    for share in SHARES:
        n = len(score) // share
        capped = select(genes, score.tolist(), n, per_formula=3, per_skeleton=max(3, n // 10))
        seconds = len(score) * cost["gene"] + n * cost["relaxation"]
        yields[f"best 1/{share}"] = {
            "per relaxation": Rate(int(hit[order[:n]].sum()), n).as_json(),
            "with diversity caps": Rate(int(hit[capped].sum()), n).as_json(),
            "per 100 core seconds": round(100 * int(hit[capped].sum()) / seconds, 2),
        }
    return {
        "auc": round(auc(score, hit), 4),
        "rank correlation with E above hull": round(spearman(-score[found], height[found]), 4),
        "calibration error": round(calibration_error(score, hit), 4),
        "mean": round(float(score.mean()), 4),
        "yield": yields,
    }


def main(folder: Path, ranker: str) -> None:
    """Rank the relaxed candidates of a campaign anew and write the figures beside this file."""
    store = Store(folder / "candidates.db")
    everything = store.read()
    tried = [c for c in everything if "place" in c.provenance]
    proposed = [
        c.gene if "proposed_gene" not in c.provenance else type(c.gene).parse(c.provenance["proposed_gene"])
        for c in tried
    ]
    hit = np.array([c.alive for c in tried])
    height = np.array([c.properties["e_above_hull"].mean if c.structure else np.nan for c in tried])
    seconds = store.seconds
    relaxing = ("geometry", "relaxation", "hull", "properties")
    cost = {  # core seconds, for each survivor of the gates and for each relaxed
        "gene": sum(seconds[s][1] for s in seconds if s not in relaxing) / len(tried),
        "relaxation": sum(seconds[s][1] for s in relaxing) / len(tried),
    }
    scores = {
        "unranked": np.random.default_rng(0).permutation(len(tried)) / len(tried),
        "as the campaign ranked": np.array([c.verdicts["quick rank"].figure for c in tried]),
        ranker: np.array([hit_probability(e, TARGET) for e in GeneRanker.load(ranker).predict(proposed)]),
    }
    result = {
        "campaign": store.identity,
        "candidates": len(tried),
        "hits": Rate(int(hit.sum()), len(tried)).as_json(),
        "core seconds": {name: round(value, 4) for name, value in cost.items()},
        "rankings": {n: figures(s, hit, height, proposed, cost) for n, s in scores.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "gene-rank")
