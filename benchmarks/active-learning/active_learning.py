"""A simulated campaign on held-out data: how many labels until half of the hits are found.

    python benchmarks/active-learning/active_learning.py ../shared/data

A pool of crystals has estimates by the released models, which were not fitted to them, and labels that are
revealed on request, ten at a time, the first ten by the estimates alone. What is chosen next is chosen by the
functions that ``invdesign design --continue`` calls. Four pools:

- ``pbe``: WBM's crystals of the parts ``calibration`` and ``test`` of the band-gap model's split, relaxed and
  placed on the hull as candidates are (``benchmarks/ranking/held_out.csv.gz``); truth is their DFT gap and
  E above hull. Nothing is shifted: the models were calibrated on such crystals.
- ``survivors``: of these, what would pass a campaign's gates for the target; five labels at a time.
- ``measured``: measured gaps of the compositions that are test rows of ``band-gap-composition``; the estimate
  is its PBE gap. A user whose truth is an experiment or a hybrid functional.
- ``gllb``: GLLB-sc gaps of hypothetical cubic perovskites (perov5) whose composition no model knows; the
  estimate is ``band-gap``'s PBE gap. Another functional and another kind of crystal.

Writes ``active_learning.json``, of the pools that are named after the folder, or of all; ``table`` in place
of the folder prints the tables of docs/concepts/active-learning.md.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.campaign.active_learning.acquisition import most_informative
from invdesign.campaign.active_learning.correction import fit_corrections
from invdesign.campaign.active_learning.rescore import standardised
from invdesign.campaign.ranking import hit_probability, shortlist
from invdesign.core.candidate import Candidate, Estimate, Estimates
from invdesign.core.dft_result import DftResult
from invdesign.core.target import Target, Window
from invdesign.crystal.gene import Gene
from invdesign.io.provenance import hardware, package_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CACHE = Path(".cache/invdesign")
OUT = Path(__file__).with_name("active_learning.json")
HELD_OUT = Path("benchmarks/ranking/held_out.csv.gz")
GAP, STABILITY, LIMIT = "band_gap", "e_above_hull", 0.1
WINDOWS = {
    "pbe": ((1.25, 1.75), (2.75, 3.25), (4.5, 5.5)),
    "survivors": ((1.25, 1.75), (2.75, 3.25)),
    "measured": ((1.25, 1.75), (2.75, 3.25), (4.5, 5.5)),
    "gllb": ((1.0, 2.0), (2.0, 3.0), (3.0, 5.0)),
}
SIZE = {"pbe": 870, "measured": 300, "gllb": 1500}
SEEDS = range(10)
BATCH = {"pbe": 10, "survivors": 5, "measured": 10, "gllb": 10}
MOST = 200
SURVIVES = 0.1  # least probability that the gap lies in its window, as in a campaign
MARKS = (20, 40, 80)
STRATEGIES = ("hits", "likeliest", "information")


@dataclass(frozen=True)
class Pool:
    """Crystals with estimates, labels and standardised vectors (n, d)."""

    candidates: list[Candidate]
    labels: list[dict[str, float]]
    vectors: np.ndarray

    def sample(self, n: int, seed: int) -> tuple[Pool, Pool]:
        """Draw some candidates at random, and others of which nothing is ever revealed."""
        rows = np.random.default_rng(seed).permutation(len(self.candidates))
        return self._of(np.sort(rows[:n])), self._of(np.sort(rows[n : 2 * n]))

    def survivors(self, target: Target) -> Pool:
        """Those that would pass the gates of hull and properties."""
        windows = [c.properties[GAP].probability(target.windows[GAP]) for c in self.candidates]
        above = [c.properties[STABILITY].mean for c in self.candidates]
        return self._of(np.flatnonzero((np.array(windows) >= SURVIVES) & (np.array(above) <= LIMIT)))

    def _of(self, rows: np.ndarray) -> Pool:
        own = [self.candidates[i] for i in rows]
        fresh = [Candidate(c.id, c.gene, properties=c.properties) for c in own]
        return Pool(fresh, [self.labels[i] for i in rows], self.vectors[rows])


def gene_of_formula(formula: str) -> Gene:
    """Return a gene without symmetry: similarity is then that of the formulas."""
    from pymatgen.core import Composition

    amounts = Composition(formula).reduced_composition.get_el_amt_dict()
    return Gene(1, tuple((el, "a") for el, n in amounts.items() for _ in range(max(1, round(n)))))


def pbe(data: Path) -> Pool:
    """WBM's held-out crystals."""
    from invdesign.data.tokens import tokenise
    from invdesign.predictors.features.structure import described_file

    with gzip.open(HELD_OUT, "rt", encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["source"] == "wbm" and row["predicted_e_above_hull"] != "nan"
        ]
    path = data / "structures" / "wbm.csv.gz"
    described, _ = described_file(path, CACHE, lambda *_: None)
    tokens = tokenise(path, CACHE)
    place = {int(row): i for i, row in enumerate(tokens.row)}
    candidates = [
        Candidate(
            f"c{i:06d}",
            tokens.gene(place[int(row["row"])]),
            properties={
                GAP: Estimate(*(float(row[f"gap_{name}"]) for name in ("mean", "sigma", "p_zero"))),
                STABILITY: Estimate(float(row["predicted_e_above_hull"]), float(row["predicted_sigma"])),
            },
        )
        for i, row in enumerate(rows)
    ]
    labels = [{GAP: float(row["gap"]), STABILITY: float(row["e_above_hull"])} for row in rows]
    return Pool(candidates, labels, standardised(described.features[[int(row["row"]) for row in rows], -64:]))


