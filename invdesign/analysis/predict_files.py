"""Predict properties of crystals and formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.inputs import LIKE_A_PATH, listed, samples_of
from invdesign.composition.formula import formula_amounts, read_compositions
from invdesign.core.candidate import Estimate
from invdesign.core.measured_gap import agreeing
from invdesign.core.properties import MEASURED_GAP, PBE_GAP, models_from_composition, models_from_structure
from invdesign.crystal.chemical_formula import formula_of
from invdesign.data.dataset import is_formula_table
from invdesign.errors import InputError, no_such_file, quoted
from invdesign.io.config import suggest
from invdesign.io.paths import is_there
from invdesign.io.tables import Results, write_csv
from invdesign.predictors.features.structure import describe, embedded
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.predictors.registry import Predictor, load_predictor
from invdesign.predictors.transfer import Transferred

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(slots=True)
class Prediction:
    """What is predicted of one input.

    Attributes:
        label: name of the input.
        formula: as given, or reduced where a crystal was given.
        estimates: by property, each with ``value``, ``low``, ``high`` (90 %), ``p_zero``, ``in_domain``.
        reason: why there are none.
        classes: names of classes 0 and 1 of a classifier; then ``p_zero`` is the probability of class 0.
    """

    label: str
    formula: str
    estimates: dict[str, Estimate] = field(default_factory=dict)
    reason: str = ""
    classes: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return label, formula, and a few columns per property."""
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


