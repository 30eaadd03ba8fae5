"""Property models against baselines on held-out compositions.

`python benchmarks/prediction/prediction.py band-gap elasticity`: for recipes of configs/predictors/ and each
seed (another split, other weights) methods are trained on the training part and measured on the test part.
Figures go to prediction.json beside this file, as soon as they are there. Another model joins by `add`, with
its predictions of the same test rows; `band-gap --methods --published FOLDER` does so for matgl's model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from published import load_published, published_gaps

from invdesign.data.dataset import is_formula_table, read_dataset
from invdesign.errors import InputError
from invdesign.io.config import build, read_yaml
from invdesign.io.provenance import hardware, package_versions
from invdesign.predictors.features.composition_and_gene import widths
from invdesign.predictors.models.ensemble import Distribution
from invdesign.training.cards.render import finite
from invdesign.training.metrics import held_out, measure, trivial
from invdesign.training.predictors.property import PropertyConfig, train_on, training_table
from invdesign.training.predictors.table import without

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.training.predictors.property import LearnedProperty
    from invdesign.training.predictors.table import Table

GAP = "band_gap"
RESULTS = Path(__file__).with_name("prediction.json")


def add(task: str, seed: int, method: str, metrics: dict[str, Any]) -> None:
    """Keep one method's metrics of one task and seed; `metrics` as from `metrics_of`."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"metrics": {}}
    results |= {"versions": package_versions(), "hardware": hardware()}
    results["metrics"].setdefault(task, {}).setdefault(method, {})[str(seed)] = metrics
    RESULTS.write_text(json.dumps(finite(results), indent=1, allow_nan=False) + "\n")


def metrics_of(
    table: Table, head: int, measured: LearnedProperty, found: Distribution
) -> dict[str, dict[str, float]]:
    """Figures by source of predictions of the labelled test rows, in the order of `test_rows`."""
    rows = test_rows(table, head)
    result = {}
    for source in dict.fromkeys(table.source[rows].tolist()):
        own = table.source[rows] == source
        part = Distribution(found.mean[own], found.sigma[own], found.p_zero[own])
        result[source] = measure(part, table.labels[rows[own], head], measured)
    return result


def test_rows(table: Table, head: int) -> np.ndarray:
    """Rows that are measured."""
    rows = table.rows("test")
    return rows[~np.isnan(table.labels[rows, head])]


def simple_features(table: Table, sees: str) -> np.ndarray:
    """Element statistics; where the structure is seen, volume per atom and space group."""
    width = table.composition_width
    if sees != "structure":
        return np.nan_to_num(table.features, nan=-1.0)
    volume = widths()[1] + 4  # after the gene and the electrons
    columns = [*range(width), width + 8, volume]  # width + 8: number of the space group / 230
    return np.nan_to_num(table.features[:, columns], nan=-1.0)


def quick_baseline(table: Table, head: int, measured: LearnedProperty, sees: str, seed: int) -> Distribution:
    """Gradient boosting and extra trees on simple features; on all crystals that are not test rows."""
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    x, y = simple_features(table, sees), table.labels[:, head]
    test = test_rows(table, head)
    train = np.flatnonzero((table.part != "test") & ~table.extra & ~np.isnan(y))
    p_zero = np.zeros(len(test))
    if measured.zero:
        for model in (
            HistGradientBoostingClassifier(max_iter=200, random_state=seed),
            ExtraTreesClassifier(200, random_state=seed, max_features=0.2),
        ):
            p_zero += model.fit(x[train], y[train] <= 0).predict_proba(x[test])[:, 1] / 2
        train = train[y[train] > 0]
    mean = np.zeros(len(test))
    for model in (
        HistGradientBoostingRegressor(max_iter=200, random_state=seed),
        ExtraTreesRegressor(200, random_state=seed, max_features=0.3),
    ):
        mean += model.fit(x[train], y[train]).predict(x[test]) / 2
    return Distribution(mean, np.full(len(test), np.nan), p_zero)


