"""Compositions: formulas as whole-number amounts, a key that equal compounds share, tables of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import re
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.composition.spelling import (
    LONGEST_FORMULA,
    capitalised,
    plain_formula,
    report_another_meaning,
)
from invdesign.crystal.elements import ATOMIC_NUMBER, HEAVY_HYDROGEN, atomic_number
from invdesign.crystal.readers.entry import ID_COLUMNS
from invdesign.errors import InputError, no_such_file, quoted, shortened

if TYPE_CHECKING:
    from pymatgen.core import Composition


_TOKEN = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d+)?|\.\d+)?|([(\[{])|[)\]}](\d+(?:\.\d+)?|\.\d+)?")
_SIMPLE = re.compile(r"(?:(?:[A-CE-SU-Z][a-z]?|[DT][a-z])\d*)+")
MOST_AMOUNT = 1_000_000
"""Of one element in a formula."""
_MOST_DIGITS = 16
_MAX_DENOMINATOR = 100
FORMULA_COLUMNS = ("formula", "pretty_formula", "composition", "reduced_formula")
"""Columns of a table that hold its formulas, the first that is there."""


def formula_amounts(formula: str | float) -> dict[str, float]:
    """Amount of each element in a formula such as ``Ca3(PO4)2`` or ``Li0.5CoO2``, in order of mention.

    A :class:`~invdesign.errors.ReadAs` says how capitals are read that may be other elements (``HFO2``).

    Raises:
        InputError: not text, not a formula, an unknown element, or an amount of zero.
    """
    if not isinstance(formula, str):
        raise InputError(
            f"formula: {quoted(formula)} is no text; read tables with keep_default_na=False (sodium nitride)."
        )
    simple = len(formula) <= LONGEST_FORMULA and _SIMPLE.fullmatch(formula)
    text = formula if simple else plain_formula(formula)
    stack: list[dict[str, float]] = [{}]
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or (token[0][0] in ")]}" and len(stack) == 1):
            raise InputError(f"formula: {quoted(formula)} is not a formula at {_at(text[position:])}.")
        position = token.end()
        if token[1]:
            symbol = "H" if token[1] in HEAVY_HYDROGEN else token[1]
            if symbol not in ATOMIC_NUMBER:
                plain_formula(formula)  # may say more
                raise _unknown(symbol, formula)
            stack[-1][symbol] = stack[-1].get(symbol, 0.0) + _amount(token[2], formula)
        elif token[3]:
            stack.append({})
        else:
            for element, amount in stack.pop().items():
                stack[-1][element] = stack[-1].get(element, 0.0) + amount * _amount(token[4], formula)
    _check(stack[0] if len(stack) == 1 else {}, formula)
    return stack[0]


def _check(amounts: dict[str, float], formula: str) -> None:
    if not amounts or min(amounts.values()) <= 0:
        raise InputError(
            f"formula: {quoted(formula)} is empty, unclosed or has a zero amount; write it like Ca3(PO4)2."
        )
    if max(amounts.values()) > MOST_AMOUNT:
        raise _beyond(formula)
    if formula.isupper():
        report_another_meaning(formula)


def _amount(digits: str | None, formula: str) -> float:
    if digits and len(digits) > _MOST_DIGITS:
        raise _beyond(formula)
    return float(digits or 1)


def _beyond(formula: str) -> InputError:
    return InputError(
        f"formula: {quoted(formula)} has an amount beyond any sense; give at most {MOST_AMOUNT}."
    )


def _at(rest: str) -> str:
    """Return what is no formula, and what to write instead."""
    if not rest[0].isascii():
        name = unicodedata.name(rest[0], "a character without a name").lower()
        return f"{quoted(rest)}, which begins with {name}; write Latin letters, like Ca3(PO4)2"
    if rest[0].islower():
        return f"{quoted(rest)}; each symbol begins with a capital letter, like Ca3(PO4)2"
    return f"{quoted(rest)}; write it like Ca3(PO4)2"


def _unknown(symbol: str, formula: str) -> InputError:
    two = symbol[0], symbol[1:].upper()
    if len(symbol) == 1 and (meant := capitalised(formula)):
        instead = f"write {quoted(meant)}"
    elif {*two} <= ATOMIC_NUMBER.keys():
        instead = f"write {''.join(two)} for two elements"
    else:
        instead = "write Fe, say"
    return InputError(f"formula: {quoted(formula)}: {symbol} is no element up to Lr; {instead}.")


def reduced_amounts(composition: Composition | Mapping[str, float] | str) -> dict[str, int]:
    """Smallest whole-number amounts of a composition, by symbol, alphabetically; charges are dropped.

    Raises:
        InputError: an unknown element, no atoms, or amounts in no ratio of whole numbers up to 100.
    """
    amounts = _amounts(composition)
    if all(amount.is_integer() for amount in amounts.values()):
        counts = {element: int(amount) for element, amount in amounts.items()}
    else:
        counts = _whole(amounts)
    return _reduced(counts)


def truncated_amounts(composition: Composition | Mapping[str, float] | str) -> dict[str, int]:
    """As smact counts: the fraction of every amount is dropped, so that an element may have no atoms left.

    Raises:
        InputError: an unknown element, or less than one atom of each.
    """
    counts = {element: int(amount) for element, amount in _amounts(composition).items()}
    if not any(counts.values()):
        raise InputError(
            f"composition: {shortened(str(composition), 80)} has no whole atom of an element; keep fractions."
        )
    return _reduced(counts)


def _amounts(composition: Composition | Mapping[str, float] | str) -> dict[str, float]:
    if isinstance(composition, str | float):  # a float has lost its formula, and the message says so
        amounts = formula_amounts(composition)
    else:
        amounts = {}
        for element, amount in composition.items():
            symbol = str(getattr(element, "symbol", element))
            atomic_number(symbol)
            amounts[symbol] = amounts.get(symbol, 0.0) + float(amount)
    if not amounts or not all(0 < amount <= MOST_AMOUNT for amount in amounts.values()):
        raise InputError(
            f"composition: {shortened(str(composition), 80)} needs amounts above 0, up to {MOST_AMOUNT}."
        )
    return amounts


def _reduced(counts: dict[str, int]) -> dict[str, int]:
    divisor = math.gcd(*counts.values())
    return {element: counts[element] // divisor for element in sorted(counts)}


def _whole(amounts: dict[str, float]) -> dict[str, int]:
    parts = {
        element: Fraction(amount).limit_denominator(_MAX_DENOMINATOR) for element, amount in amounts.items()
    }
    off = [
        element for element, part in parts.items() if abs(part - amounts[element]) > 1e-3 * amounts[element]
    ]
    scale = reduce(math.lcm, (part.denominator for part in parts.values()))
    if off or scale > _MAX_DENOMINATOR:
        text = "".join(f"{element}{amount:g}" for element, amount in amounts.items())
        raise InputError(
            f"composition: {shortened(text, 80)} is in no ratio of small whole numbers; give Li0.5CoO2, say."
        )
    return {element: int(part * scale) for element, part in parts.items()}


def composition_key(composition: Composition | Mapping[str, float] | str) -> str:
    """Text that equal compounds share, whatever the order or multiple: ``Cl1Na1`` for Na2Cl2.

    Raises:
        InputError: as :func:`reduced_amounts`.
    """
    return "".join(f"{element}{amount}" for element, amount in reduced_amounts(composition).items())


def text_hash(text: str) -> int:
    """64-bit hash of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class CompositionTable:
    """Rows of a table of compositions.

    Attributes:
        labels: names of the rows (n); the formulas where no column names them.
        formulas: as they are written (n).
        columns: the numeric columns, (n,) each; a missing number is NaN.
        cells: all columns by row, as text.
    """

    labels: list[str]
    formulas: list[str]
    columns: dict[str, np.ndarray]
    cells: list[dict[str, str]]


def read_compositions(path: str | Path) -> CompositionTable:
    """Read a CSV (also gzipped) with a formula column.

    Raises:
        InputError: no such file, no formula column, no rows, or cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise no_such_file(path, "a CSV with a formula column")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
            table = csv.DictReader(handle)
            names = table.fieldnames or []
            rows = list(table)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: cannot be read to its end ({error}); give the whole file.") from error
    key = next((name for name in FORMULA_COLUMNS if name in names), None)
    if key is None or not rows:
        raise InputError(
            f"{path}: no rows with a formula column ({shortened(', '.join(names), 200)}); give one."
        )
    if names.count(key) > 1:
        raise InputError(f"{path}: two columns are named {key}; name one of them otherwise.")
    columns: dict[str, np.ndarray] = {}
    for name in names:
        if name not in (key, "cif"):
            try:
                columns[name] = np.array([float(row[name] or "nan") for row in rows])
            except (ValueError, TypeError):
                continue  # a column of text
    formulas = [row[key] for row in rows]
    label = next((name for name in ID_COLUMNS if name in names), key)
    return CompositionTable([row[label] or "" for row in rows], formulas, columns, rows)
