"""Crystals with properties, from any of the files that :mod:`invdesign.crystal.structure_files` reads."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.composition.formula import FORMULA_COLUMNS
from invdesign.crystal.structure_files import FILE_COLUMN, read_records

if TYPE_CHECKING:
    from pymatgen.core import Structure


_HEAD = 1 << 20  # characters


@dataclass(slots=True)
class Entry:
    """One crystal of a data set; properties by column name, in the columns' own units."""

    id: str
    structure: Structure
    properties: dict[str, float] = field(default_factory=dict)


def read_dataset(path: str | Path) -> Iterator[Entry]:
    """Entries of a CSV with a ``cif`` column, a CIF folder, extended XYZ or an ASE database, in order.

    Every column (frame or row value) that is a finite number becomes a property; an empty or missing one
    does not. About 2 000 entries a second from CIFs in pymatgen's P1 layout, 200 from others.

    Raises:
        InputError: as :func:`invdesign.crystal.structure_files.read_structures`.
    """
    for record in read_records(path):
        yield Entry(record.label, record.structure, numbers(record.columns))


def numbers(columns: dict[str, Any]) -> dict[str, float]:
    """Return the columns that are finite numbers (``NaN`` and ``InF`` are compounds)."""
    found = {}
    for name, value in columns.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found[name] = number
    return found


def is_formula_table(given: Any) -> bool:  # noqa: ANN401 - whatever a command takes
    """Whether an input is a CSV file with formulas and without crystals."""
    if not isinstance(given, str | Path):
        return False
    path = Path(given)
    if not path.is_file() or not path.name.lower().removesuffix(".gz").endswith(".csv"):
        return False
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
            head, first = handle.readline(_HEAD), handle.readline(_HEAD)
        names = {name.strip() for name in next(csv.reader([head]), [])}
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error):
        return False  # the reader of crystals says what is wrong
    crystals = FILE_COLUMN in names or "cif" in {name.lower() for name in names} or "data_" in first
    return bool(names & set(FORMULA_COLUMNS)) and not crystals
