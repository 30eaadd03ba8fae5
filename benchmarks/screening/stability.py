"""Does the stability model find held-out compounds, and how well does it know their energies above hull?

    python benchmarks/screening/stability.py

Whole chemical systems are held out and everything in them hidden. Energies above hull: MAE, precision and
recall at 0 and 0.05 eV/atom. Hidden compounds among 100 times as many decoys, six kinds: enrichment in the
top 1 %.
Baselines: charge balance (smact's verdict; least charge by usual states), one answer for all, the released
formation-energy-composition less the hull of the competitors (which has learned from most of the compounds
tested here: its split is by composition). Writes stability.json beside this file.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invdesign.composition.batch import CompositionBatch
from invdesign.filters.charge_balance_batch import charge_verdicts
from invdesign.io.config import read_yaml
from invdesign.io.provenance import git_revision, hardware, package_versions
from invdesign.predictors.features.composition_and_gene import padded
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.predictors.stability.model import Stabilities, StabilityModel
from invdesign.training.metrics import auc
from invdesign.training.predictors.stability import (
    classification_metrics,
    energy_metrics,
    existence_metrics,
    hidden_compounds,
    hypothetical,
)
from invdesign.training.predictors.stability_data import EXISTS, HullEnergies, Sources, StabilityConfig

if TYPE_CHECKING:
    from invdesign.predictors.stability.context_features import HullContext

OUT = Path(__file__).with_name("stability.json")
RECIPE = Path("configs/predictors/stability-composition.yaml")
COMPOUNDS, SEED = 500, 1
THRESHOLDS = (0.0, 0.05)
COMPOSITION = 309
"""Columns of the features that are the composition's."""
HULL = COMPOSITION
"""Column of the hull energy of the competitors."""
IMBALANCE = 307
N_SPEED = 40_000


class FormationEnergyLessHull:
    """The released model of formation energies, less the hull of the competitors."""

    def __init__(self) -> None:
        self.ensemble = PropertyPredictor.load("formation-energy-composition").ensemble

    def energies(self, features: np.ndarray) -> np.ndarray:
        """Energies above hull, eV/atom, of rows of the stability model's features (n, d)."""
        rows = padded(features[:, :COMPOSITION], len(self.ensemble.feature_mean))
        (found,) = self.ensemble.distributions(self.ensemble.standardise(rows)).values()
        return np.asarray(found.mean - features[:, HULL])


def energy_baseline(predicted: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    """Metrics of a baseline that predicts an energy above hull and no probability."""
    metrics: dict[str, Any] = {"mae": float(np.abs(predicted - energy).mean())}
    for threshold in THRESHOLDS:
        metrics[f"at {threshold:g}"] = classification_metrics(predicted <= threshold, energy <= threshold) | {
            "auc": auc(-predicted, energy <= threshold)
        }
    return metrics


def energies(
    model: StabilityModel, around: HullContext, sets: dict[str, HullEnergies], median: float
) -> dict[str, Any]:
    """Figures of the model and the baselines on each set of held-out compositions."""
    less_hull = FormationEnergyLessHull()
    result = {}
    for name, own in sets.items():
        features = around.features(own.batch)
        said = Stabilities(*model.evaluate(features), quantiles=model.quantiles)
        result[name] = {
            "stability-composition": energy_metrics(said, own.energy),
            "p_exists as a score of lying low": {
                f"auc at {threshold:g}": auc(said.p_exists, own.energy <= threshold)
                for threshold in THRESHOLDS
            },
            "one answer for all": energy_baseline(np.full(len(own.energy), median), own.energy),
            "formation-energy-composition less hull": energy_baseline(
                less_hull.energies(features), own.energy
            ),
        }
    return result


def exists(model: StabilityModel, sources: Sources, around: HullContext) -> dict[str, Any]:
    """Figures of hidden compounds among decoys, of the model and the baselines."""
    less_hull = FormationEnergyLessHull()
    result = {}
    for kind, (batch, owner, features) in hidden_compounds(sources, around, COMPOUNDS, SEED).items():
        mean, sigma, p_exists = model.evaluate(features)
        passed = (charge_verdicts(batch) > 0).astype(float)
        off = np.nan_to_num(features[:, IMBALANCE], nan=1.0)
        p_hit = Stabilities(mean, sigma, p_exists, model.quantiles).p_hit(EXISTS)
        result[kind] = {
            "p_exists": existence_metrics(p_exists, owner, p_exists),
            "p_exists times P(at most 0.1 eV/atom)": existence_metrics(p_hit, owner),
            "e_above_hull alone": existence_metrics(-mean, owner),
            "charge balance alone, smact": existence_metrics(passed, owner),
            "charge balance alone, usual states": existence_metrics(-off, owner),
            "formation-energy-composition less hull": existence_metrics(-less_hull.energies(features), owner),
        }
    return result


def speed(model: StabilityModel, sources: Sources) -> dict[str, float]:
    """Compositions a second on one core, everything included: known compounds at random, and a space."""
    from itertools import combinations
    from math import gcd

    rng = np.random.default_rng(SEED)
    rows = rng.choice(len(sources.known.batch), N_SPEED, replace=False)
    known = sources.known.batch.take(rows)
    ratios = [
        (a, b, c)
        for a in range(1, 11)
        for b in range(1, 11)
        for c in range(1, 11)
        if a + b + c <= 12 and gcd(a, b, c) == 1
    ]
    systems = list(combinations((3, 11, 12, 13, 16, 20, 26, 29, 30, 8, 50, 56), 3))
    numbers = np.repeat(np.array(systems, dtype=np.uint8), len(ratios), axis=0)
    amounts = np.tile(np.array(ratios, dtype=np.int32), (len(systems), 1))
    sets = {
        "known compounds in any order": known,
        "known ternaries in any order": known.take((known.amounts > 0).sum(axis=1) == 3),
        "ternaries of a space": CompositionBatch(numbers, amounts),
    }
    metrics = {}
    for name, batch in sets.items():
        begun = time.process_time()
        model.predict(batch)
        metrics[name] = round(len(batch) / (time.process_time() - begun))
    formulas = known.formulas()
    begun = time.process_time()
    model.predict(formulas)
    return metrics | {"formulas of known compounds": round(len(formulas) / (time.process_time() - begun))}


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    config = StabilityConfig(**read_yaml(RECIPE))
    begun = time.perf_counter()
    model = StabilityModel.load()
    loaded = time.perf_counter()
    model.predict(["MgAl2O4"])
    first = time.perf_counter()
    sources = Sources.read(config.data, config.seed)
    hidden = sources.without("test")
    train = sources.known.take(sources.part == "train")
    test = sources.known.take(sources.part == "test")
    sets = {"mp": HullEnergies(test.batch, test.decomposition.astype(float))}
    sets |= hypothetical(sources, config, model.context)
    known = {"mp, rest of its system known": sets["mp"]}
    median = float(np.median(train.decomposition))
    metrics = {
        "energies": energies(model, hidden, sets, median) | energies(model, model.context, known, median),
        "hidden among decoys": exists(model, sources, hidden),
        "compositions a second of one core": speed(model, sources),
        "seconds to load": round(loaded - begun, 2),
        "seconds to the first answer": round(first - loaded, 2),
        "compounds": COMPOUNDS,
        "seed": SEED,
        "revision": git_revision(),
        "packages": package_versions(),
        "hardware": hardware() | {"load": os.getloadavg()},
    }
    OUT.write_text(json.dumps(metrics, indent=1) + "\n")
    print(json.dumps({k: metrics[k] for k in list(metrics)[2:5]}))


if __name__ == "__main__":
    main()
