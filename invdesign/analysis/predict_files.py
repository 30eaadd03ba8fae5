"""Estimates for what a user has: files of crystals, files of formulas, formulas."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.composition.formula import formula_amounts, read_compositions
from invdesign.core.properties import models_from_composition, models_from_structure
from invdesign.crystal.structure_files import ID_COLUMNS, Unreadable, read_entries
from invdesign.data.dataset import holds_crystals
from invdesign.errors import InputError
from invdesign.io.config import suggest
from invdesign.predictors.features.structure import describe
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.predictors.registry import Predictor, load_predictor
from invdesign.predictors.transfer import Transferred

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from invdesign.core.candidate import Estimate


@dataclass(slots=True)
class Predicted:
    """What was given and what is predicted of it, by property; ``reason``: why nothing is.

    ``classes``: names of the two classes that the model tells apart, where it does.
    """

    label: str
    formula: str
    estimates: dict[str, Estimate] = field(default_factory=dict)
    reason: str = ""
    classes: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """For a table or JSON."""
        cells: dict[str, Any] = {"label": self.label, "formula": self.formula}
        for name, estimate in self.estimates.items():
            if self.classes:
                cells |= {
                    name: self.classes[estimate.p_zero <= 0.5],
                    f"{name}_p_{self.classes[1]}": 1 - estimate.p_zero,
                    f"{name}_in_domain": estimate.in_domain,
                }
                continue
            cells |= {
                name: estimate.value,
                f"{name}_low": estimate.low,
                f"{name}_high": estimate.high,
                f"{name}_in_domain": estimate.in_domain,
            }
            if estimate.p_zero > 0:
                cells[f"{name}_p_zero"] = estimate.p_zero
        return cells | ({"reason": self.reason} if self.reason else {})


def predict_given(
    given: Sequence[str],
    properties: Sequence[str] = ("band_gap",),
    *,
    model: str | None = None,
    from_composition: bool = False,
) -> list[Predicted]:
    """Estimates of properties of everything given, in order.

    Crystals get the models of structures, formulas those of compositions.

    Args:
        given: paths of files that hold crystals or a formula column (what exists is a file), and formulas.
        properties: names; all of the model's own where one is given.
        model: a released model or a user's own folder, in place of the released ones.
        from_composition: look at the composition of crystals alone.

    Raises:
        InputError: nothing given, no such property or model, or an entry that is neither file nor formula.
    """
    rows, structures = _read(given)
    with_structure = [i for i, one in enumerate(structures) if one is not None and not from_composition]
    chosen = set(with_structure)
    formulas = [i for i, row in enumerate(rows) if i not in chosen and not row.reason]
    groups: list[tuple[list[int], Sequence[Any], dict[str, str]]] = [
        (with_structure, [structures[i] for i in with_structure], models_from_structure()),
        (formulas, [rows[i].formula for i in formulas], models_from_composition()),
    ]
    if model is not None:
        predictor = load_predictor(None, model)
        if isinstance(predictor, PropertyPredictor) and predictor.sees != "structure":
            readable = [i for i, row in enumerate(rows) if not row.reason]
            groups = [(readable, [structures[i] or rows[i].formula for i in readable], {})]
        for index, seen, _ in groups:
            for i, estimates in zip(index, _all_of(predictor, seen), strict=True):
                rows[i].estimates, rows[i].classes = estimates, _classes(predictor)
        return rows
    for index, seen, models in groups:
        if index:
            _predict(rows, index, seen, _models(properties, models))
    return rows


def _all_of(predictor: Predictor, seen: Sequence[Any]) -> list[dict[str, Estimate]]:
    """Every property of a model; the judge of band gaps has the one, of structures.

    Raises:
        InputError: it needs structures.
    """
    if isinstance(predictor, PropertyPredictor):
        return predictor.predict_all(seen)
    formula = next((one for one in seen if isinstance(one, str)), None)
    if formula is not None:
        raise InputError(
            f"model: a judge of band gaps needs structures; {formula!r} is a formula: give a crystal of it."
        )
    return [{"band_gap": estimate} for estimate in predictor.predict(seen)]


def _classes(predictor: Predictor) -> tuple[str, ...]:
    """Names of classes 0 and 1 of a model that tells two apart; none of other models."""
    own = isinstance(predictor, PropertyPredictor) and predictor.ensemble
    return own.classes if isinstance(own, Transferred) else ()


def _models(properties: Sequence[str], models: dict[str, str]) -> dict[str, list[str]]:
    """Names of properties by the model that predicts them.

    Raises:
        InputError: none does.
    """
    chosen: dict[str, list[str]] = {}
    for name in properties:
        if name not in models:
            kind = "composition" if models == models_from_composition() else "structure"
            raise InputError(
                f"property: nothing predicts {name!r} from {kind}; {suggest(name, tuple(models))}."
            )
        chosen.setdefault(models[name], []).append(name)
    return chosen


def _predict(
    rows: list[Predicted], index: list[int], seen: Sequence[Any], models: dict[str, list[str]]
) -> None:
    described = None  # crystals once, whatever the number of models
    for model, names in models.items():
        predictor = PropertyPredictor.load(model)
        if predictor.sees == "structure":
            described = described or describe(seen)
            found = predictor.of_described(described)
        else:
            found = predictor.predict_all(seen)
        for i, estimates in zip(index, found, strict=True):
            rows[i].estimates |= {name: estimates[name] for name in names}


def _read(given: Sequence[str]) -> tuple[list[Predicted], list[Structure | None]]:
    """Rows and, where there is one, their crystals."""
    rows: list[Predicted] = []
    structures: list[Structure | None] = []
    for entry in given:
        path = Path(entry)
        if not path.exists():
            _check_formula(entry)
            rows.append(Predicted(entry, entry))
            structures.append(None)
        elif not holds_crystals(path):
            own = _of_formulas(path)
            rows += own
            structures += [None] * len(own)
        else:
            for found in read_entries(path):
                if isinstance(found, Unreadable):
                    rows.append(Predicted(found.label, "", reason=found.reason))
                    structures.append(None)
                else:
                    rows.append(Predicted(found.label, found.structure.composition.reduced_formula))
                    structures.append(found.structure)
    if not rows:
        raise InputError("files: none given; name files of crystals or formulas.")
    return rows, structures


def _of_formulas(path: Path) -> list[Predicted]:
    """Rows of a table of formulas, by its identifiers; what is no formula gets the reason."""
    formulas = read_compositions(path).formulas
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as handle:
        table = csv.DictReader(handle)
        key = next((name for name in ID_COLUMNS if name in (table.fieldnames or [])), None)
        labels = [row[key] or "" for row in table] if key else formulas
    rows = []
    for label, formula in zip(labels, formulas, strict=True):
        row = Predicted(label or "", formula or "")
        try:
            formula_amounts(row.formula)
        except InputError as error:
            row.reason = str(error)
        rows.append(row)
    return rows


def _check_formula(entry: str) -> None:
    try:
        formula_amounts(entry)
    except InputError as error:
        raise InputError(
            f"{entry!r} is neither a file nor a formula; give a structure file, a CSV or a formula (TiO2)."
        ) from error
