"""Extended XYZ, frame by frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.crystal.readers.entry import UNREADABLE, Record, Unreadable, crystal, entry, label_of, stem
from invdesign.errors import InputError, quoted

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

_HEAVY = re.compile(r"^(\s*)[DT](?=\s)", re.MULTILINE)  # deuterium and tritium, which ASE does not know
_PROPERTIES = re.compile(r"""\bproperties\s*=\s*["']?([^\s"']+)""", re.IGNORECASE)
_DIGITS = 9


def read_extxyz(text: str, path: Path) -> Iterator[Record | Unreadable]:
    """Yield frame by frame; one whose number of atoms is no number ends the file, as none is found after it.

    Raises:
        InputError: no frames.
    """
    import ase.io
    from ase.io.extxyz import XYZError

    lines = text.splitlines(keepends=True)
    at = number = 0
    while at < len(lines):
        first = lines[at].strip()
        if not first:
            at += 1
            continue
        number += 1
        label, where = f"{stem(path)}:{number}", f"{path}: frame {number}"
        if not (first.isdecimal() and len(first) <= _DIGITS):
            yield Unreadable(
                label, f"{where} is not extended XYZ ({quoted(first)} is no number of atoms); give one there."
            )
            return
        frame = lines[at : at + 2 + int(first)]
        at += len(frame)
        behind = lines[at].strip() if at < len(lines) else ""
        if fault := _fault(frame, int(first), behind):
            yield Unreadable(label, f"{where} is not extended XYZ ({fault}); give a complete file.")
            if behind and not behind.isdecimal():
                return
            continue
        try:
            atoms = ase.io.read(StringIO(_HEAVY.sub(r"\1H", "".join(frame))), format="extxyz")
        except (XYZError, *UNREADABLE, AssertionError, RecursionError) as error:
            reason = quoted(" ".join(str(error).split()))
            yield Unreadable(label, f"{where} is not extended XYZ ({reason}); give a complete file.")
            continue
        columns = dict(atoms.info)
        yield entry(label_of(columns, label), partial(_structure, atoms, where), columns)
    if number == 0:
        raise InputError(f"{path}: the file has no frames; give extended XYZ with a Lattice.")


def _fault(frame: list[str], n: int, behind: str) -> str:
    """Return what ASE's reader runs on at or passes over: too few or too many lines, too few columns."""
    rows = frame[2:]
    if behind and not behind.isdecimal():
        return f"{n} atoms are announced, and {quoted(behind)} follows, which is no number of atoms"
    if len(rows) < n:
        return f"{n} atoms are announced, {len(rows)} follow"
    if n == 0:
        return "it has no atoms"
    found = _PROPERTIES.search(frame[1])
    counts = found[1].split(":")[2::3] if found else []
    if not all(count.isdecimal() and len(count) <= _DIGITS for count in counts):
        return "its Properties are not name:type:columns"
    announced, there = sum(map(int, counts)), len(rows[0].split())
    return f"{announced} columns are announced, {there} are there" if announced > there else ""


def _structure(atoms: Atoms, where: str) -> Structure:
    if named := next((name for name in atoms.info if name.lower() == "pbc"), None):
        raise InputError(f"{where}: {named} is not known, as it is pbc in extended XYZ; write it small.")
    return crystal(
        *(atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, where),
        cartesian=True,
        pbc=atoms.pbc.tolist(),
    )
