"""Models from 10 to 100 examples: transfer against the same regression from scratch, and baselines.

`python benchmarks/small_data/small_data.py`, from the repository root: bulk moduli on models that have seen
none, then thermal expansion on the released elasticity model with compositions held out of that. Each seed
draws other examples, and tests on other compositions. Figures go to small_data.json beside this file, as soon
as they are there, pictures to docs/images/. CHGNet's features are cached in .cache/invdesign.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.composition.formula import composition_key
from invdesign.data.splits import grouped_split
from invdesign.io.provenance import hardware, package_versions
from invdesign.predictors.features.composition_and_gene import FRACTIONS, composition_and_space_group_rows
from invdesign.predictors.features.structure import described_file
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.predictors.transfer import inputs_alone
from invdesign.report.plots.learning_curve import draw_learning_curve
from invdesign.training.predictors import transfer_cross_validation as trials
from invdesign.training.predictors.table import PARTS
from invdesign.training.predictors.transfer import seen_by
from invdesign.training.predictors.transfer_cross_validation import (
    COMPOSITION,
    MEAN,
    SCRATCH,
    TRANSFER,
    calibrate,
    cross_validate,
    learn,
)
from invdesign.training.predictors.transfer_examples import Examples

if TYPE_CHECKING:
    from invdesign.predictors.transfer import Rows

RESULTS = Path(__file__).with_name("small_data.json")
IMAGES = Path("docs/images")
DATA = Path("../shared/data/structures/aflow_elastic.csv.gz")
SIZES = (10, 20, 50, 100)
N_TEST = 500
NO_TRUNK = "CHGNet's embedding, no released model"
TREES = "extra trees from scratch, same inputs"
TASKS: dict[str, dict[str, Any]] = {
    "bulk-modulus": {"column": "bulk_modulus", "least": 1.0, "models": ["formation-energy", "band-gap"]},
    "thermal-expansion": {"column": "thermal_expansion", "least": 0.0, "models": ["elasticity"]},
}


class Task:
    """Labelled crystals of a task and what each method sees of them."""

    def __init__(self, name: str) -> None:
        fields = TASKS[name]
        described, columns = described_file(DATA, Path(".cache/invdesign"), lambda *_: None)
        value = columns[fields["column"]]
        keep = (value > fields["least"]) & ~np.isnan(described.features).any(1)
        if name == "thermal-expansion":  # not what the elasticity model was trained or calibrated on
            held_out = np.zeros(len(keep), dtype=bool)
            held_out[grouped_split(described.formulas.tolist(), list(PARTS.values()), 0)[-1]] = True
            keep &= held_out
        self.labels = np.log10(value[keep])
        self.formulas = described.formulas[keep].tolist()
        self.groups = np.array([composition_key(formula) for formula in self.formulas])
        self.features = described.features[keep]
        self.seen: dict[str, Rows] = {}
        for model in fields["models"]:
            backbone = Ensemble.load(model, kind="property")
            standardised = backbone.standardise(self.features)
            for method, rows in seen_by(backbone, standardised).items():
                self.seen.setdefault(f"{method}: {model}" if method == TRANSFER else method, rows)
            self.seen.setdefault(NO_TRUNK, inputs_alone(standardised[:, FRACTIONS:].astype(float)))
        backbone = Ensemble.load("formation-energy-composition", kind="property")
        rows = composition_and_space_group_rows(self.formulas, [None] * len(self.formulas))
        alone = seen_by(backbone, backbone.standardise(rows))[TRANSFER]
        self.seen[f"{TRANSFER}, formulas alone: formation-energy-composition"] = alone

    def draw(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Examples, the most that are asked for, and test rows of other compositions."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        examples = order[: max(SIZES)]
        rest = order[max(SIZES) :]
        return examples, rest[~np.isin(self.groups[rest], self.groups[examples])][:N_TEST]

    def examples(self, rows: np.ndarray) -> Examples:
        """As `invdesign train` would have read them."""
        formulas = [self.formulas[row] for row in rows]
        return Examples(
            "value",
            "",
            log10=True,
            labels=self.labels[rows],
            groups=self.groups[rows],
            classes=(),
            formulas=formulas,
            structures=None,
            notes=(),
        )

    def errors(self, own: np.ndarray, test: np.ndarray, seed: int) -> dict[str, float]:
        """Mean absolute errors of log10 by method, and how many of the intervals hold."""
        from sklearn.ensemble import ExtraTreesRegressor

        labels = self.labels
        found = {MEAN: float(np.abs(labels[own].mean() - labels[test]).mean())}
        for method, rows in self.seen.items():
            regression = learn(rows[own], labels[own], self.groups[own], classes=False)
            mean, deviation = regression.predict(rows[test])
            found[method] = float(np.abs(mean - labels[test]).mean())
            if method == next(iter(self.seen)):
                examples = self.examples(own)
                tried = cross_validate({TRANSFER: rows[own]}, examples, seed, lambda *_: None)
                scale = calibrate(tried, regression, examples).scale
                found[f"coverage, {method}"] = float(
                    (np.abs(mean - labels[test]) <= scale * deviation).mean()
                )
        trees = ExtraTreesRegressor(200, max_features=0.3, random_state=seed)
        said = trees.fit(np.nan_to_num(self.features[own]), labels[own]).predict(
            np.nan_to_num(self.features[test])
        )
        found[TREES] = float(np.abs(said - labels[test]).mean())
        return found


def run(name: str, seeds: list[int]) -> None:
    """Measure every method of a task with every seed and number of examples."""
    task = Task(name)
    metrics: dict[str, dict[str, list[float]]] = {}
    n_test = []
    for seed in seeds:
        examples, test = task.draw(seed)
        n_test.append(len(test))
        for n in SIZES:
            for method, error in task.errors(examples[:n], test, seed).items():
                metrics.setdefault(method, {}).setdefault(str(n), []).append(round(error, 5))
        print(name, seed, flush=True)
        results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"tasks": {}}
        results |= {"versions": package_versions(), "hardware": hardware(), "data": DATA.name}
        about = {"seeds": seeds[: len(n_test)], "n_test": n_test, "crystals": len(task.labels)}
        results["tasks"][name] = about | {"metrics": metrics}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def table(name: str) -> str:
    """Markdown table of a task: mean and standard deviation over seeds."""
    metrics = json.loads(RESULTS.read_text())["tasks"][name]["metrics"]
    lines = ["| examples | " + " | ".join(map(str, SIZES)) + " |", "| --- |" + " --- |" * len(SIZES)]
    for method, by_n in metrics.items():
        cells = [f"{np.mean(by_n[str(n)]):.3f} ± {np.std(by_n[str(n)]):.3f}" for n in SIZES]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(name: str) -> None:
    """Draw the learning curve of a task."""
    metrics = json.loads(RESULTS.read_text())["tasks"][name]["metrics"]
    first = f"{TRANSFER}: {TASKS[name]['models'][0]}"
    curves = {
        method: [
            (n, float(np.mean(metrics[method][str(n)])), float(np.std(metrics[method][str(n)])))
            for n in SIZES
        ]
        for method in (first, NO_TRUNK, SCRATCH, COMPOSITION, MEAN)
    }
    title = f"{name.replace('-', ' ')} (AFLOW), other compositions"
    path = IMAGES / f"small-data-{name}.png"
    draw_learning_curve(
        curves, path, ordinate=f"mean absolute error of log10 {name.replace('-', ' ')}", title=title
    )


if __name__ == "__main__":
    trials.SIZES = ()  # the intervals need no learning curve
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--drawn", action="store_true", help="tables and pictures of what is there")
    given = parser.parse_args()
    for task_name in given.tasks:
        if not given.drawn:
            run(task_name, given.seeds)
        print(table(task_name))
        draw(task_name)
