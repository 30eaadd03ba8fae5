"""The card of the relaxed genes: what came of them, and how they differ from the known crystals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.analysis.evaluate.metrics import Rate
from invdesign.campaign.run import DATABASE
from invdesign.campaign.store import Store
from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.io.artifacts import find
from invdesign.io.provenance import RUN_FILE, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from invdesign.training.generators.relaxed_genes import RelaxedGenesConfig

    Rows = Sequence[dict[str, Any]]

_FAR = 1.5  # how many times rarer or more frequent an element must be to be named


def render(config: RelaxedGenesConfig, rows: Rows) -> str:
    """Write the card.

    Args:
        config: the recipe; its campaigns' folders are read for what they cost.
        rows: of the table of outcomes.
    """
    potential, second = config.calibration, config.second_calibration
    gaps = sha256(find("models", config.gaps) / "model.safetensors")
    columns = {f"seed {h.seed}": [r for r in rows if r["campaign"] == h.seed] for h in config.campaigns}
    columns |= {"together": list(rows)} if len(columns) > 1 else {}
    n_relaxed = sum(bool(row["relaxed_gene"]) for row in rows)
    return f"""# relaxed-genes: what generated crystals relaxed into

Ordinary campaigns, every candidate that they relaxed, failures included. Relaxed with
**{potential}** (its own calibration) and placed on `{config.hull}`;
**{second}** told the energy of what came out too, and the mean of both
energies above hull counts. CHGNet, whose energies judge the generators, has told none of them. The generators
and the ranker learn from this ("verified rounds"; `docs/concepts/pre-ranking.md`).

| file | what |
| --- | --- |
| `relaxed.npz` | genes and geometries of the {n_relaxed} that relaxed to a minimum (a `TokenSet`) |
| `outcomes.csv.gz` | one row a candidate: what was proposed and what came of it |
| `recipe.yaml` | `invdesign train` on it rebuilds this folder, given generator, ranker, gap model of then |

`invdesign.data.relaxed_genes.read_relaxed()` reads both. Columns of the table: place in the quick rank,
genes as proposed and as relaxed, E above hull (eV/atom: mean, first potential, second), band gap (eV, 0:
metal; no DFT, but what `{config.gaps}` with the weights {gaps[:12]} makes of the relaxed structure), where
the geometry came from, steps (of all geometries), novelty (1: composition known, 2: not; 0: known), and the
gate that rejected it.

{_campaigns(config)}

| | {" | ".join(columns)} |
| --- |{" --- |" * len(columns)}
{_counts(list(columns.values()))}

Quick rank chose whom to relax by the ranker of the day; where most survivors were relaxed it had little to
choose. "Kept" passed every gate and is the lowest of the crystals that match it in all campaigns; only those
may teach a generator.

## How the kept differ from the known
{_drift([r for r in rows if not r["rejected_by"]])}

