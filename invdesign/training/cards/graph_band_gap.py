"""The card of a judge of band gaps: what it measured on held-out crystals."""

from __future__ import annotations

import time

import numpy as np

from invdesign.predictors.graph.model import GraphBandGapPredictor
from invdesign.predictors.models.ensemble import Distribution
from invdesign.training.cards.ensemble import GAP_ROWS, markdown
from invdesign.training.metrics import gap_metrics
from invdesign.training.predictors.graph_table import GraphBandGapConfig, GraphTable
from invdesign.training.predictors.table import PARTS


def evaluator_card(
    judge: GraphBandGapPredictor,
    table: GraphTable,
    config: GraphBandGapConfig,
    history: list[dict[str, float]],
) -> str:
    """Markdown of the card.

    Args:
        judge: trained and calibrated.
        table: its test rows are measured.
        config: the recipe.
        history: of the training, a row an epoch.
    """
    rows = table.rows("test")
    start = time.monotonic()
    raw, features = judge.raw([table.frames[k] for k in rows], {})
    speed = len(rows) / (time.monotonic() - start)
    found, gap, source = judge.distribution(raw), table.gap[rows], table.source[rows]
    columns = {}
    for name in dict.fromkeys(source.tolist()):
        own = source == name
        part = Distribution(found.mean[own], found.sigma[own], found.p_zero[own])
        columns[name] = gap_metrics(part, gap[own])
    sizes = ", ".join(f"{len(table.rows(part))} {part}" for part in PARTS)
    n_parameters = sum(p.numel() for p in judge.network.parameters())
    epoch = min(history, key=lambda row: row["error"])["epoch"] + 1
    shape, how = judge.network.shape, config.network
    minutes = sum(row["seconds"] for row in history) / 60
    learning = np.median([row["crystals_per_s"] for row in history])
    return f"""# band-gap-evaluator: a second opinion on PBE band gaps

matgl's M3GNet ({shape.blocks} blocks, width {shape.width}, {n_parameters} parameters) with its weighted mean
over atoms as readout, from the structure alone. Two answers of one network: the probability of a metal
(gap < 1 meV), and a normal distribution of the gap if it is none, whose 90 % interval is conformally
calibrated within thirds of the prediction.

**It judges; it never guides, ranks or selects.** The funnel does that with `band-gap`, which sees CHGNet's
embedding, composition and gene: no weight and no feature is shared. What is shared is the data: errors of
PBE, and of this split, are common to both. The backbone began as the potential that relaxed `relaxed-genes`,
from which generator and gene ranker learn what is stable; of gaps nothing went that way.

**Data.** PBE gaps of `mp20` (Materials Project, reported crystals) and `wbm` (hypothetical crystals), CC BY
4.0, in the very split of `band-gap`, by reduced composition (no compound on two sides): {sizes} crystals.

**Training.** Trunk from `{config.start.name}` (energies, forces and stresses of the Materials Project; none
of WBM), all layers learn. matgl's Lightning module; AdamW, peak learning rate {how.learning_rate:g}, batches
of {how.batch}, cosine decay over {how.epochs} epochs, each of all non-metals and {how.metals:.0%} of the
metals; dropout {shape.dropout:g}, atoms moved by {how.jitter:g} Å; averaged weights (decay {how.ema:g});
seed {config.seed}. Kept: epoch {epoch:.0f}, the least validation error (of the gap, and of metal or not).
{minutes:.0f} minutes on {_hardware(judge)}, {learning:.0f} crystals/s. Temperature, interval scales and
domain from calibration; figures from test, which chose nothing.

## Held-out error
{markdown(columns, GAP_ROWS)}

How `band-gap` does on crystals of the same split: `models/band-gap/README.md`. It has also learned from the
compositions of further gaps, this judge has not.

{_domain(judge, found, gap, features)}

Throughput: {speed:.0f} crystals/s on the same machine ({np.mean([len(table.frames[k]) for k in rows]):.0f}
atoms on average).

## What it is for
Judging, in `benchmarks/generation`, whether generated crystals have the gap that was asked for.

## What it is not for
Guiding or filtering: then nobody is left to judge. Experimental gaps (PBE is 30 to 50 % too low); gaps after
spin-orbit coupling; telling a metal from a gap of 0.1 eV; crystals that it flags as out of domain.
"""


def _hardware(judge: GraphBandGapPredictor) -> str:
    import torch

    if judge.device.type == "cuda":
        return f"one {torch.cuda.get_device_name()}"
    return f"{torch.get_num_threads()} CPU thread(s), shared with other work"


def _domain(judge: GraphBandGapPredictor, found: Distribution, gap: np.ndarray, features: np.ndarray) -> str:
    """How the error differs inside and outside the training domain, in words."""
    if judge.domain is None:
        return ""
    open_ = gap > 0
    inside = judge.domain.distance(features)[open_] <= judge.domain.threshold
    error = np.abs(found.mean - gap)[open_]
    return (
        f"{(~inside).sum()} of {len(inside)} held-out non-metals are flagged as outside the training domain; "
        f"mean absolute error {error[inside].mean():.3f} inside, "
        + (f"{error[~inside].mean():.3f} eV outside." if (~inside).any() else "none outside.")
    )
