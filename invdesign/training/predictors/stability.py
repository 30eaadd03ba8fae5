"""Building the stability model: ``invdesign train configs/predictors/stability-composition.yaml``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.batch import CompositionBatch
from invdesign.io.progress import Progress
from invdesign.predictors.models.ensemble import Ensemble, Head
from invdesign.predictors.stability import context_features
from invdesign.predictors.stability.analogues import composition_keys
from invdesign.predictors.stability.context_features import HullContext
from invdesign.predictors.stability.model import (
    E_ABOVE_HULL,
    KIND,
    KNOWN,
    LEVELS,
    NOTHING,
    Stabilities,
    StabilityModel,
    write_known,
)
from invdesign.training.cards.render import write_card
from invdesign.training.metrics import auc, calibration_error
from invdesign.training.predictors.ensemble import fit
from invdesign.training.predictors.stability_data import (
    DECOY,
    EXISTS,
    KINDS,
    SOURCES,
    HullEnergies,
    Sources,
    StabilityConfig,
    decoys,
    joined,
    parts_of_systems,
    read_generated,
    read_wbm,
    training_table,
)
from invdesign.training.predictors.table import Table

HEADS = (Head(NOTHING, zero=True), Head(E_ABOVE_HULL))
THRESHOLDS = (0.0, 0.05, 0.1)
TIMES = 100
"""Decoys for a hidden compound."""
HIDDEN_COMPOUNDS = 300
TOP = 0.01


def train_stability(config: StabilityConfig, *, progress: Progress) -> Path:
    """Train, calibrate, measure and write the model."""
    begun = time.process_time()
    sources = Sources.read(config.data, config.seed)
    table = training_table(config, sources, lambda share, message: progress(0.2 * share, message))
    ensemble = fit(
        table, HEADS, config.network, config.seed, lambda s, message: progress(0.2 + 0.6 * s, message)
    )
    ensemble.domain = None  # nearly all compositions lie inside
    ensemble.about = calibrated(ensemble, table) | {"context_version": context_features.VERSION}
    spent = time.process_time() - begun
    ensemble.save(config.out, KIND)
    write_known(sources.known, config.out / KNOWN)
    metrics = {
        "members": config.network.members,
        "minutes": spent / 60,
        "decoys_each": TIMES,
        "rows_of": {
            source: {
                part: int(((table.source == source) & (table.part == part)).sum())
                for part in ("train", "test")
            }
            for source in (*SOURCES, DECOY)
        },
        **measure(StabilityModel.load(config.out), sources, config, lambda m: progress(0.8, m)),
    }
    write_card(config, "stability", metrics)
    progress(1.0, f"written to {config.out}")
    return config.out


def calibrated(ensemble: Ensemble, table: Table) -> dict[str, object]:
    """Quantiles of the errors in units of sigma, and the share of compounds in the training of ``NOTHING``.

    On validation and calibration; half the weight to reported compounds, half to WBM's hypothetical ones.
    """
    rows = np.concatenate([table.rows("validation"), table.rows("calibration")])
    exists, energy = table.labels[rows].T
    source = table.source[rows]
    known = np.isin(source, SOURCES[:2])
    found = ensemble.distributions(ensemble.standardise(table.features[rows[known]]))[E_ABOVE_HULL]
    error = (energy[known] - found.mean) / found.sigma
    counts = {name: float((source == name).sum()) for name in SOURCES[:2]}
    weight = np.array([1 / counts[name] for name in source[known].tolist()])
    rate = float((exists[~np.isnan(exists)] > 0).mean())
    return {"quantiles": quantiles(error, weight).tolist(), "rate": rate}


def quantiles(values: NDArray[np.floating], weight: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weighted quantiles at ``LEVELS``, strictly ascending."""
    order = np.argsort(values)
    reached = (np.cumsum(weight[order]) - weight[order] / 2) / weight.sum()
    found = np.interp(LEVELS, reached, values[order])
    return np.asarray(np.maximum.accumulate(found) + 1e-9 * np.arange(len(LEVELS)))


def answers(model: StabilityModel, around: HullContext, batch: CompositionBatch) -> Stabilities:
    """Predict with another hull context than the model's."""
    mean, sigma, p_exists = model.evaluate(around.features(batch))
    return Stabilities(mean, sigma, p_exists, model.quantiles)


def energy_metrics(predicted: Stabilities, energy: NDArray[np.floating]) -> dict[str, float]:
    """Errors, intervals and verdicts of energies above hull, eV/atom, (n,)."""
    error = np.abs(predicted.e_above_hull - energy)
    result = {
        "n": len(energy),
        "mae": float(error.mean()),
        "median_error": float(np.median(error)),
        "mae_of_median": float(np.abs(energy - np.median(energy)).mean()),
        "coverage_90": float(((energy >= predicted.low) & (energy <= predicted.high)).mean()),
        "mean_width_90": float((predicted.high - predicted.low).mean()),
    }
    for threshold in THRESHOLDS:
        probability, under = predicted.p_stable(threshold), energy <= threshold
        result |= {
            f"{name} at {threshold:g}": value
            for name, value in classification_metrics(probability > 0.5, under).items()
        }
        result[f"auc at {threshold:g}"] = auc(probability, under)
        result[f"ece at {threshold:g}"] = calibration_error(probability, under)
    return result


