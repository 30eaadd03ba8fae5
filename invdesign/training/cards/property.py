"""Writing a property model: weights, recipe, and the card with what it measured on held-out rows."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.core.properties import PROPERTIES
from invdesign.training.cards.ensemble import domain_words, held_out, markdown, split_words, trivial
from invdesign.training.metrics import gap_metrics, interval_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invdesign.predictors.models.ensemble import Distribution, Ensemble
    from invdesign.predictors.property_predictor import LearnedProperty
    from invdesign.training.predictors.property import PropertyConfig
    from invdesign.training.predictors.table import Table

    Trained = tuple[Ensemble, Table]

_INTERVAL = {
    "n": "held out",
    "mae": "MAE",
    "rmse": "RMSE",
    "coverage_90": "90 % interval holds",
    "coverage_90_third_1": "… lowest third of predictions",
    "coverage_90_third_2": "… middle third",
    "coverage_90_third_3": "… highest third",
    "mean_width_90": "mean width of the interval",
}
_ZERO = {
    "n_all": "all rows held out, zeros too",
    "auc_zero": "AUC zero / not zero",
    "ece_zero": "calibration error of P(zero)",
    "mae_all": "MAE of the single best figure, all rows",
    "mae_best_on_nonzero": "MAE of the single best figure, not zero",
}
_SEES = {
    "structure": "features of composition, gene (space group and sites), electron count, near-neighbour "
    "bonds, volume, and CHGNet 0.3.0's crystal embedding",
    "composition": "features of the composition alone",
    "composition and space group": "features of the composition and, where it is given, the space group",
}


_GROWN = " Trees are grown again on all rows but the test once the intervals are calibrated."
_STRESS = {"n": "held out", "mae": "MAE", "coverage_90": "90 % interval holds", "inside": "in the domain"}


def write_property_release(
    ensemble: Ensemble,
    config: PropertyConfig,
    table: Table,
    cpu_seconds: float,
    stress: dict[str, Trained],
) -> None:
    """Write weights, configuration, card, figures and recipe to ``config.out``.

    Args:
        ensemble: the model.
        config: its recipe.
        table: what it was trained on.
        cpu_seconds: that its training took.
        stress: by element, a model trained without it and the table that has it as its test.
    """
    import json

    import yaml

    ensemble.save(config.out, config.kind)
    figures = {name: property_metrics(ensemble, table, name, m) for name, m in config.properties.items()}
    beyond = {
        f"{name} without {element}": property_metrics(*trained, name, m)
        for name, m in config.properties.items()
        for element, trained in stress.items()
    }
    text = json.dumps(finite(figures | beyond), indent=1, allow_nan=False)
    (config.out / "figures.json").write_text(text + "\n")
    (config.out / "README.md").write_text(
        _card(ensemble, config, table, figures, cpu_seconds) + _stress(config, beyond)
    )
    (config.out / "recipe.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    )


def finite(figures: Any) -> Any:  # noqa: ANN401 - JSON
    """Figures as JSON may hold them: what is not a number (no case to measure) becomes None."""
    if isinstance(figures, dict):
        return {name: finite(value) for name, value in figures.items()}
    return None if isinstance(figures, float) and not isfinite(figures) else figures


def property_metrics(
    ensemble: Ensemble, table: Table, name: str, measured: LearnedProperty
) -> dict[str, dict[str, float]]:
    """Figures of one property on the test rows, by source; beside them the same answer for every row."""
    index = [head.name for head in ensemble.heads].index(name)
    columns = {}
    for source, (found, label, inside) in held_out(ensemble, table, name).items():
        if measured.zero and not (label > 0).any():
            continue  # nothing whose size could be measured
        columns[source] = measure(found, label, measured) | {"inside": float(inside.mean())}
        same = trivial(table, index, len(label), zero=measured.zero)
        columns[f"{source}, trivial"] = measure(same, label, measured)
    return columns


def measure(found: Distribution, label: np.ndarray, measured: LearnedProperty) -> dict[str, float]:
    """Figures of one property on labelled rows."""
    if measured.zero:
        return gap_metrics(found, label)
    return interval_metrics(found, label, np.ones(len(label), dtype=bool))


def _card(
    ensemble: Ensemble,
    config: PropertyConfig,
    table: Table,
    figures: dict[str, dict[str, dict[str, float]]],
    cpu_seconds: float,
) -> str:
    titles = ", ".join(_title(name) for name in config.properties)
    files = ", ".join(f"`{entry.file.name}`" for entry in config.data)
    parts = [
        f"# {config.out.name}: {titles}",
        f"{_learners(ensemble, config.network.forest)} on {_SEES[config.sees]}. {_intervals(ensemble)}",
        f"**Data.** {files}. {split_words(table)}{_GROWN if ensemble.trees else ''}",
        f"**Training.** Seed {config.seed}, {cpu_seconds / 60:.1f} CPU minutes, reading included.",
        config.note,
    ]
    for name, measured in config.properties.items():
        unit = f"log10({measured.unit})" if measured.log10 else measured.unit
        rows = _INTERVAL | (_ZERO if measured.zero else {})
        parts.append(f"## Held-out error of {name}, {unit}\n{markdown(figures[name], rows)}")
        if measured.zero:
            parts.append("MAE, RMSE and intervals are those of the rows that are not zero.")
        parts.append(domain_words(ensemble, table, name))
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _stress(config: PropertyConfig, figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """What becomes of the error where a whole element is new."""
    if not figures:
        return ""
    parts = ["\n## Where an element is new\nTrained again without all rows that hold the element: the test."]
    for name, measured in config.properties.items():
        columns = {
            f"{element}, {source}": own
            for element in config.without
            for source, own in figures[f"{name} without {element}"].items()
            if not source.endswith(", trivial")
        }
        rows = _STRESS | ({"auc_zero": _ZERO["auc_zero"]} if measured.zero else {})
        parts.append(f"{name}:\n\n{markdown(columns, rows)}")
    return "\n\n".join(parts) + "\n"


def _title(name: str) -> str:
    return PROPERTIES[name].words if name in PROPERTIES else name


def _intervals(ensemble: Ensemble) -> str:
    scales = ensemble.calibration.scales.values()
    within = " within thirds of the prediction" if any(len(set(own)) > 1 for own in scales) else ""
    apart = {f"`{head.hypothetical}`" for head in ensemble.heads if head.hypothetical}
    if not apart:
        return f"90 % intervals are conformal{within}."
    return (
        f"90 % intervals are conformal{within}, on hypothetical crystals ({', '.join(apart)}) and known ones "
        "apart: the errors differ, which the features hardly tell. Predictions have the intervals of "
        "hypothetical crystals unless the predictor's `hypothetical` is set to False; below each data set "
        "has its own."
    )


def _learners(ensemble: Ensemble, forest: Iterable[str]) -> str:
    networks = f"{ensemble.network.shape.members} residual networks"
    if ensemble.kernel is not None:
        return f"Robust kernel regression, {networks} for its spread,"
    if not ensemble.trees:
        return networks
    alone = [head.name for head in ensemble.heads if head.trees_alone]
    shares = f" (trees alone for {', '.join(alone)})" if alone else ""
    words = f"{networks} and boosted trees with an equal say{shares},"
    if len(alone) == len(ensemble.heads):
        words = f"Boosted trees, {networks} for their spread,"
    mixed = "".join(f" averaged with extra trees for {name}," for name in forest)
    told = "".join(
        f" for {head.name} told what the trees for {head.after} say," for head in ensemble.heads if head.after
    )
    return words + mixed + told