def predict(
    given: Any,  # noqa: ANN401 - one or several paths, formulas or pymatgen structures
    properties: str | Sequence[str] = (PBE_GAP, MEASURED_GAP),
    *,
    model: str | Path | None = None,
    from_composition: bool = False,
    out: str | Path | None = None,
) -> Results[Prediction]:
    """Predict properties of crystals and formulas.

    Crystals get the models of structures, formulas those of compositions.

    >>> predict(["CuInS2", structure], "band_gap").to_pandas()  # doctest: +SKIP

    Args:
        given: pymatgen structures, files of crystals or with a formula column (an existing path is a file),
            and formulas; one or a list.
        properties: names, as a list or separated by commas. With ``model``, all its properties.
        model: a released model, or folder of a custom one, in place of the released ones.
        from_composition: use only the composition of crystals.
        out: CSV to write.

    Returns:
        One :class:`Prediction` per crystal and formula, in order; each estimate in the property's unit. What
        cannot be read or predicted has a ``reason``.

    Raises:
        InputError: nothing given, no such property or model, or no entry that can be read.
    """
    texts = [properties] if isinstance(properties, str) else properties
    names = list(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    if not names:
        raise InputError("property: none was named; give one or more, such as band_gap,bulk_modulus_gpa.")
    rows, structures = _read(given)
    agree = [PBE_GAP] if MEASURED_GAP in names and PBE_GAP not in names else []
    _fill(rows, structures, [*names, *agree], model=model, from_composition=from_composition)
    for row in rows if model is None else ():
        row.estimates = {name: row.estimates[name] for name in names if name in row.estimates}
    what = ", ".join(names) if model is None else model
    found = Results(rows, summary=f"predict: {what} of {len(rows)} inputs")
    if out is not None:
        write_csv(Path(out), found.rows())
    return found


def _fill(
    rows: list[Prediction],
    structures: list[Structure | None],
    properties: Sequence[str],
    *,
    model: str | Path | None,
    from_composition: bool,
) -> None:
    with_structure = [i for i, one in enumerate(structures) if one is not None and not from_composition]
    chosen = set(with_structure)
    formulas = [i for i, row in enumerate(rows) if i not in chosen and not row.reason]
    groups: list[tuple[list[int], Sequence[Any], dict[str, str]]] = [
        (with_structure, [structures[i] for i in with_structure], models_from_structure()),
        (formulas, [rows[i].formula for i in formulas], models_from_composition()),
    ]
    predictor = None if model is None else load_predictor(None, model)
    if isinstance(predictor, PropertyPredictor) and predictor.sees != "structure":
        readable = [i for i, row in enumerate(rows) if not row.reason]
        groups = [(readable, [structures[i] or rows[i].formula for i in readable], {})]
    reasons = []
    for index, seen, models in (group for group in groups if group[0]):
        try:
            _predict_group(rows, index, seen, predictor, _models(properties, models) if model is None else {})
        except InputError as error:  # crystals have models that formulas have not, and the other way round
            reasons.append(error)
            for i in index:
                rows[i].reason = str(error)
    if reasons and not any(row.estimates for row in rows):
        raise reasons[0]


def _predict_group(
    rows: list[Prediction],
    index: list[int],
    seen: Sequence[Any],
    predictor: Predictor | None,
    models: dict[str, list[str]],
) -> None:
    """Fill in the estimates of all crystals, or all formulas, by one model or the property's own."""
    if predictor is None:
        _predict(rows, index, seen, models)
        return
    for i, estimates in zip(index, _all_of(predictor, seen), strict=True):
        rows[i].estimates, rows[i].classes = estimates, _classes(predictor)


def _all_of(predictor: Predictor, seen: Sequence[Any]) -> list[dict[str, Estimate]]:
    """Predict every property of a model; the graph network has one, of structures.

    Raises:
        InputError: it needs structures.
    """
    if isinstance(predictor, PropertyPredictor):
        return predictor.predict_all(seen)
    formula = next((one for one in seen if isinstance(one, str)), None)
    if formula is not None:
        raise InputError(
            f"model: this model needs structures; {quoted(formula)} is a formula: give a crystal of it."
        )
    return [{"band_gap": estimate} for estimate in predictor.predict(seen)]


def _classes(predictor: Predictor) -> tuple[str, ...]:
    """Return the names of classes 0 and 1 of a classifier; none of other models."""
    ensemble = isinstance(predictor, PropertyPredictor) and predictor.ensemble
    return ensemble.classes if isinstance(ensemble, Transferred) else ()


def _models(properties: Sequence[str], models: dict[str, str]) -> dict[str, list[str]]:
    """Group the properties by the model that predicts them.

    Raises:
        InputError: none does.
    """
    chosen: dict[str, list[str]] = {}
    for name in properties:
        if name not in models:
            if name in models_from_structure():
                raise InputError(
                    f"property: {name} is predicted from crystal structures alone, and a formula was given; "
                    f"give structures, or ask for {', '.join(sorted(models))}."
                )
            raise InputError(f"property: nothing predicts {quoted(name)}; {suggest(name, tuple(models))}.")
        chosen.setdefault(models[name], []).append(name)
    return chosen


def _predict(
    rows: list[Prediction], index: list[int], seen: Sequence[Any], models: dict[str, list[str]]
) -> None:
    described = None  # crystals once, whatever the number of models
    for model, names in models.items():
        predictor = PropertyPredictor.load(model)
        if predictor.sees == "structure":
            described = embedded(described or describe(seen), seen, predictor.embeddings)
            found = predictor.of_described(described)
        else:
            found = predictor.predict_all(seen)
        for i, estimates in zip(index, found, strict=True):
            rows[i].estimates |= {name: estimates[name] for name in names}
    for i in index:
        rows[i].estimates = agreeing(rows[i].estimates)


def _read(given: Any) -> tuple[list[Prediction], list[Structure | None]]:  # noqa: ANN401 - see predict
    """Return rows and, where there is one, their crystals."""
    rows: list[Prediction] = []
    structures: list[Structure | None] = []
    for entry in listed(given):
        if isinstance(entry, str | Path):
            path = Path(entry)
            if not is_there(entry):
                rows.append(_of_formula(str(entry)))
                structures.append(None)
                continue
            if is_formula_table(path):
                found = _of_formulas(path)
                rows += found
                structures += [None] * len(found)
                continue
        for sample in samples_of(entry, len(rows) + 1):
            formula = "" if sample.structure is None else formula_of(sample.structure.composition)
            rows.append(Prediction(sample.label, formula, reason=sample.fault))
            structures.append(sample.structure)
    if all(row.reason for row in rows):
        reasons = [row.reason for row in rows] or ["files: none given; name files of crystals or formulas."]
        raise InputError(reasons[0])
    return rows, structures


def _of_formulas(path: Path) -> list[Prediction]:
    """Return a row per formula of a table; an entry that is no formula gets the reason."""
    try:
        table = read_compositions(path)
    except InputError as error:
        return [Prediction(path.name, "", reason=str(error))]
    rows = []
    for label, formula in zip(table.labels, table.formulas, strict=True):
        row = Prediction(label or "", formula or "")
        try:
            formula_amounts(row.formula)
        except InputError as error:
            row.reason = str(error)
        rows.append(row)
    return rows


def _of_formula(entry: str) -> Prediction:
    """Return the row of a formula, or of what is neither one nor a file."""
    try:
        formula_amounts(entry)
    except InputError as error:
        missing = no_such_file(entry, "structures, a CSV or a formula such as TiO2")
        return Prediction(entry, "", reason=str(missing if LIKE_A_PATH.search(entry) else error))
    return Prediction(entry, entry)