def of_gaps(formulas: Sequence[str], predicted: Estimates, gaps: np.ndarray, features: np.ndarray) -> Pool:
    """Build a pool where the target sets the gap alone."""
    candidates = [
        Candidate(f"c{i:06d}", gene_of_formula(formula), properties={GAP: estimate})
        for i, (formula, estimate) in enumerate(zip(formulas, predicted.rows(), strict=True))
    ]
    return Pool(candidates, [{GAP: gap} for gap in gaps.tolist()], standardised(features))


def measured(_data: Path) -> Pool:
    """Measured gaps of compositions that the composition model holds out."""
    from invdesign.io.config import build, read_yaml
    from invdesign.predictors.property_predictor import PropertyPredictor
    from invdesign.training.predictors.property import PropertyConfig, training_table

    config = build(PropertyConfig, read_yaml("configs/predictors/band-gap-composition.yaml"), "recipe")
    table = training_table(config, lambda *_: None)
    model = PropertyPredictor.load("band-gap-composition")
    gaps = table.labels[:, list(config.properties).index("band_gap_experimental")]
    rows = np.flatnonzero((table.part == "test") & ~np.isnan(gaps))
    formulas = [formula_of(row[:103]) for row in table.features[rows]]
    return of_gaps(formulas, model.estimates(table.features[rows])[GAP], gaps[rows], table.features[rows])


def formula_of(fractions: np.ndarray) -> str:
    """Return the formula of atomic fractions by element (103,), in the least whole numbers that fit."""
    from invdesign.crystal.elements import SYMBOLS

    own = np.flatnonzero(fractions)
    n = next((n for n in range(1, 60) if np.abs(n * fractions - np.round(n * fractions)).max() < 0.02), 60)
    return "".join(f"{SYMBOLS[i + 1]}{max(1, round(n * float(fractions[i])))}" for i in own)


def gllb(data: Path) -> Pool:
    """Cubic perovskites of compositions that no model was trained on."""
    from pymatgen.core import Composition

    from invdesign.composition.formula import read_compositions
    from invdesign.predictors.features.structure import described_file
    from invdesign.predictors.property_predictor import PropertyPredictor

    described, columns = described_file(data / "structures/perov5.csv.gz", CACHE, lambda *_: None)
    trained = {
        Composition(formula).reduced_formula
        for name in ("structures/mp20", "structures/wbm", "compositions/mp_band_gap")
        for formula in read_compositions(data / f"{name}.csv.gz").formulas
    }
    rows = np.flatnonzero([formula not in trained for formula in described.formulas])
    predicted = PropertyPredictor.load("band-gap").estimates(
        described.features[rows], described.energy[rows]
    )[GAP]
    gaps = np.minimum(columns["ind_gap"], columns["dir_gap"])[rows]
    return of_gaps(described.formulas[rows].tolist(), predicted, gaps, described.features[rows, -64:])


POOLS: dict[str, Callable[[Path], Pool]] = {"pbe": pbe, "survivors": pbe, "measured": measured, "gllb": gllb}


def is_hit(label: dict[str, float], target: Target) -> bool:
    """Whether the truth lies in the window, and under the limit where it is known."""
    gap = 0.0 if label[GAP] <= 1e-3 else label[GAP]
    return gap in target.windows[GAP] and label.get(STABILITY, -inf) <= target.e_above_hull_max


