"""What every reader gives: one record per crystal, or why there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.soundness import checked
from invdesign.errors import InputError, quoted

if TYPE_CHECKING:
    from pymatgen.core import Structure

ID_COLUMNS = ("material_id", "id", "label", "name", "candidate", "index")
"""Columns of a table that name its rows, the first that is there."""
PERIODIC = (True, True, True)
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][-+]?\d{1,3})?")
UNREADABLE = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
)
"""What libraries raise on text that is not what it should be."""
_THINNEST = 1e-3  # volume of the cell divided by the product of its edges


@dataclass(slots=True)
class Record:
    """One crystal of a file, with whatever else the file says of it."""

    label: str
    structure: Structure
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One entry of a file that holds no ordered crystal, and why, as a sentence."""

    label: str
    reason: str


def entry(
    label: str, read: Callable[[], Structure], columns: dict[str, Any] | None = None
) -> Record | Unreadable:
    """Return the record of a crystal, or why ``read`` gives none."""
    try:
        return Record(label, read(), columns or {})
    except InputError as error:
        return Unreadable(label, str(error))


def stem(path: Path) -> str:
    """Return a file's name without its suffix and ``.gz``."""
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def label_of(columns: Mapping[str, Any], otherwise: str) -> str:
    """Return the name that the columns give their row."""
    return str(next((columns[key] for key in ID_COLUMNS if key in columns), otherwise))


def finite(text: str) -> float | None:
    """Return a number, also with Fortran's exponent (``1.0D+00``); None where the text is none."""
    if len(text) > 60 or not _NUMBER.fullmatch(text):
        return None
    value = float(text.replace("D", "e").replace("d", "e"))
    return value if math.isfinite(value) else None


def crystal(
    cell: ArrayLike,
    species: Sequence[Any],
    positions: ArrayLike,
    where: str,
    *,
    cartesian: bool,
    pbc: Sequence[bool] = PERIODIC,
) -> Structure:
    """Return an ordered crystal.

    Args:
        cell: vectors in rows, (3, 3), Å.
        species: symbol or atomic number of each atom, or a mapping of symbols to occupancies.
        positions: (n, 3), fractions of the cell, or Å where ``cartesian``.
        where: the file and its entry, for messages.
        cartesian: whether the positions are in Å.
        pbc: along which vectors the structure repeats.

    Raises:
        InputError: not periodic in three directions, no cell, numbers that are none, or no ordered crystal.
    """
    from pymatgen.core import Structure

    try:
        matrix = np.asarray(cell, dtype=float).reshape(3, 3)
        points = np.asarray(positions, dtype=float).reshape(-1, 3)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{where}: the cell or the positions are not rows of three numbers; give them in Å."
        ) from error
    if len(points) != len(species):
        raise InputError(
            f"{where}: {len(species)} elements for {len(points)} positions; give one element an atom."
        )
    edges = np.linalg.norm(matrix, axis=1)
    if not (np.isfinite(edges).all() and np.isfinite(points).all()):
        raise InputError(f"{where}: the cell or a position is not a finite number; give numbers in Å.")
    if not edges.all() and not matrix.any():
        raise InputError(f"{where} has no unit cell (Lattice); give a periodic crystal.")
    if not all(pbc):
        axes = ", ".join(axis for axis, repeats in zip("abc", pbc, strict=True) if repeats) or "no axis"
        raise InputError(
            f"{where}: is periodic along {axes} alone (pbc), a slab, wire or molecule; "
            "give a crystal, periodic along a, b and c."
        )
    if not edges.all() or abs(np.linalg.det(matrix / edges[:, None])) < _THINNEST:
        raise InputError(f"{where}: the unit cell has no volume; give three independent cell vectors in Å.")
    try:
        structure = Structure(
            matrix, [_symbol(one) for one in species], points, coords_are_cartesian=cartesian
        )
    except UNREADABLE as error:
        names = sorted({str(one) for one in species if str(one) not in SYMBOLS})
        raise InputError(
            f"{where}: {quoted(', '.join(names))} is no element; name each atom's element by its symbol."
        ) from error
    return checked(structure, where)


def _symbol(one: Any) -> Any:  # noqa: ANN401 - symbol, atomic number, or occupancies
    if isinstance(one, str | Mapping):
        return one
    if not 0 < int(one) < len(SYMBOLS):
        raise ValueError
    return SYMBOLS[int(one)]
