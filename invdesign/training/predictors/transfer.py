"""Training of a model from a few examples on a released one: learn, try, calibrate, write folder and card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.potentials.chgnet.potential import EMBEDDING_SIZE
from invdesign.predictors.features.composition_and_gene import FRACTIONS, composition_rows
from invdesign.predictors.features.structure import BASE
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.predictors.transfer import Rows, Transferred, inputs_alone, is_transferred, represent
from invdesign.training.cards.render import write_metrics
from invdesign.training.predictors.transfer_cross_validation import (
    COMPOSITION,
    FOLDS,
    MEAN,
    REPEATS,
    SCRATCH,
    TRANSFER,
    CrossValidation,
    calibrate,
    cross_validate,
    learn,
    points,
    warnings_of,
)
from invdesign.training.predictors.transfer_examples import Examples, features_of

METHODS = (TRANSFER, SCRATCH, COMPOSITION, MEAN)


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
        InputError: it is not there, is itself made from a few examples, or sees another embedding too.
    """
    if is_transferred(name):
        raise InputError(
            f"from: {str(name)!r} is itself made from a few examples; give the model that it was made from."
        )
    backbone = Ensemble.load(name, kind="property")
    if further := backbone.about.get("embeddings", [BASE])[1:]:
        raise InputError(
            f"from: {str(name)!r} sees the embedding of {', '.join(further)} too; give a model that sees "
            "CHGNet's alone, such as band-gap."
        )
    return backbone


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
    curve = sorted(validation.curve, key=lambda point: (METHODS.index(point.method), point.n))
    pd.DataFrame(validation.curve).to_csv(out / "learning_curve.csv", index=False, float_format="%.6g")
    errors = np.abs(validation.predictions[TRANSFER] - examples.labels)
    held = errors <= model.calibrated.scale * validation.deviation
    metrics = {
        "name": examples.name,
        "from": str(name),
        "n": len(examples.labels),
        "n_compositions": len(set(examples.groups.tolist())),
        "classes": [
            {"name": one, "n": int((examples.labels == sign).sum())}
            for one, sign in zip(examples.classes, (-1, 1), strict=False)
        ],
        "metric": "AUC" if examples.classes else "MAE",
        "ordinate": metric_words(examples),
        "methods": list(dict.fromkeys(point.method for point in curve)),
        "curve": [asdict(point) for point in curve],
        "folds": FOLDS,
        "repeats": REPEATS,
        "coverage": float(held.mean()),
        "setting": asdict(regression.setting),
        "warnings": warnings,
        "notes": examples.notes,
    }
    write_metrics(out, "transfer", metrics)
    return TransferResult(out, metric_words(examples), validation, tuple(warnings), examples.notes)


def metric_words(examples: Examples) -> str:
    """Return what is on the learning curve's ordinate."""
    if examples.classes:
        return f"AUC of {examples.name} ({examples.classes[1]} against {examples.classes[0]})"
    unit = f"log10({examples.unit})" if examples.log10 else examples.unit
    return f"mean absolute error of {examples.name}" + (
        f", {unit or 'log10'}" if unit or examples.log10 else ""
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
    last = [point for method in METHODS for point in points(curve, method)[-1:]]
    lines += [f"  {point.method:22s} {point.mean:.3g} ± {point.std:.2g}" for point in last]
    lines += outcome.notes
    lines += [f"Warning: {sentence}" for sentence in outcome.warnings]
    lines.append(f"Next: invdesign predict FILES --model {outcome.folder}")
    return "\n".join(lines)
