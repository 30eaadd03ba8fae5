"""The band-gap evaluator: crystals, warm start, training, calibration, card; kind ``graph-band-gap``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from invdesign.core.candidate import Z90
from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.potentials.batching import CrystalBatch, Pairs, neighbour_pairs
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.matgl.graph import PairGraph, pair_graph
from invdesign.predictors.graph.model import (
    GraphBandGapPredictor,
    GraphNetwork,
    GraphShape,
    Scales,
    node_types,
)
from invdesign.predictors.models.ensemble import Distribution
from invdesign.training.cards.render import write_card
from invdesign.training.conformal import by_thirds, temperature
from invdesign.training.metrics import gap_metrics, inside_outside
from invdesign.training.predictors.ensemble import find_domain
from invdesign.training.predictors.table import PARTS, parts_of, read_crystals
from invdesign.training.trainer import Trainer, TrainingConfig

SOURCES = ("mp20", "wbm")
METALLIC = 1e-3  # eV; gaps below are those of metals


class GraphBandGapConfig(TrainingConfig):
    """Recipe of the band-gap evaluator.

    Attributes:
        start: a matgl M3GNet potential whose backbone is the first guess.
        metals: share of the metals that an epoch draws, each weighed by its inverse: they hold no
            information on gaps.
        jitter: how far atoms are moved while training, Å: relaxed geometries differ by as much.
    """

    kind: Literal["graph-band-gap"]
    start: Path
    epochs: int = 9
    batch_size: int = 32
    metals: float = 0.25
    jitter: float = 0.03


@dataclass(frozen=True, slots=True)
class GraphTable:
    """Crystals with their neighbours (cutoff of the network), gaps (eV, 0 for metals), part and data set."""

    frames: list[Frame]
    pairs: list[Pairs]
    gap: np.ndarray
    part: np.ndarray
    source: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """Return the indices of a part's rows."""
        return np.flatnonzero(self.part == part)


def read_table(config: GraphBandGapConfig, shape: GraphShape, progress: Progress) -> GraphTable:
    """Return the crystals of ``band_gap`` in its split: parts go by composition and seed alone."""
    from invdesign.data.dataset import read_dataset

    frames: list[Frame] = []
    pairs: list[Pairs] = []
    gaps, formulas, source = [], [], []
    for place, name in enumerate(SOURCES):
        progress(0.02 * place, f"crystals of {name}")
        crystals = read_crystals(config, name)
        structures = [e.structure for e in read_dataset(config.data / "structures" / f"{name}.csv.gz")]
        for row, gap, gene in zip(crystals.rows, crystals.column("band_gap"), crystals.genes, strict=True):
            frame = frame_of(structures[row])
            try:
                pairs.append(neighbour_pairs(frame, shape.cutoff))
            except ValueError:  # an atom without neighbours: half a dozen crystals
                continue
            frames.append(frame)
            gaps.append(0.0 if gap < METALLIC else float(gap))
            formulas.append(gene.formula)
            source.append(name)
    return GraphTable(frames, pairs, np.array(gaps), parts_of(formulas, config.seed), np.array(source))


def train_graph_band_gap(config: GraphBandGapConfig, *, progress: Progress) -> Path:
    """Train, calibrate, measure and write an evaluator; a killed run goes on from its last epoch.

    Raises:
        InputError: matgl is not installed, or ``start`` holds no M3GNet.
    """
    network = warm_network(config.start, config.seed)
    table = read_table(config, network.shape, progress)
    scales = scales_of(table)
    trainer = make_trainer(config, network, scales, table)
    trainer.run(lambda share, message: progress(0.04 + 0.92 * share, message))
    progress(0.96, "calibration and metrics")
    evaluator = calibrated(trainer.averaged, scales, table, config.seed)
    evaluator.save(config.out)
    write_card(config, "graph_band_gap", evaluator_metrics(evaluator, table, config, trainer.history))
    progress(1.0, f"written to {config.out}")
    return config.out


def make_trainer(
    config: GraphBandGapConfig, network: GraphNetwork, scales: Scales, table: GraphTable
) -> Trainer[GraphNetwork]:
    """Return a trainer of the network on the training rows; the validation rows are held out."""
    types, metal = node_types(network.shape.elements), torch.from_numpy(table.gap <= 0)
    gap = torch.from_numpy((table.gap - scales.shift) / scales.unit).float()

    def loss(network: GraphNetwork, rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = rows.tolist()
        batch = CrystalBatch.join([table.frames[k] for k in chosen], [table.pairs[k] for k in chosen])
        device = next(network.parameters()).device
        graph = pair_graph(batch, types[batch.numbers], network, device)
        if network.training:
            graph = jittered(graph, config.jitter, generator)
        weight = 1 / config.metals if network.training else 1.0
        return gap_loss(network(graph), gap[rows].to(device), metal[rows].to(device), weight)

    train, validation = (torch.from_numpy(table.rows(part)) for part in ("train", "validation"))
    weights = torch.where(metal, config.metals, 1.0)
    n_drawn = int(weights[train].sum())
    return Trainer(config, network, loss, train, validation, weights=weights, n_drawn=n_drawn, half=False)


def gap_loss(raw: Tensor, gap: Tensor, metal: Tensor, weight: float) -> Tensor:
    """Mean loss: cross-entropy of metal or not, absolute error of the gap, likelihood of its sigma.

    Args:
        raw: outputs of the network, (n, 3).
        gap: in the network's unit, (n,).
        metal: whether it is one, (n,) bool.
        weight: of the metals.
    """
    logit, mean, log_sigma = raw.unbind(-1)
    entropies = functional.binary_cross_entropy_with_logits(logit, metal.float(), reduction="none")
    entropy = torch.where(metal, weight * entropies, entropies).sum()
    error, log_sigma = (mean - gap)[~metal], log_sigma[~metal].clamp(-7.0, 3.0)
    distance = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1, reduction="sum")
    # the likelihood does not weigh the gap
    likelihood = (log_sigma + 0.5 * (error.detach() * torch.exp(-log_sigma)) ** 2).sum()
    return (entropy + distance + 0.1 * likelihood) / len(raw)


