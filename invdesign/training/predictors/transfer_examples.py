"""A few labelled examples from a user's file, and what a frozen model sees of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.composition.formula import FORMULA_COLUMNS, composition_key, read_compositions
from invdesign.crystal.structure_files import FILE_COLUMN, ID_COLUMNS, Unreadable, read_entries
from invdesign.data.dataset import is_formula_table
from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.predictors.features.composition_and_gene import (
    composition_and_space_group_rows,
    composition_rows,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure


LEAST, MOST = 10, 1000
"""Rows that are needed, and beyond which a recipe (``docs/guide/predict.md``) is the better way."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled rows of one property.

    Shapes: ``labels`` (n,): numbers as the model works on them, or -1 and 1 for the first and second of
    ``classes``; ``groups`` (n,): composition of each. ``notes``: what was left out or is peculiar.
    """

    name: str
    unit: str
    log10: bool
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    formulas: list[str]
    structures: list[Structure] | None
    notes: tuple[str, ...]


def read_examples(path: Path, column: str | None = None, *, unit: str = "", log10: bool = False) -> Examples:
    """Rows of a table (or any file of crystals) that have the property.

    Args:
        path: with crystals (``cif``) or formulas.
        column: the property; may be left out where only one column can be meant.
        unit: for the card.
        log10: learn the logarithm.

    Raises:
        InputError: no such file or column, unreadable crystals, too few or too many rows, all labels equal,
            or text that is neither a number nor one of two classes.
    """
    if not path.exists():
        raise InputError(
            f"data: {str(path)!r} is not there; give a file of crystals, or a table with a formula column."
        )
    cells, structures, formulas = _formulas(path) if is_formula_table(path) else _crystals(path)
    name = _column(cells, column, path)
    texts = [str(row.get(name) if row.get(name) is not None else "").strip() for row in cells]
    kept = [index for index, text in enumerate(texts) if text and text.lower() != "nan"]
    notes = []
    if len(kept) < len(texts):
        notes.append(f"{len(texts) - len(kept)} of {len(texts)} rows have no {name} and are left out.")
    _check_number(len(kept), name, path)
    labels, classes = _labels([texts[i] for i in kept], [i + 1 for i in kept], name, log10=log10)
    formulas = [formulas[i] for i in kept]
    groups = np.array([composition_key(formula) for formula in formulas])
    several = [(key, n) for key, n in Counter(groups.tolist()).items() if n > 1]
    if several:
        first = next(f for f, key in zip(formulas, groups.tolist(), strict=True) if key == several[0][0])
        notes.append(
            f"{len(several)} compositions occur more than once ({first} {several[0][1]} times); their rows "
            "are never on both sides of a split."
        )
    if len(set(groups.tolist())) < LEAST:
        msg = f"data: the {len(kept)} rows of {str(path)!r} hold {len(set(groups.tolist()))} compositions; "
        msg += f"at least {LEAST} different ones are needed."
        raise InputError(msg)
    chosen = [structures[i] for i in kept] if structures else None
    return Examples(name, unit, log10, labels, groups, classes, formulas, chosen, tuple(notes))


def _check_number(n: int, name: str, path: Path) -> None:
    if n < LEAST:
        raise InputError(
            f"data: {n} rows of {str(path)!r} have a {name}; at least {LEAST} are needed, better 20 to 100."
        )
    if n > MOST:
        msg = f"data: {n} rows of {str(path)!r} have a {name}; from {MOST} on train a model of its own by "
        msg += "a recipe (docs/guide/predict.md, A custom property)."
        raise InputError(msg)


def _crystals(path: Path) -> tuple[list[dict[str, Any]], list[Structure], list[str]]:
    """Cells, crystals and formulas of a file of crystals."""
    entries = list(read_entries(path))
    bad = [(row, entry) for row, entry in enumerate(entries, start=1) if isinstance(entry, Unreadable)]
    if bad:
        msg = f"data: {len(bad)} of {len(entries)} crystals cannot be read (rows "
        msg += f"{_numbers([row for row, _ in bad])}); the first: {bad[0][1].reason}"
        raise InputError(msg)
    read = [entry for entry in entries if not isinstance(entry, Unreadable)]
    structures = [entry.structure for entry in read]
    return [entry.columns for entry in read], structures, [s.composition.reduced_formula for s in structures]


def _formulas(path: Path) -> tuple[list[dict[str, Any]], list[Structure], list[str]]:
    """Cells and formulas of a table without crystals."""
    table = read_compositions(path)
    formulas = table.formulas
    wrong = [(row, formula) for row, formula in enumerate(formulas, start=1) if _fault(formula)]
    if wrong:
        msg = f"data: {len(wrong)} of {len(formulas)} formulas cannot be read (rows "
        msg += f"{_numbers([row for row, _ in wrong])}); the first: {_fault(wrong[0][1])}"
        raise InputError(msg)
    return table.cells, [], formulas


def _numbers(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:20])) + (", …" if len(rows) > 20 else "")


def _fault(formula: str) -> str:
    """Return what is wrong with a formula; nothing if it is one."""
    try:
        composition_key(formula)
    except InputError as error:
        return str(error)
    return ""


def _column(cells: Sequence[dict[str, Any]], column: str | None, path: Path) -> str:
    """Return the property's column."""
    own = {"cif", FILE_COLUMN, *FORMULA_COLUMNS, *ID_COLUMNS}
    there = [
        name
        for name in dict.fromkeys(name for row in cells for name in row)
        if name and name.lower() not in own
    ]
    if column is None and len(there) == 1:
        return there[0]
    if column in there:
        return column
    listed = ", ".join(there) or "none"
    if column is None:
        msg = f"property: {str(path)!r} has {len(there)} columns that may be meant ({listed}); "
        msg += "name one with --property."
    else:
        msg = f"property: {str(path)!r} has no column {column!r}; its columns are: {listed}."
    raise InputError(msg)