def classification_metrics(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Share of what is true, and precision and recall of what is predicted."""
    hits = float((predicted & true).sum())
    return {
        "share": float(true.mean()),
        "precision": hits / max(1.0, float(predicted.sum())),
        "recall": hits / max(1.0, float(true.sum())),
    }


def enrichment(score: NDArray[np.floating], real: NDArray[np.bool_], top: float = TOP) -> float:
    """How many times as many real ones are in the best ``top`` as among all."""
    best = np.argsort(-score, kind="stable")[: max(1, round(top * len(score)))]
    return float(real[best].mean() / real.mean())


def hidden_compounds(
    sources: Sources, around: HullContext, n: int, seed: int
) -> dict[str, tuple[CompositionBatch, NDArray[np.int64], NDArray[np.float32]]]:
    """By kind of decoy: hidden compounds and their decoys.

    Returns:
        Compositions, to which compound each belongs (-1 - i the compound i itself), and their features.
    """
    rng = np.random.default_rng(seed)
    low = np.flatnonzero((sources.part == "test") & (sources.known.decomposition <= EXISTS))
    real = sources.known.batch.take(np.sort(rng.choice(low, min(n, len(low)), replace=False)))
    of_real = around.features(real)
    found = {}
    for way, neutral in KINDS:
        made, of = decoys((way, neutral), real, sources.all_known, TIMES, rng)
        features = np.concatenate([of_real, around.features(made)])
        owner = np.concatenate([-1 - np.arange(len(real)), of])
        found[f"{way}{', neutral' if neutral else ''}"] = joined([real, made]), owner, features
    return found


def existence_metrics(
    score: NDArray[np.floating], owner: NDArray[np.int64], p_exists: NDArray[np.floating] | None = None
) -> dict[str, float]:
    """How well a score finds hidden compounds among decoys.

    Args:
        score: higher is likelier, (n,).
        owner: as :func:`hidden_compounds` gives it.
        p_exists: calibrated probabilities, where the score has them.
    """
    real = owner < 0
    order = np.random.default_rng(0).permutation(len(score))  # ties fall by chance
    score, real, owner = score[order], real[order], owner[order]
    n = int(real.sum())
    own = np.empty(n)
    own[-1 - owner[real]] = score[real]
    better = np.bincount(owner[~real], score[~real] >= own[owner[~real]], n)
    metrics = {
        "n_real": n,
        "n_decoys": int((~real).sum()),
        "auc": auc(score, real),
        "enrichment_top_1_percent": enrichment(score, real),
        "first_of_its_own_decoys": float((better == 0).mean()),
    }
    if p_exists is not None:
        metrics["ece"] = calibration_error(p_exists[order], real)
        metrics["mean_p_exists"] = float(p_exists.mean())
        metrics["share_real"] = float(real.mean())
    return metrics


def measure(
    model: StabilityModel, sources: Sources, config: StabilityConfig, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Metrics on the held-out systems: of energies above hull by source, of existence by kind of decoy."""
    progress("energies above hull in held-out systems")
    hidden = sources.without("test")
    rows = np.flatnonzero(sources.part == "test")
    real = sources.known.take(rows)
    energies: dict[str, Any] = {
        "mp, system unknown": energy_metrics(answers(model, hidden, real.batch), real.decomposition),
        "mp, rest of its system known": energy_metrics(
            answers(model, model.context, real.batch), real.decomposition
        ),
    }
    for name, own in hypothetical(sources, config, model.context).items():
        energies[name] = energy_metrics(answers(model, hidden, own.batch), own.energy)
    exists = {}
    for kind, (_, owner, features) in hidden_compounds(
        sources, hidden, HIDDEN_COMPOUNDS, config.seed
    ).items():
        progress(f"hidden compounds: {kind}")
        p_exists = model.evaluate(features)[2]
        exists[kind] = existence_metrics(p_exists, owner, p_exists)
    return {"energies": energies, "exists": exists}


def hypothetical(sources: Sources, config: StabilityConfig, around: HullContext) -> dict[str, HullEnergies]:
    """Novel hypothetical compositions of held-out systems, by source."""
    taken = composition_keys(sources.all_known)
    found = {}
    for source, own in zip(
        SOURCES[1:], (read_wbm(config.data, around), read_generated(config.generated)), strict=True
    ):
        used = ~np.isin(composition_keys(own.batch), taken)
        used &= parts_of_systems(own.batch.numbers, config.seed) == "test"
        found[source] = HullEnergies(own.batch.take(used), own.energy[used])
    return found
