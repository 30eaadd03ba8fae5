"""Recipe of the band-gap evaluator: crystals, warm start, training, calibration, card."""

from __future__ import annotations

import csv
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from invdesign.core.candidate import Z90
from invdesign.data.splits import grouped_split
from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.potentials.batching import Pairs, neighbour_pairs
from invdesign.potentials.interface import Frame, frame_of
from invdesign.predictors.graph.model import GraphBandGapPredictor, GraphNetwork, GraphShape, Scales
from invdesign.predictors.models.ensemble import Distribution
from invdesign.training.cards.render import write_card
from invdesign.training.conformal import by_thirds, temperature
from invdesign.training.metrics import gap_metrics, inside_outside
from invdesign.training.predictors.ensemble import find_domain
from invdesign.training.predictors.graph_table import GraphBandGapConfig, GraphTable
from invdesign.training.predictors.table import PARTS, read_crystals

SOURCES = ("mp20", "wbm")
METALLIC = 1e-3  # eV; gaps below are those of metals


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
    part = np.empty(len(frames), dtype="<U16")
    for name, rows in zip(PARTS, grouped_split(formulas, list(PARTS.values()), config.seed), strict=True):
        part[rows] = name
    return GraphTable(frames, pairs, np.array(gaps), part, np.array(source))


def train_graph_band_gap(config: GraphBandGapConfig, *, progress: Progress) -> Path:
    """Train, calibrate, measure and write an evaluator.

    Raises:
        InputError: matgl is not installed, or ``start`` holds no M3GNet.
    """
    network = warm_network(config.start, config.seed)
    table = read_table(config, network.shape, progress)
    from invdesign.training.predictors.graph_lightning import train

    scales = scales_of(table)
    identity = hashlib.sha256(config.model_dump_json().encode())
    identity.update(table.gap.tobytes())
    history = train(
        network,
        scales,
        table,
        config.network,
        config.cache / f"{config.out.name}-{identity.hexdigest()[:12]}",
        seed=config.seed,
        progress=lambda share, message: progress(0.04 + 0.92 * share, message),
    )
    progress(0.96, "calibration and metrics")
    evaluator = calibrated(network, scales, table, config.seed)
    evaluator.save(config.out)
    _write_history(history, config.out / "training.csv")
    write_card(config, "graph_band_gap", evaluator_metrics(evaluator, table, config, history))
    progress(1.0, f"written to {config.out}")
    return config.out


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
    shape, settings = evaluator.network.shape, config.network
    return {
        "blocks": shape.blocks,
        "width": shape.width,
        "n_parameters": sum(p.numel() for p in evaluator.network.parameters()),
        "rows": {part: len(table.rows(part)) for part in PARTS},
        "start": config.start.name,
        "seed": config.seed,
        **settings.model_dump(include={"learning_rate", "batch", "epochs", "metals", "jitter", "ema"}),
        "dropout": shape.dropout,
        "epoch": int(min(history, key=lambda row: row["error"])["epoch"]) + 1,
        "minutes": sum(row["seconds"] for row in history) / 60,
        "hardware": f"one {torch.cuda.get_device_name()}" if on_gpu else threads,
        "training_crystals_per_s": float(np.median([row["crystals_per_s"] for row in history])),
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


def _write_history(history: list[dict[str, float]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows({name: round(value, 5) for name, value in row.items()} for row in history)
