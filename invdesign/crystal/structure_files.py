"""Crystals from files: CIF, POSCAR, extended XYZ, tables with a ``cif`` column, ASE databases, folders."""

from __future__ import annotations

import csv
import gzip
import re
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from invdesign.crystal.cif import UNREADABLE, checked, cif_blocks, read_block, read_cif, write_cif
from invdesign.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


__all__ = [
    "Record",
    "Unreadable",
    "file_formula",
    "read_entries",
    "read_records",
    "read_structures",
    "write_cif",
]

ID_COLUMNS = ("material_id", "id", "label", "name", "candidate", "index")
"""Columns of a table that name its rows, the first that is there."""
FILE_COLUMN = "cif_file"
"""Column of our own tables with the path of each row's CIF, from the table's folder."""
PROPOSALS, SHORTLIST, RELAXED = "proposals.extxyz", "shortlist.csv", "relaxed.csv"
"""Name all crystals of a folder that `generate`, `design` or `relax` wrote; its other files repeat them."""

_HEAVY = re.compile(r"^(\s*)[DT](?=\s)", re.MULTILINE)  # deuterium and tritium, which ASE does not know


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


def file_formula(formula: str) -> str:
    """Return a formula as file names have it, without brackets: ``KCd(AsO3)2`` is ``KCdAs2O6``."""
    from pymatgen.core import Composition

    amounts = Composition(formula).items()
    return "".join(f"{element.symbol}{n:g}" if n != 1 else element.symbol for element, n in amounts)


def read_structures(path: str | Path) -> Iterator[tuple[str, Structure]]:
    """Crystals of a file or of a folder's files, as (label, structure), in order.

    Args:
        path: CIF (several blocks allowed), POSCAR or CONTCAR (also ``*.vasp``), extended XYZ, CSV with a
            column of CIFs or of their files (``cif_file``), each also gzipped, ASE database (``*.db``), or
            a folder of these; of a folder that one of our commands wrote, its results alone.

    Raises:
        InputError: nothing there, an unknown kind of file, or one that does not hold ordered crystals.
    """
    for record in read_records(path):
        yield record.label, record.structure


def read_records(path: str | Path) -> Iterator[Record]:
    """As :func:`read_structures`, with the table's other columns or the frame's or row's key-value pairs."""
    for entry in read_entries(path):
        if isinstance(entry, Unreadable):
            raise InputError(entry.reason)
        yield entry


def read_entries(path: str | Path) -> Iterator[Record | Unreadable]:
    """Every entry for itself: CIF block, frame, row of a table, file of a folder.

    Raises:
        InputError: nothing there, an unknown kind of file, or one that breaks off.
    """
    path = Path(path)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _reader(file)]
        if results := [file for file in files if file.name in {PROPOSALS, SHORTLIST, RELAXED}]:
            files = results
        if not files:
            raise InputError(f"{path}: the folder holds no structure files; {_KINDS}")
        for file in files:
            try:
                yield from read_entries(file)
            except InputError as error:
                yield Unreadable(file.name, str(error))
        return
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; give the path of structures.")
    reader = _reader(path)
    if reader is None:
        raise InputError(f"{path}: not a kind of structure file known here; {_KINDS}")
    try:
        yield from reader(path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read to its end ({error}); give the whole file.") from error


_KINDS = "give CIF, POSCAR, extxyz, CSV with a cif column or an ASE .db file, or a folder of these."


def _reader(path: Path) -> Callable[[Path], Iterator[Record | Unreadable]] | None:
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in {".vasp", ".poscar"} or name.startswith(("poscar", "contcar")):
        return _poscar
    return {".cif": _cif, ".csv": _csv, ".xyz": _xyz, ".extxyz": _xyz, ".db": _database}.get(suffix)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _opened(path: Path) -> TextIO:
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _text(path: Path) -> str:
    with _opened(path) as handle:
        return handle.read()


def _entry(
    label: str, read: Callable[[], Structure], columns: dict[str, Any] | None = None
) -> Record | Unreadable:
    try:
        return Record(label, read(), columns or {})
    except InputError as error:
        return Unreadable(label, str(error))


def _cif(path: Path) -> Iterator[Record | Unreadable]:
    blocks = cif_blocks(_text(path), str(path))
    for name, block in blocks:
        label = _stem(path) if len(blocks) == 1 else f"{_stem(path)}:{name}"
        yield _entry(label, partial(read_block, block, str(path)))


def _poscar(path: Path) -> Iterator[Record | Unreadable]:
    from pymatgen.io.vasp import Poscar

    try:
        poscar = Poscar.from_str(_text(path))
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not a POSCAR ({error}); give one with element symbols on its sixth line."
        ) from error
    if not poscar.true_names:
        raise InputError(
            f"{path}: the POSCAR does not name its elements; write their symbols on its sixth line."
        )
    yield _entry(_stem(path), partial(checked, poscar.structure, str(path)))


