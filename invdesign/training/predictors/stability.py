"""Building the stability model: ``invdesign train configs/predictors/stability-composition.yaml``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from invdesign.predictors.models.ensemble import Ensemble, Head
from invdesign.predictors.stability import context_features
from invdesign.predictors.stability.model import (
    HEIGHT,
    KIND,
    KNOWN,
    LEVELS,
    NOTHING,
    StabilityModel,
    write_known,
)
from invdesign.training.cards.render import write_card
from invdesign.training.predictors.ensemble import fit
from invdesign.training.predictors.stability_data import (
    DECOY,
    SOURCES,
    Sources,
    StabilityConfig,
    training_table,
)
from invdesign.training.predictors.stability_metrics import TIMES, measure
from invdesign.training.predictors.table import Table

Progress = Callable[[float, str], None]

HEADS = (Head(NOTHING, zero=True), Head(HEIGHT))


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
    write_card(config.out, "stability", metrics)
    fields = config.model_dump(mode="json", exclude_defaults=True)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    progress(1.0, f"written to {config.out}")
    return config.out


def calibrated(ensemble: Ensemble, table: Table) -> dict[str, object]:
    """Quantiles of the errors in units of sigma, and the share of compounds that ``NOTHING`` was taught with.

    On validation and calibration; half the weight to reported compounds, half to WBM's hypothetical ones.
    """
    rows = np.concatenate([table.rows("validation"), table.rows("calibration")])
    exists, height = table.labels[rows].T
    source = table.source[rows]
    known = np.isin(source, SOURCES[:2])
    found = ensemble.distributions(ensemble.standardise(table.features[rows[known]]))[HEIGHT]
    error = (height[known] - found.mean) / found.sigma
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