class Campaign:
    """One campaign on a pool: what was asked for, and what is known of the rest."""

    def __init__(self, pool: Pool, target: Target, strategy: str, batch: int) -> None:
        self.pool, self.target, self.strategy, self.batch = pool, target, strategy, batch
        self.hits = np.array([is_hit(label, target) for label in pool.labels])
        self.seen: list[int] = []
        self.revised = list(pool.candidates)

    def step(self) -> None:
        """Choose a batch, reveal its labels, and correct the predictions for the rest."""
        left = [i for i in range(len(self.revised)) if i not in set(self.seen)]
        chosen = self._pick(left)
        self.seen += chosen
        pool = self.pool
        for i in chosen:
            pool.candidates[i].dft = DftResult(**pool.labels[i])
        self.corrections = fit_corrections([pool.candidates[i] for i in self.seen], pool.vectors[self.seen])
        rest = [i for i in left if i not in set(chosen)]
        rows = self.corrections.correct_rows(
            [pool.candidates[i].properties for i in rest], pool.vectors[rest]
        )
        for i, row in zip(rest, rows, strict=True):
            before = pool.candidates[i]
            self.revised[i] = Candidate(before.id, before.gene, properties=row)

    def _pick(self, left: list[int]) -> list[int]:
        candidates = [self.revised[i] for i in left]
        chances = np.array([hit_probability(c.properties, self.target) for c in candidates])
        if self.strategy == "likeliest":
            return [left[i] for i in np.argsort(-chances, kind="stable")[: self.batch]]
        if self.strategy == "hits" or not self.seen:
            place = {candidate.id: i for i, candidate in zip(left, candidates, strict=True)}
            return [place[c.id] for c in shortlist(candidates, self.target, self.batch)]
        vectors, similarity = self.pool.vectors, self.corrections.similarity([GAP, STABILITY])
        return [
            left[i]
            for i in most_informative(self.batch, chances, vectors[left], vectors[self.seen], similarity)
        ]

    def doubts(self, others: Pool) -> dict[str, float]:
        """Of crystals that nothing was revealed of: how well intervals and probabilities hold.

        Coverage of the gap's 90 % intervals, of those that likelier have one than not; Brier score of P(hit)
        over that of always the mean.
        """
        predicted = [candidate.properties for candidate in others.candidates]
        hits = np.array([is_hit(label, self.target) for label in others.labels])
        open_ = [i for i, row in enumerate(predicted) if row[GAP].p_zero < 0.5]
        metrics = {}
        for when, rows in (
            ("before", predicted),
            ("after", self.corrections.correct_rows(predicted, others.vectors)),
        ):
            held = [rows[i][GAP].low <= others.labels[i][GAP] <= rows[i][GAP].high for i in open_]
            chances = np.array([hit_probability(row, self.target) for row in rows])
            metrics[f"coverage_{when}"] = float(np.mean(held))
            metrics[f"brier_{when}"] = float(((chances - hits) ** 2).mean() / hits.var())
        return metrics


