"""Crystals from files: CIF, POSCAR, extended XYZ, tables with a ``cif`` column, ASE databases, folders."""

from __future__ import annotations

import csv
import gzip
import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.cif import UNREADABLE, checked, read_cif, write_cif
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["Record", "read_records", "read_structures", "write_cif"]

ID_COLUMNS = ("material_id", "id", "label", "name")
"""Columns of a table that name its rows, the first that is there."""


@dataclass(slots=True)
class Record:
    """One crystal of a file, with whatever else the file says of it."""

    label: str
    structure: Structure
    columns: dict[str, Any] = field(default_factory=dict)


def read_structures(path: str | Path) -> Iterator[tuple[str, Structure]]:
    """Crystals of a file or of a folder's files, as (label, structure), in order.

    Args:
        path: CIF (several blocks allowed), POSCAR or CONTCAR (also ``*.vasp``), extended XYZ, CSV with a
            ``cif`` column, each also gzipped, ASE database (``*.db``), or a folder of these.

    Raises:
        InputError: nothing there, an unknown kind of file, or one that does not hold ordered crystals.
    """
    for record in read_records(path):
        yield record.label, record.structure


def read_records(path: str | Path) -> Iterator[Record]:
    """As :func:`read_structures`, with the table's other columns or the frame's or row's key-value pairs."""
    path = Path(path)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _reader(file)]
        if not files:
            msg = f"{path}: the folder holds no structure files; {_KINDS}"
            raise InputError(msg)
        for file in files:
            yield from read_records(file)
        return
    if not path.is_file():
        msg = f"{path}: no such file or folder; give the path of structures."
        raise InputError(msg)
    reader = _reader(path)
    if reader is None:
        msg = f"{path}: not a kind of structure file known here; {_KINDS}"
        raise InputError(msg)
    try:
        yield from reader(path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read to its end ({error}); give the whole file."
        raise InputError(msg) from error


_KINDS = "give CIF, POSCAR, extxyz, CSV with a cif column or an ASE .db file, or a folder of these."


def _reader(path: Path) -> Callable[[Path], Iterator[Record]] | None:
    name = path.name.lower().removesuffix(".gz")
    suffix = Path(name).suffix
    if suffix in {".vasp", ".poscar"} or name.startswith(("poscar", "contcar")):
        return _poscar
    return {".cif": _cif, ".csv": _csv, ".xyz": _xyz, ".extxyz": _xyz, ".db": _database}.get(suffix)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0]


def _text(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as handle:
        return str(handle.read())


def _cif(path: Path) -> Iterator[Record]:
    blocks = list(read_cif(_text(path), str(path)))
    for name, structure in blocks:
        yield Record(_stem(path) if len(blocks) == 1 else f"{_stem(path)}:{name}", structure)


def _poscar(path: Path) -> Iterator[Record]:
    from pymatgen.io.vasp import Poscar

    try:
        poscar = Poscar.from_str(_text(path))
    except UNREADABLE as error:
        msg = f"{path}: not a POSCAR ({error}); give one with element symbols on its sixth line."
        raise InputError(msg) from error
    if not poscar.true_names:
        msg = f"{path}: the POSCAR does not name its elements; write their symbols on its sixth line."
        raise InputError(msg)
    yield Record(_stem(path), checked(poscar.structure, str(path)))


def _xyz(path: Path) -> Iterator[Record]:
    import ase.io
    from ase.io.extxyz import XYZError

    frames = ase.io.iread(path, index=":", format="extxyz")
    number = 0
    try:
        for number, atoms in enumerate(frames, start=1):
            yield _from_atoms(atoms, f"{_stem(path)}:{number}", f"{path}: frame {number}", dict(atoms.info))
    except (XYZError, *UNREADABLE) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path}: frame {number + 1} is not extended XYZ ({error}); give a complete file."
        raise InputError(msg) from error
    if number == 0:
        msg = f"{path}: the file has no frames; give extended XYZ with a Lattice."
        raise InputError(msg)


def _database(path: Path) -> Iterator[Record]:
    import ase.db

    try:
        rows = list(ase.db.connect(path, append=True).select())
    except (sqlite3.DatabaseError, *UNREADABLE) as error:
        msg = f"{path}: not an ASE database ({error}); give one that ase.db can open."
        raise InputError(msg) from error
    if not rows:
        msg = f"{path}: the database has no rows; give one with crystals."
        raise InputError(msg)
    for row in rows:
        columns = dict(row.key_value_pairs)
        label = str(next((columns[key] for key in ID_COLUMNS if key in columns), f"{_stem(path)}:{row.id}"))
        yield _from_atoms(row.toatoms(), label, f"{path}: row {row.id}", columns)


def _from_atoms(atoms: Atoms, label: str, where: str, columns: dict[str, Any]) -> Record:
    from pymatgen.core import Structure

    if atoms.cell.rank < 3:
        msg = f"{where} has no unit cell (Lattice); give a periodic crystal."
        raise InputError(msg)
    structure = Structure(
        atoms.cell.array, atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )
    return Record(label, checked(structure, where), columns)


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)  # a large crystal's CIF exceeds the 128 kB default
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as handle:
        table = csv.DictReader(handle)
        names = table.fieldnames or []
        if "cif" not in names:
            msg = f"{path}: no cif column among {', '.join(names) or 'no columns'}; give one named cif."
            raise InputError(msg)
        key = next((name for name in ID_COLUMNS if name in names), None)
        number = 0
        for number, row in enumerate(table, start=1):
            label = row[key] if key else f"{_stem(path)}-{number}"
            where = f"{path}: row {number} ({label})"
            structure = next(read_cif(row.pop("cif") or "", where))[1]
            yield Record(label, structure, row)
        if number == 0:
            msg = f"{path}: the table has no rows; give one crystal a row."
            raise InputError(msg)