def crystals_of(config: PropertyConfig) -> list[Structure]:
    """Return the crystals of a table's rows that are not auxiliary, in their order.

    Raises:
        InputError: the recipe does not predict band gaps from structure.
    """
    if config.sees != "structure" or GAP not in config.properties:
        raise InputError(
            f"published: recipe {config.out.name!r} predicts no {GAP} from structure; give band-gap."
        )
    labels = [c for name, m in config.properties.items() for c in m.columns or (name,)]
    files = [entry.file for entry in config.data if not is_formula_table(entry.file)]
    entries = (entry for file in files for entry in read_dataset(file))
    return [entry.structure for entry in entries if entry.properties.keys() & set(labels)]


def of_published(model: Any, table: Table, config: PropertyConfig) -> tuple[Distribution, int]:  # noqa: ANN401
    """Its gaps of the test rows, and how many it could not evaluate: these get the training median.

    The smaller the gap the likelier a metal, but no row is called one: the gap itself is its best value.
    """
    head = list(config.properties).index(GAP)
    structures = crystals_of(config)
    if len(structures) != (~table.extra).sum():
        raise RuntimeError(f"{len(structures)} crystals for {(~table.extra).sum()} rows")
    rows = test_rows(table, head)
    gap = published_gaps(model, [structures[row] for row in rows.tolist()])
    failed = np.isnan(gap)
    gap[failed] = np.nanmedian(table.labels[table.rows("train"), head])
    return Distribution(gap, np.full(len(gap), np.nan), 0.5 / (1 + gap)), int(failed.sum())


def _without_intervals(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not name.startswith(("coverage", "mean_width"))}


def add_published(model: Any, table: Table, config: PropertyConfig, task: str) -> None:  # noqa: ANN401
    """Keep the metrics of matgl's published model."""
    head = list(config.properties).index(GAP)
    found, failed = of_published(model, table, config)
    metrics = metrics_of(table, head, config.properties[GAP], found)
    shown: dict[str, Any] = {source: _without_intervals(own) for source, own in metrics.items()}
    for own in shown.values():
        own.pop("ece_zero", None)  # its probability is only an order
    add(task, config.seed, "published", shown | {"not evaluated": {"n": failed}})


def run(name: str, seed: int, methods: list[str], element: str = "", published: Any = None) -> None:  # noqa: ANN401
    """Train and measure every method on one recipe with one seed; if asked, without an element."""
    fields = read_yaml(Path("configs/predictors") / f"{name}.yaml")
    config = build(PropertyConfig, {**fields, "seed": seed}, "recipe")
    table = training_table(config, lambda *_: None)
    if element:
        table, name = without(table, element), f"{name} without {element}"
    if published is not None:
        add_published(published, table, config, f"{name}: {GAP}")
    for head, (prop, measured) in enumerate(config.properties.items()):
        task = f"{name}: {prop}"
        if "trivial" in methods:
            same = trivial(table, head, len(test_rows(table, head)), zero=measured.zero)
            add(task, seed, "trivial", metrics_of(table, head, measured, same))
        if "quick" in methods and not measured.beyond:
            found = quick_baseline(table, head, measured, config.sees, seed)
            metrics = metrics_of(table, head, measured, found)
            add(task, seed, "quick", {source: _without_intervals(own) for source, own in metrics.items()})
    if "ours" not in methods:
        return
    start = time.process_time()
    ensemble = train_on(config, table, lambda *_: None)
    for prop, measured in config.properties.items():
        found = {
            source: measure(part, label, measured) | {"inside": float(inside.mean())}
            for source, (part, label, inside) in held_out(ensemble, table, prop).items()
        }
        found["training"] = {"cpu_seconds": time.process_time() - start}
        add(f"{name}: {prop}", seed, "ours", found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=["trivial", "quick", "ours"])
    parser.add_argument("--without", default="", help="an element that is held out whole")
    parser.add_argument("--published", help="folder of matgl's published band gap model; see published.py")
    given = parser.parse_args()
    try:
        model = load_published(given.published) if given.published else None
        for seed in given.seeds:
            for recipe in given.recipes:
                run(recipe, seed, given.methods, given.without, model)
                print(recipe, seed, flush=True)
    except InputError as error:
        parser.exit(2, f"{error}\n")
