"""ASE's SQLite databases, read row by row without ASE: a broken row costs no other, nothing is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from invdesign.crystal.readers.entry import Record, Unreadable, crystal, entry, label_of, stem
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_ROWS = "SELECT id, numbers, positions, cell, pbc, key_value_pairs FROM systems ORDER BY id"


def read_ase_database(path: Path) -> Iterator[Record | Unreadable]:
    """Yield the rows of an ``ase.db`` file, with their key-value pairs.

    Raises:
        InputError: not such a database, or one without rows.
    """
    number = 0
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            connection.text_factory = bytes
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if (b"systems",) not in tables:
                raise InputError(f"{path}: not an ASE database (no table systems); give one of ase.db.")
            for row in connection.execute(_ROWS):
                number += 1
                yield _row(row, path)
    except sqlite3.Error as error:
        raise InputError(f"{path}: not an ASE database ({error}); give one that ase.db can open.") from error
    if number == 0:
        raise InputError(f"{path}: the database has no rows; give one with crystals.")


def _row(row: tuple[Any, ...], path: Path) -> Record | Unreadable:
    try:
        pairs = json.loads(row[5] or "{}")
    except (ValueError, TypeError, RecursionError):
        pairs = {}
    columns = pairs if isinstance(pairs, dict) else {}
    label = label_of(columns, f"{stem(path)}:{row[0]}")
    return entry(label, partial(_structure, row, f"{path}: row {row[0]}"), columns)


def _structure(row: tuple[Any, ...], where: str) -> Structure:
    _, numbers, positions, cell, pbc, _ = row
    try:
        matrix = np.frombuffer(cell, dtype="<f8") if cell else np.zeros(9)
        points = np.frombuffer(positions, dtype="<f8")
        elements = np.frombuffer(numbers, dtype="<i4").tolist()
        periodic = [bool(int(pbc) >> axis & 1) for axis in range(3)]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: its numbers, positions, cell or pbc are broken; write it again with ase.db."
        ) from error
    return crystal(matrix, elements, points, where, cartesian=True, pbc=periodic)