def run(pool: Pool, others: Pool, target: Target, strategy: str, batch: int) -> dict:
    """Labels until half of the hits are found (None: not within ``MOST``), and hits by number of labels."""
    campaign = Campaign(pool, target, strategy, batch)
    half = -(-int(campaign.hits.sum()) // 2)
    marks = {}
    while len(campaign.seen) < min(MOST, len(pool.candidates)):
        campaign.step()
        if len(campaign.seen) in MARKS:
            marks[str(len(campaign.seen))] = campaign.doubts(others)
        if len(campaign.seen) >= MARKS[-1] and campaign.hits[campaign.seen].sum() >= half:
            break
    return metrics_of(campaign.hits, campaign.seen) | {"doubts": marks}


def metrics_of(hits: np.ndarray, order: Sequence[int]) -> dict:
    """Of an order in which labels were asked for."""
    found = np.cumsum(hits[list(order)])
    half = -(-int(hits.sum()) // 2)
    reached = np.flatnonzero(found >= half)
    return {
        "labels": int(reached[0]) + 1 if len(reached) else None,
        "found": {str(n): int(found[min(n, len(found)) - 1]) for n in MARKS},
    }


def compare(scenario: str, pool: Pool) -> list[dict]:
    """Every strategy on every target and subpool."""
    results = []
    for low, high in WINDOWS[scenario]:
        target = Target(windows={GAP: Window(low, high)}, e_above_hull_max=LIMIT)
        for seed in SEEDS:
            start = time.process_time()
            asked = pool.survivors(target) if scenario == "survivors" else pool
            size = SIZE.get(scenario, 2 * len(asked.candidates) // 3)
            own, _ = asked.sample(size, seed)
            hits = np.array([is_hit(label, target) for label in own.labels])
            predicted = np.array([hit_probability(c.properties, target) for c in own.candidates])
            n, total = len(hits), int(hits.sum())
            half = -(-total // 2)
            runs = {
                "random": {
                    "labels": half * (n + 1) / (total + 1),
                    "found": {str(k): min(k, n) * total / n for k in MARKS},
                },
                "greedy": metrics_of(hits, np.argsort(-predicted, kind="stable").tolist()),
            }
            runs |= {s: run(*asked.sample(size, seed), target, s, BATCH[scenario]) for s in STRATEGIES}
            results.append({"window": [low, high], "seed": seed, "pool": n, "hits": total, "runs": runs})
            spent = time.process_time() - start
            print(
                scenario, low, high, seed, total, {s: r["labels"] for s, r in runs.items()}, f"{spent:.0f} s"
            )
    return results


def summary(results: list[dict], draws: int = 2000) -> dict:
    """Mean labels by strategy, and their ratio to random's and greedy's with 90 % intervals.

    Intervals by redrawing targets and subpools; the subpools of a scenario overlap, so they are a little
    narrow. A run that ended before half of its hits counts with ``MOST`` labels.
    """
    labels = {
        s: np.array([one["runs"][s]["labels"] or MOST for one in results], dtype=float)
        for s in results[0]["runs"]
    }
    redrawn = np.random.default_rng(0).integers(len(results), size=(draws, len(results)))
    metrics = {}
    for strategy, own in labels.items():
        metrics[strategy] = {"labels": own.mean(), "unfinished": 0}
        metrics[strategy]["unfinished"] = sum(one["runs"][strategy]["labels"] is None for one in results)
        for other in ("random", "greedy"):
            ratios = own[redrawn].mean(1) / labels[other][redrawn].mean(1)
            metrics[strategy][f"of_{other}"] = own.mean() / labels[other].mean()
            metrics[strategy][f"of_{other}_interval"] = np.quantile(ratios, [0.05, 0.95]).tolist()
        for n in MARKS:
            found = [one["runs"][strategy]["found"][str(n)] / one["hits"] for one in results]
            metrics[strategy][f"found_{n}"] = float(np.mean(found))
        for n in MARKS if strategy in STRATEGIES else ():
            doubts = [one["runs"][strategy]["doubts"].get(str(n)) for one in results]
            if None in doubts:  # a pool was smaller
                continue
            metrics[strategy][f"after_{n}"] = {k: float(np.mean([d[k] for d in doubts])) for k in doubts[0]}
    return metrics


def main(data: Path, names: Sequence[str]) -> None:
    """Run scenarios, one after another."""
    found = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {"scenarios": {}}
    found |= {"versions": package_versions(), "hardware": hardware()}
    for scenario in names or POOLS:
        start = time.process_time()
        results = compare(scenario, POOLS[scenario](data))
        metrics = summary(results)
        for own in (own for one in results for own in one["runs"].values()):
            own.pop("doubts", None)  # their means are in the summary
        found["scenarios"][scenario] = {
            "summary": metrics,
            "runs": results,
            "cpu_seconds": time.process_time() - start,
        }
        OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def tables() -> None:
    """Print the tables of docs/concepts/active-learning.md."""
    scenarios = json.loads(OUT.read_text(encoding="utf-8"))["scenarios"]
    print("| pool | strategy | labels to half | of random's | of greedy's | found with 20, 40, 80 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, own in scenarios.items():
        for strategy, f in own["summary"].items():
            ratios = [
                f"{f[f'of_{o}']:.2f} ({f[f'of_{o}_interval'][0]:.2f} to {f[f'of_{o}_interval'][1]:.2f})"
                for o in ("random", "greedy")
            ]
            shares = ", ".join(f"{f[f'found_{n}']:.2f}" for n in MARKS)
            print(f"| {name} | {strategy} | {f['labels']:.0f} | {ratios[0]} | {ratios[1]} | {shares} |")
    print()
    print("| pool | chosen for | labels | 90 % intervals hold: before, after | Brier score: before, after |")
    print("| --- | --- | --- | --- | --- |")
    for name, own in scenarios.items():
        for strategy in ("hits", "information") if name != "survivors" else ():
            for n in MARKS:
                f = own["summary"][strategy][f"after_{n}"]
                cells = [f"{f[f'{k}_before']:.2f}, {f[f'{k}_after']:.2f}" for k in ("coverage", "brier")]
                print(f"| {name} | {strategy} | {n} | {' | '.join(cells)} |")


if __name__ == "__main__":
    tables() if sys.argv[1:] == ["table"] else main(Path(sys.argv[1]), sys.argv[2:])
