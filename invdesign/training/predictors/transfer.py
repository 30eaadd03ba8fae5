"""Training of a model from a few examples on a released one: learn, try, calibrate, write folder and card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.potentials.chgnet.potential import EMBEDDING_SIZE
from invdesign.predictors.features.composition_and_gene import FRACTIONS, composition_rows
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.predictors.transfer import Rows, Transferred, inputs_alone, is_transferred, represent
from invdesign.training.predictors.transfer_cross_validation import (
    COMPOSITION,
    FOLDS,
    MEAN,
    REPEATS,
    SCRATCH,
    TRANSFER,
    CrossValidation,
    LearningCurvePoint,
    calibrate,
    cross_validate,
    learn,
    points,
    warnings_of,
)
from invdesign.training.predictors.transfer_examples import Examples, features_of

METRICS = "metrics.json"


@dataclass(frozen=True, slots=True)
class TransferResult:
    """Result of a training: the model's folder, its cross-validation, warnings, notes on the data."""

    folder: Path
    metric: str
    validation: CrossValidation
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def load_backbone(name: str | Path) -> Ensemble:
    """Return the released model, or a custom one, whose networks are kept as they are.

    Raises:
        InputError: it is not there, or is itself made from a few examples.
    """
    if is_transferred(name):
        raise InputError(
            f"from: {str(name)!r} is itself made from a few examples; give the model that it was made from."
        )
    return Ensemble.load(name, kind="property")


def seen_by(backbone: Ensemble, standardised: np.ndarray) -> dict[str, Rows]:
    """Return what each method sees of the examples; only transfer sees what was learned from other data."""
    seen = {TRANSFER: represent(backbone, standardised)}
    if backbone.about["sees"] == "structure":
        seen[SCRATCH] = inputs_alone(standardised[:, FRACTIONS:-EMBEDDING_SIZE].astype(float))
    of_composition = composition_rows(["NaCl"]).shape[1]
    return seen | {COMPOSITION: inputs_alone(standardised[:, FRACTIONS:of_composition].astype(float))}


def transfer(
    examples: Examples, name: str | Path, out: Path, *, seed: int = 0, progress: Progress
) -> TransferResult:
    """Train, measure and write a model.

    Args:
        examples: of a user.
        name: of the released model, or its folder.
        out: folder to make.
        seed: of the repetitions.
        progress: called with the share that is done and what is being done.

    Raises:
        InputError: the released model is missing, or sees structures where the examples have none.
    """
    backbone = load_backbone(name)
    sees = backbone.about["sees"]
    features = features_of(examples, sees, str(name), lambda s, message: progress(0.3 * s, message))
    standardised = backbone.standardise(features)
    seen = seen_by(backbone, standardised)
    validation = cross_validate(seen, examples, seed, lambda s, message: progress(0.3 + 0.65 * s, message))
    regression = learn(seen[TRANSFER], examples.labels, examples.groups, classes=bool(examples.classes))
    measured = {"unit": examples.unit, "log10": examples.log10, "zero": bool(examples.classes)}
    about = {"sees": sees, "properties": {examples.name: measured}}
    model = Transferred(
        backbone, regression, calibrate(validation, regression, examples), about, examples.classes
    )
    warnings = warnings_of(validation, examples, seed)
    out.mkdir(parents=True, exist_ok=True)
    model.save(out, standardised)
    metrics = {
        "n": len(examples.labels),
        "metric": "AUC" if examples.classes else "MAE",
        "curve": [asdict(point) for point in validation.curve],
        "warnings": warnings,
        "notes": examples.notes,
    }
    (out / METRICS).write_text(json.dumps(metrics, indent=1) + "\n")
    pd.DataFrame(validation.curve).to_csv(out / "learning_curve.csv", index=False, float_format="%.6g")
    (out / "README.md").write_text(_card(model, examples, validation, warnings, str(name)))
    return TransferResult(out, metric_words(examples), validation, tuple(warnings), examples.notes)


