"""POSCAR and CONTCAR, as VASP 5 and later read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.crystal.readers.entry import Record, Unreadable, crystal, entry, finite, stem
from invdesign.errors import InputError, quoted

if TYPE_CHECKING:
    from pymatgen.core import Structure

_NAME = re.compile(r"([A-Z][a-z]?)(?:[_/]\S*)?")  # also as POTCAR names it: Fe_pv, Si/0123abcd
_COMMENT = re.compile(r"[!#].*")
_FLAGS = {"T", "F", ".TRUE.", ".FALSE."}


def read_poscar(text: str, path: Path) -> Iterator[Record | Unreadable]:
    """Yield the crystal of a POSCAR.

    Raises:
        InputError: not a POSCAR, or one without element symbols.
    """
    yield entry(stem(path), partial(_structure, text.splitlines(), str(path)))


def _structure(lines: list[str], where: str) -> Structure:
    if len(lines) < 8:
        raise InputError(f"{where}: not a POSCAR (only {len(lines)} lines); give one with element symbols.")
    vectors = np.array([_numbers(lines[i], 3, where, i + 1, "a cell vector") for i in range(2, 5)])
    cell, scale = _scaled(vectors, lines[1], where)
    names, counts, at = _composition(lines, where)
    selective = lines[at : at + 1] and lines[at].strip()[:1] in {"S", "s"}
    mode = at + bool(selective)
    word = lines[mode].split()[0] if mode < len(lines) and lines[mode].split() else ""
    if not word or finite(word) is not None:
        raise InputError(f"{where}: line {mode + 1} is {quoted(word)}; write Direct or Cartesian there.")
    cartesian = word[0] in "CcKk"
    rows = lines[mode + 1 : mode + 1 + sum(counts)]
    if len(rows) < sum(counts):
        raise InputError(
            f"{where}: line {at} counts {sum(counts)} atoms, but {len(rows)} positions follow; "
            "give the whole file."
        )
    behind = lines[mode + 1 + sum(counts) : mode + 2 + sum(counts)]  # an empty line, then velocities
    if behind and all(finite(word) is not None for word in behind[0].split()[:3] or ["x"]):
        raise InputError(
            f"{where}: line {at} counts {sum(counts)} atoms, but more positions follow; make both agree."
        )
    positions = np.array(
        [_numbers(row, 3, where, mode + 2 + i, "a position") for i, row in enumerate(rows)]
    ).reshape(-1, 3)
    labels = [_label(row) for row in rows]
    starts = np.cumsum([0, *counts[:-1]])
    names = names or [labels[start] for start in starts]  # VASP 4's layout: as the positions are labelled
    if not all(names):
        raise InputError(
            f"{where}: the POSCAR does not name its elements; write their symbols on its sixth line."
        )
    species = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    for i, (label, name) in enumerate(zip(labels, species, strict=True)):
        if label and label != name:
            raise InputError(
                f"{where}: line {mode + 2 + i} says {label}, but its place in the list makes it {name}; "
                "make both agree."
            )
    return crystal(cell, species, positions * (scale if cartesian else 1.0), where, cartesian=cartesian)


def _numbers(line: str, n: int, where: str, number: int, what: str) -> list[float]:
    """Return the first n numbers of a line; what follows them is a comment, as for VASP."""
    values = [finite(word) for word in line.split()[:n]]
    found = [value for value in values if value is not None]
    if len(found) < n:
        raise InputError(
            f"{where}: not a POSCAR (line {number} is {quoted(line.strip())}); "
            f"give {what} of {n} finite numbers there."
        )
    return found


def _scaled(vectors: np.ndarray, line: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell and what Cartesian positions are multiplied by: one factor, a volume, or three."""
    values = [finite(word) for word in _COMMENT.sub("", line).split()]
    factors = [value for value in takewhile(lambda value: value is not None, values) if value is not None]
    if len(factors) not in {1, 3} or not all(factors) or (len(factors) > 1 and min(factors) < 0):
        raise InputError(
            f"{where}: not a POSCAR (the second line is {quoted(line.strip())}); give one scale factor, "
            "a volume as a negative number, or three positive factors."
        )
    scale = np.array(factors)
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(np.linalg.det(vectors))
        if not volume:
            raise InputError(f"{where}: the unit cell has no volume; give three independent cell vectors.")
        scale = np.array([(-factors[0] / volume) ** (1 / 3)])
    return vectors * scale, scale


def _composition(lines: list[str], where: str) -> tuple[list[str], list[int], int]:
    """Return symbols (none in VASP 4's layout), counts, and the index of the line after them."""
    words = _COMMENT.sub("", lines[5]).split()
    if words and words[0].isdigit():
        return [], _counts(words, None, where, 6), 6
    matches = [_NAME.fullmatch(word) for word in words]
    names = [match[1] for match in matches if match]
    if not words or len(names) < len(words) or not all(n in {*ATOMIC_NUMBER, "D", "T"} for n in names):
        raise InputError(
            f"{where}: not a POSCAR (the sixth line is {quoted(lines[5].strip())}); "
            "write the element symbols there."
        )
    return names, _counts(_COMMENT.sub("", lines[6]).split(), len(names), where, 7), 7


def _counts(words: list[str], n: int | None, where: str, number: int) -> list[int]:
    whole = [int(word) for word in takewhile(lambda word: word.isdecimal() and len(word) < 10, words)]
    if not all(whole) or not whole or (n is not None and len(whole) != n):
        wanted = "a number of atoms" if n is None else f"{n} numbers of atoms, one for each symbol"
        raise InputError(f"{where}: line {number} is {quoted(' '.join(words))}; give {wanted} there.")
    return whole


def _label(row: str) -> str:
    """Return the element that a position is labelled with; empty where there is none."""
    words = _COMMENT.sub("", row).split()[3:]
    if len(words) >= 3 and {word.upper() for word in words[:3]} <= _FLAGS:
        words = words[3:]
    return words[0] if words and words[0] in {*ATOMIC_NUMBER, "D", "T"} else ""