## What it is not for
Not a database of materials. An incomplete hull makes E above hull a lower bound, and some of those that
both put under 0.1 eV/atom lie above by DFT (their calibrations' cards say how many of WBM). One hull.

**Source.** Generated here, from models trained on the Materials Project (CC BY 4.0) and WBM (CC BY 4.0);
{potential}: BSD 3-clause (matgl). Free to use under the licence of this repository.
"""


def _campaigns(config: RelaxedGenesConfig) -> str:
    lines = []
    for harvest in config.campaigns:
        folder = config.campaign(harvest).out
        seconds = Store(folder / DATABASE).seconds
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        weights = {k.split("/")[1]: v for k, v in run["artifacts"].items() if k.endswith(".safetensors")}
        lines.append(
            f"- seed {harvest.seed}, `{harvest.target}`: {harvest.n_genes} genes, {harvest.n_relax} relaxed; "
            f"{sum(core for _, core in seconds.values()):.0f} core seconds ({run['hardware']['cpu']}), "
            f"{seconds['relaxation'][1]:.0f} of them relaxation; weights (sha256) of gene-diffusion "
            f"{weights['gene-diffusion'][:12]}, gene-rank {weights['gene-rank'][:12]}."
        )
    return "\n".join(lines)


def _counts(columns: Sequence[Rows]) -> str:
    kinds: dict[str, Callable[[dict[str, Any]], Any]] = {
        "chosen to be relaxed": lambda _: True,
        "no plausible geometry": lambda r: r["rejected_by"] == "geometry",
        "not converged": lambda r: r["rejected_by"] == "relaxation",
        "relaxed to a minimum": lambda r: bool(r["relaxed_gene"]),
        "… at most 0.1 eV/atom above the hull": lambda r: r["relaxed_gene"] and r["e_above_hull"] <= 0.1,
        "… at most 0.05": lambda r: r["relaxed_gene"] and r["e_above_hull"] <= 0.05,
        "… at most 0": lambda r: r["relaxed_gene"] and r["e_above_hull"] <= 0.0,
        "kept": lambda r: not r["rejected_by"],
        "… composition in no reference": lambda r: not r["rejected_by"] and r["novelty"] == 2,
        "… with a gap": lambda r: not r["rejected_by"] and r["band_gap"] > 0,
        "… in another gene than proposed": lambda r: (
            not r["rejected_by"] and r["relaxed_gene"] != r["proposed_gene"]
        ),
    }
    lines = []
    for words, counts in kinds.items():
        cells = [_share(sum(bool(counts(row)) for row in rows), len(rows)) for rows in columns]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    medians = " | ".join(f"{_median(rows):.3f}" for rows in columns)
    lines.append(f"| median E above hull, eV/atom | {medians} |")
    return "\n".join(lines)


def _share(count: int, of: int) -> str:
    low, high = Rate(count, of).interval
    return f"{count} ({count / of:.3f}; {low:.3f} to {high:.3f})" if count < of else str(count)


def _median(rows: Rows) -> float:
    return float(np.median([row["e_above_hull"] for row in rows if row["relaxed_gene"]]))


def _drift(kept: Rows) -> str:
    """Share of crystals with each element, against the crystals that the generator learned from."""
    from invdesign.data.tokens import TokenSet

    library = TokenSet.load(find("models", "geometries") / "geometries.npz")
    genes = [Gene.parse(row["relaxed_gene"]) for row in kept]
    ours, theirs = np.zeros(len(SYMBOLS)), np.zeros(len(SYMBOLS))
    for gene in genes:
        ours[[SYMBOLS.index(symbol) for symbol in gene.elements]] += 1 / len(gene.elements)
    for numbers in library.elements:
        present = np.unique(numbers[numbers > 0])
        theirs[present] += 1 / len(present)
    ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    ratio = ours / np.maximum(theirs, 1e-9)
    common = np.maximum(ours, theirs) > 0.01
    named = {
        words: ", ".join(f"{SYMBOLS[z]} {100 * theirs[z]:.1f} → {100 * ours[z]:.1f}" for z in places)
        for words, places in (
            ("more frequent", np.flatnonzero(common & (ratio > _FAR))),
            ("rarer", np.flatnonzero(common & (ratio < 1 / _FAR))),
        )
    }
    n_atoms = np.array([gene.n_atoms for gene in genes])
    return f"""{len(kept)} kept against the {len(library)} crystals of `models/geometries` (mp20, mpts52
and wbm, at most 20 atoms), shares of elements in percent (a crystal counts once, shared among its elements):

- total variation distance {0.5 * np.abs(ours - theirs).sum():.3f};
- more frequent by half or more, of those above 1 %: {named["more frequent"] or "none"};
- rarer by a third or more: {named["rarer"] or "none"};
- atoms in the primitive cell: mean {n_atoms.mean():.1f} against {library.n_atoms.mean():.1f}; more than three
  elements: {np.mean([len(g.elements) > 3 for g in genes]):.2f}."""
