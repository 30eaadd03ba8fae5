"""Does pre-ranking find the candidates worth relaxing? Writes gene_ranking.json, by potential.

A ranker learns from DFT and from generated crystals relaxed with M3GNet. A campaign that relaxes all that
pass its gates lets any ranking of them be evaluated afterwards, by its potential. Campaign 501, evaluated by
M3GNet, is in the cache of a training; a new one draws with the generator and ranker of today, the metrics
here are of those of then:

    invdesign train configs/generators/relaxed-genes.yaml
    python benchmarks/gene_ranking.py .cache/invdesign/relaxed-genes/501 [RANKER]

Campaign 77, evaluated by CHGNet, on which no ranker was trained (376 of its 586 survivors, drawn at random,
relaxed; the file holds the scores of two earlier rankers):

    python benchmarks/gene_ranking.py benchmarks/gene_ranking.csv [RANKER]
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.ranking import hit_probability, select
from invdesign.campaign.store import Store
from invdesign.composition.formula import composition_key
from invdesign.core.target import parse_target
from invdesign.crystal.gene import Gene
from invdesign.data.relaxed_genes import read_relaxed
from invdesign.predictors.gene_ranker import GeneRanker
from invdesign.training.metrics import auc, calibration_error, spearman

SHARES = (1, 2, 4, 8, 16)
TARGET = parse_target(["e_above_hull<0.1"])
UNSELECTED = 501  # campaign that taught the ranker nothing but its intervals
RECORDED = {"first ranker": "p_first_ranker", "without likeness": "p_without_likeness"}  # columns of the CSV
RELAXATION = 0.33  # core seconds of CHGNet for each candidate of the CSV
GATES, PER_SURVIVOR = 0.002, 1.3  # core seconds a gene; genes drawn for each survivor of the gates
RESAMPLES = 2000


def interval(score: np.ndarray, hit: np.ndarray) -> list[float]:
    """95 % of the AUC, by bootstrap."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(hit), size=len(hit)) for _ in range(RESAMPLES))
    return np.quantile([auc(score[rows], hit[rows]) for rows in draws], [0.025, 0.975]).round(4).tolist()


def ranking_metrics(
    score: np.ndarray, hit: np.ndarray, e_above_hull: np.ndarray, genes: list, costs: dict
) -> dict:
    """How well a score orders candidates, and what the best of it yield per relaxation and core second.

    Args:
        score: (N,) higher is better; probabilities, for the calibration.
        hit: (N,) bool.
        e_above_hull: (N,) E above hull, eV/atom; NaN where unknown.
        genes: (N,) as ranked.
        costs: by name of the yield, core seconds of a survivor of the gates and of a relaxation.
    """
    found = np.isfinite(e_above_hull)
    order = np.argsort(-score, kind="stable")
    yields = {}
    for share in SHARES:
        n = len(score) // share
        capped = select(genes, score.tolist(), n, per_formula=3, per_prototype=max(3, n // 10))
        yields[f"best 1/{share}"] = {
            "per relaxation": Rate(int(hit[order[:n]].sum()), n).as_json(),
            "with diversity caps": Rate(int(hit[capped].sum()), n).as_json(),
            **{
                name: round(100 * int(hit[capped].sum()) / (len(score) * gene + n * relaxation), 2)
                for name, (gene, relaxation) in costs.items()
            },
        }
    return {
        "auc": round(auc(score, hit), 4),
        "auc_interval_95": interval(score, hit),
        "rank correlation with E above hull": round(spearman(-score[found], e_above_hull[found]), 4),
        "calibration error": round(calibration_error(score, hit), 4),
        "mean": round(float(score.mean()), 4),
        "yield": yields,
    }


def of_campaign(folder: Path, ranker: str) -> tuple[str, dict]:
    """Return the potential, and the metrics of a campaign's relaxed candidates in a ranker's order."""
    store = Store(folder / "candidates.db")
    everything = store.read()
    tried = [c for c in everything if c.place is not None]
    proposed = [type(c.gene).parse(c.relaxation.proposed_gene) if c.relaxation else c.gene for c in tried]
    hit = np.array([c.alive for c in tried])
    e_above_hull = np.array([c.properties["e_above_hull"].mean if c.structure else np.nan for c in tried])
    seconds = store.seconds
    relaxing = ("geometry", "relaxation", "hull", "properties")
    cost = {  # core seconds, for each survivor of the gates and for each relaxed
        "gene": sum(seconds[s][1] for s in seconds if s not in relaxing) / len(tried),
        "relaxation": sum(seconds[s][1] for s in relaxing) / len(tried),
    }
    scores = {
        "unranked": np.random.default_rng(0).permutation(len(tried)) / len(tried),
        "as the campaign ranked": np.array([c.verdicts["pre-ranking"].value for c in tried]),
        ranker: np.array([hit_probability(e, TARGET) for e in GeneRanker.load(ranker).predict(proposed)]),
    }
    potential = Path(store.identity["potential"]).name
    costs = {"per 100 core seconds": (cost["gene"], cost["relaxation"])}
    return potential, {
        "campaign": store.identity | {"potential": potential},
        "candidates": len(tried),
        "hits": Rate(int(hit.sum()), len(tried)).as_json(),
        "core seconds": {name: round(value, 4) for name, value in cost.items()},
        "rankings": {n: ranking_metrics(s, hit, e_above_hull, proposed, costs) for n, s in scores.items()},
    }


def of_record(file: Path, ranker: str) -> tuple[str, dict]:
    """Return the potential, and the metrics of campaign 77 as ordered by three rankers."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    genes = [Gene.parse(row["gene"]) for row in rows]
    hit = np.array([row["hit"] == "1" for row in rows])
    e_above_hull = np.array([float(row["e_above_hull"] or "nan") for row in rows])
    costs = {
        f"per 100 core seconds, {ms} ms a gene": (PER_SURVIVOR * (ms / 1000 + GATES), RELAXATION)
        for ms in (10, 4)
    }
    taught = read_relaxed()
    learned = {
        composition_key(gene.amounts)
        for gene, seed in zip(taught.proposed, taught.campaign, strict=True)
        if seed != UNSELECTED
    }
    unseen = np.array([composition_key(gene.amounts) not in learned for gene in genes])
    scores = {name: np.array([float(row[column]) for row in rows]) for name, column in RECORDED.items()}
    scores[ranker] = np.array([hit_probability(e, TARGET) for e in GeneRanker.load(ranker).predict(genes)])
    rankings = {}
    for name, score in scores.items():
        rankings[name] = ranking_metrics(score, hit, e_above_hull, genes, costs) | {
            "compositions not learned from": {
                "candidates": int(unseen.sum()),
                "auc": round(auc(score[unseen], hit[unseen]), 4),
            }
        }
    return "chgnet-0.3.0", {
        "campaign": {"seed": 77, "target": str(TARGET), "n_genes": 768, "survivors": 586},
        "candidates": len(rows),
        "hits": Rate(int(hit.sum()), len(rows)).as_json(),
        "rankings": rankings,
    }


def main(source: Path, ranker: str) -> None:
    """Write the metrics of a campaign's folder, or of the CSV, beside this file; those of others stay."""
    potential, result = of_record(source, ranker) if source.suffix == ".csv" else of_campaign(source, ranker)
    path = Path(__file__).with_suffix(".json")
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(report | {potential: result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "gene-rank")
