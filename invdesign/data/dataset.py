"""Crystals with properties, from any of the files that :mod:`invdesign.crystal.structure_files` reads."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.composition.formula import FORMULA_COLUMNS
from invdesign.crystal.structure_files import read_records

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(slots=True)
class Entry:
    """One crystal of a data set; properties by column name, in the columns' own units."""

    id: str
    structure: Structure
    properties: dict[str, float] = field(default_factory=dict)


def read_dataset(path: str | Path, *, progress: bool = False) -> Iterator[Entry]:
    """Entries of a CSV with a ``cif`` column, a CIF folder, extended XYZ or an ASE database, in order.

    Every column (frame or row value) that is a finite number becomes a property; an empty or missing one
    does not. About 2 000 entries a second from CIFs in pymatgen's P1 layout, 200 from others.

    Args:
        path: the file or folder.
        progress: show a counting progress bar on stderr.

    Raises:
        InputError: as :func:`invdesign.crystal.structure_files.read_structures`.
    """
    records = read_records(path)
    if progress:
        from rich.console import Console
        from rich.progress import track

        records = iter(track(records, f"reading {path}", console=Console(stderr=True), transient=True))
    for record in records:
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


def holds_crystals(path: Path) -> bool:
    """Whether a file is anything but a table of formulas."""
    if ".csv" not in path.suffixes:
        return True
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as handle:
        names = next(csv.reader(handle), [])
    return not set(names) & set(FORMULA_COLUMNS) or bool({"cif", "cif_file"} & set(names))