def metric_words(examples: Examples) -> str:
    """Return what is on the learning curve's ordinate."""
    if examples.classes:
        return f"AUC of {examples.name} ({examples.classes[1]} against {examples.classes[0]})"
    unit = f"log10({examples.unit})" if examples.log10 else examples.unit
    return f"mean absolute error of {examples.name}" + (
        f", {unit or 'log10'}" if unit or examples.log10 else ""
    )


def curve_table(curve: Sequence[LearningCurvePoint]) -> str:
    """Markdown: a row a method, a column a number of examples."""
    methods = [m for m in (TRANSFER, SCRATCH, COMPOSITION, MEAN) if points(curve, m)]
    sizes = [point.n for point in points(curve, TRANSFER)]
    lines = ["| examples | " + " | ".join(map(str, sizes)) + " |", "| --- |" + " --- |" * len(sizes)]
    for method in methods:
        cells = [f"{point.mean:.3g} ± {point.std:.2g}" for point in points(curve, method)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _card(
    model: Transferred, examples: Examples, validation: CrossValidation, warnings: Sequence[str], name: str
) -> str:
    chosen = model.regression.setting
    warned = [f"**Warning.** {sentence}" for sentence in warnings]
    many = f"{len(examples.labels)} examples, {len(set(examples.groups.tolist()))} compositions"
    balance = ""
    if examples.classes:
        first, second = (int((examples.labels == sign).sum()) for sign in (-1, 1))
        balance = f" {first} are {examples.classes[0]} (0), {second} {examples.classes[1]} (1); both classes "
        balance += "count the same."
    tried = f"""{FOLDS}-fold cross-validation by composition, {REPEATS} times (± is the deviation between
these), each fold with its own choice of settings; fewer examples are drawn from the training folds. From
scratch and by composition: the same regression on features that nothing was trained for.

![Learning curve](learning_curve.png)"""
    setting = f"""Chosen by leaving out one composition at a time: share of the hidden layers in similarity
{chosen.hidden:g}, weight of the predictions of the frozen model {chosen.line:g}, inverse reach
{chosen.width:g}, noise {chosen.noise:g}. The folder holds features and labels of the examples, and a copy of
the frozen model (`backbone/`)."""
    parts = [
        f"# {examples.name}, from {len(examples.labels)} examples",
        f"Kernel regression on what the frozen model `{name}` makes of a crystal. {many}.{balance}",
        *warned,
        *examples.notes,
        f"## Unseen compositions: {metric_words(examples)}",
        curve_table(validation.curve),
        tried,
        _held(model, examples, validation),
        setting,
    ]
    return "\n\n".join(parts) + "\n"


def _held(model: Transferred, examples: Examples, validation: CrossValidation) -> str:
    """How intervals or probabilities were set, in words."""
    if examples.classes:
        return (
            "Probabilities are logistic in the score, fitted to the left-out scores of the cross-validation."
        )
    errors = np.abs(validation.predictions[TRANSFER] - examples.labels)
    share = float((errors <= model.calibrated.scale * validation.deviation).mean())
    return (
        f"The 90 % interval is set by the errors of left-out examples; it holds {share:.0%} of these, and "
        "widens away from them."
    )


def summary(outcome: TransferResult) -> dict[str, Any]:
    """For printing and JSON."""
    return {
        "folder": str(outcome.folder),
        "metric": outcome.metric,
        "curve": [asdict(point) for point in outcome.validation.curve],
        "warnings": list(outcome.warnings),
        "notes": list(outcome.notes),
    }


def printed(outcome: TransferResult) -> str:
    """For people: error or AUC of each method with all examples, then what to know."""
    curve = outcome.validation.curve
    lines = [f"Model in {outcome.folder}. {outcome.metric}, unseen compositions:"]
    last = [point for m in (TRANSFER, SCRATCH, COMPOSITION, MEAN) for point in points(curve, m)[-1:]]
    lines += [f"  {point.method:22s} {point.mean:.3g} ± {point.std:.2g}" for point in last]
    lines += outcome.notes
    lines += [f"Warning: {sentence}" for sentence in outcome.warnings]
    lines.append(f"Next: invdesign predict FILES --model {outcome.folder}")
    return "\n".join(lines)