def _xyz(path: Path) -> Iterator[Record | Unreadable]:
    """Frame by frame; one whose number of atoms is no number ends the file, as none can be found after it."""
    import ase.io
    from ase.io.extxyz import XYZError

    lines = iter(_text(path).splitlines(keepends=True))
    number = 0
    for number, first in enumerate((line for line in lines if line.strip()), start=1):
        label, where = f"{_stem(path)}:{number}", f"{path}: frame {number}"
        try:
            frame = [first, *islice(lines, 1 + int(first))]
            atoms = ase.io.read(StringIO(_HEAVY.sub(r"\1H", "".join(frame))), format="extxyz")
        except (XYZError, *UNREADABLE) as error:
            yield Unreadable(label, f"{where} is not extended XYZ ({error}); give a complete file.")
            if not first.strip().isdigit():
                return
            continue
        label = str(next((atoms.info[key] for key in ID_COLUMNS if key in atoms.info), label))
        yield _entry(label, partial(_structure_of, atoms, where), dict(atoms.info))
    if number == 0:
        raise InputError(f"{path}: the file has no frames; give extended XYZ with a Lattice.")


def _database(path: Path) -> Iterator[Record | Unreadable]:
    import ase.db

    try:
        rows = list(ase.db.connect(path, append=True).select())
    except (sqlite3.DatabaseError, *UNREADABLE) as error:
        raise InputError(f"{path}: not an ASE database ({error}); give one that ase.db can open.") from error
    if not rows:
        raise InputError(f"{path}: the database has no rows; give one with crystals.")
    for row in rows:
        columns = dict(row.key_value_pairs)
        label = str(next((columns[key] for key in ID_COLUMNS if key in columns), f"{_stem(path)}:{row.id}"))
        yield _entry(label, partial(_structure_of, row.toatoms(), f"{path}: row {row.id}"), columns)


def _structure_of(atoms: Atoms, where: str) -> Structure:
    from pymatgen.core import Structure

    if atoms.cell.rank < 3:
        raise InputError(f"{where} has no unit cell (Lattice); give a periodic crystal.")
    structure = Structure(
        atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )
    return checked(structure, where)


def _csv(path: Path) -> Iterator[Record | Unreadable]:
    csv.field_size_limit(sys.maxsize)  # a large crystal's CIF exceeds the 128 kB default
    with _opened(path) as handle:
        table = csv.DictReader(handle)
        names = table.fieldnames or []
        key = next((name for name in ID_COLUMNS if name in names), None)
        column, number = None, 0
        for number, row in enumerate(table, start=1):
            column = column or _cif_column(names, row)
            if column is None:
                break
            label = row[key] if key else f"{_stem(path)}-{number}"
            text = row.pop(column) or ""
            yield _entry(label, partial(_of_cell, text, column, path, f"{path}: row {number} ({label})"), row)
        if column is None and (number or not {"cif", FILE_COLUMN} & set(names)):
            raise InputError(
                f"{path}: no cif column among {', '.join(names) or 'no columns'}; give one named cif."
            )
        if number == 0:
            raise InputError(f"{path}: the table has no rows; give one crystal a row.")


def _cif_column(names: Sequence[str], row: Mapping[str, str | None]) -> str | None:
    """Return the column named cif, else the one that holds CIFs, else the one with names of CIF files."""
    named = [name for name in names if name.lower() == "cif"]
    holding = [name for name in names if "_cell_length_a" in (row[name] or "")]
    return next(iter([*named, *holding, *({FILE_COLUMN} & set(names))]), None)


def _of_cell(text: str, column: str, table: Path, where: str) -> Structure:
    """Return the crystal of one cell of a table, or of the file that it names."""
    if column == FILE_COLUMN:
        file = table.parent / text
        if not (text and file.is_file()):
            raise InputError(f"{where}: the file {text!r} is not next to the table; give it.")
        text = _text(file)
    return next(read_cif(text, where))[1]