def _labels(
    texts: list[str], rows: list[int], name: str, *, log10: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n,) and, where there are two, the classes."""
    values, wrong = [], []
    for text, row in zip(texts, rows, strict=True):
        try:
            values.append(float(text))
        except ValueError:
            wrong.append((row, text))
    distinct = sorted(set(texts)) if wrong else [f"{value:.12g}" for value in sorted(set(values))]
    if len(distinct) == 1:
        msg = f"property: all {len(texts)} rows have the same {name} ({distinct[0]}); there is nothing to "
        raise InputError(msg + "learn.")
    if len(distinct) == 2:
        names = texts if wrong else [f"{value:.12g}" for value in values]
        return np.where(np.array(names) == distinct[1], 1.0, -1.0), tuple(distinct)
    if wrong:
        listed = ", ".join(f"{row} ({text!r})" for row, text in wrong[:5])
        msg = f"property: {name} is neither a number nor one of two classes in {len(wrong)} rows: {listed}; "
        raise InputError(msg + "correct them.")
    labels = np.array(values)
    bad = [
        row
        for row, value in zip(rows, values, strict=True)
        if not np.isfinite(value) or (log10 and value <= 0)
    ]
    if bad:
        kind = "positive" if log10 else "finite"
        msg = f"property: {name} is not {kind} in rows {', '.join(map(str, bad[:10]))}"
        raise InputError(f"{msg}; leave --log out or correct them." if log10 else f"{msg}; correct them.")
    return (np.log10(labels) if log10 else labels), ()


def features_of(examples: Examples, sees: str, model: str, progress: Progress) -> np.ndarray:
    """Feature rows (n, d) as a model that sees ``sees`` was trained on.

    Raises:
        InputError: the model sees structures and the examples have none.
    """
    if sees == "structure":
        if examples.structures is None:
            msg = f"from: {model!r} sees structures, and the data has formulas alone; give a cif column, "
            msg += "or a model of compositions such as formation-energy-composition."
            raise InputError(msg)
        from invdesign.predictors.features.structure import describe

        parts = []
        for start in range(0, len(examples.labels), 20):
            progress(start / len(examples.labels), f"describing crystals: {start} of {len(examples.labels)}")
            parts.append(describe(examples.structures[start : start + 20]).features)
        return np.concatenate(parts)
    if sees == "composition":
        return composition_rows(examples.formulas)
    if examples.structures is None:
        return composition_and_space_group_rows(examples.formulas, [None] * len(examples.formulas))
    from invdesign.predictors.features.structure import gene_or_general

    groups: list[int | None] = [gene_or_general(one).space_group for one in examples.structures]
    return composition_and_space_group_rows(examples.formulas, groups)