def jittered(graph: PairGraph, deviation: float, generator: torch.Generator) -> PairGraph:
    """Return the graph after normal displacements of the atoms, ``deviation`` Å along each axis."""
    moved = deviation * torch.randn(len(graph.types), 3, generator=generator).to(graph.vectors)
    return replace(graph, vectors=graph.vectors + moved[graph.second] - moved[graph.first])


def evaluator_metrics(
    evaluator: GraphBandGapPredictor,
    table: GraphTable,
    config: GraphBandGapConfig,
    history: list[dict[str, float]],
) -> dict[str, Any]:
    """Return the numbers of the card, measured on the test rows.

    Args:
        evaluator: trained and calibrated.
        table: its test rows are measured.
        config: the recipe.
        history: of the training, a row an epoch.
    """
    rows = table.rows("test")
    start = time.monotonic()
    raw, features = evaluator.raw([table.frames[k] for k in rows], {})
    seconds = time.monotonic() - start
    found, gap, source = evaluator.distribution(raw), table.gap[rows], table.source[rows]
    held_out = {}
    for name in dict.fromkeys(source.tolist()):
        chosen = source == name
        part = Distribution(found.mean[chosen], found.sigma[chosen], found.p_zero[chosen])
        held_out[name] = gap_metrics(part, gap[chosen])
    positive = gap > 0
    inside = np.ones(positive.sum(), dtype=bool)
    if evaluator.domain:
        inside = evaluator.domain.distance(features)[positive] <= evaluator.domain.threshold
    on_gpu = evaluator.device.type == "cuda"
    threads = f"{torch.get_num_threads()} CPU thread(s), shared with other work"
    shape = evaluator.network.shape
    return {
        "blocks": shape.blocks,
        "width": shape.width,
        "n_parameters": sum(p.numel() for p in evaluator.network.parameters()),
        "rows": {part: len(table.rows(part)) for part in PARTS},
        "start": config.start.name,
        "seed": config.seed,
        **config.model_dump(include={"learning_rate", "batch_size", "epochs", "metals", "jitter", "ema"}),
        "dropout": shape.dropout,
        "minutes": sum(row["seconds"] for row in history) / 60,
        "hardware": f"one {torch.cuda.get_device_name()}" if on_gpu else threads,
        "training_crystals_per_s": float(np.median([row["rows_per_s"] for row in history])),
        "held_out": held_out,
        "domain": inside_outside(np.abs(found.mean - gap)[positive], inside),
        "crystals_per_s": len(rows) / seconds,
        "atoms": float(np.mean([len(table.frames[k]) for k in rows])),
    }


def warm_network(start: Path, seed: int) -> GraphNetwork:
    """Return a network with the backbone of a matgl M3GNet potential and a fresh readout.

    Raises:
        InputError: matgl is not installed, or the folder holds no M3GNet that this network can be.
    """
    from invdesign.potentials.matgl.m3gnet import FastM3GNet
    from invdesign.potentials.matgl.potential import load_matgl

    potential = load_matgl(str(start))._model.model  # noqa: SLF001 (a potential offers energies only)
    if not FastM3GNet.supports(potential):
        raise InputError(
            f"start: {str(start)!r} holds a {type(potential).__name__}; give a matgl M3GNet potential."
        )
    torch.manual_seed(seed)
    network = GraphNetwork(
        GraphShape(
            tuple(potential.element_types),
            potential.units,
            potential.n_blocks,
            float(potential.cutoff),
            float(potential.threebody_cutoff),
        )
    )
    network.initialise_from(potential.cpu())
    return network


def scales_of(table: GraphTable) -> Scales:
    """Uncalibrated scales of the training rows."""
    gap = table.gap[table.rows("train")]
    positive = gap[gap > 0]
    return Scales(float(np.median(positive)), float(positive.std()), float((gap <= 0).mean()))


def calibrated(network: GraphNetwork, scales: Scales, table: GraphTable, seed: int) -> GraphBandGapPredictor:
    """Return the model, with temperature and interval scales from the calibration part, and its domain.

    Split-conformal within thirds of the predicted gap, as ``training.calibrate``.
    """
    evaluator = GraphBandGapPredictor(network, scales)
    rows = table.rows("calibration")
    raw, features = evaluator.raw([table.frames[k] for k in rows], {})
    gap = table.gap[rows]
    found = evaluator.distribution(raw)
    open_ = gap > 0
    mean = found.mean[open_]
    score = np.abs(gap[open_] - mean) / (Z90 * found.sigma[open_])
    (low, high), (one, two, three) = by_thirds(mean, score)
    evaluator.scales = replace(
        scales,
        temperature=temperature(raw[:, 0], gap <= 0),
        edges=(low, high),
        intervals=(one, two, three),
    )
    _, known = evaluator.raw([table.frames[k] for k in table.rows("train")], {})
    evaluator.domain = find_domain(known, features, seed)
    return evaluator
