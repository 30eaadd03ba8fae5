"""Crystals from files: CIF, POSCAR, extended XYZ, XSF, JSON, ASE's files, tables of CIFs, ZIPs, folders."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from invdesign.crystal.cif import cif_blocks, read_block, read_cif, write_cif
from invdesign.crystal.contacts import impossible_contact
from invdesign.crystal.readers.archive import read_archive
from invdesign.crystal.readers.ase_database import read_ase_database
from invdesign.crystal.readers.entry import ID_COLUMNS, Record, Unreadable
from invdesign.crystal.readers.entry import entry as _entry
from invdesign.crystal.readers.entry import stem as _stem
from invdesign.crystal.readers.extxyz import read_extxyz
from invdesign.crystal.readers.json_structures import read_json_structures
from invdesign.crystal.readers.poscar import read_poscar
from invdesign.crystal.readers.trajectory import read_trajectory
from invdesign.crystal.readers.xsf import read_xsf
from invdesign.errors import InputError, no_such_file, quoted, shortened

if TYPE_CHECKING:
    from pymatgen.core import Structure


__all__ = [
    "ID_COLUMNS",
    "Record",
    "Unreadable",
    "file_formula",
    "read_entries",
    "read_records",
    "read_structures",
    "write_cif",
]

MOST_UNPACKED, MOST_LINE = 1 << 29, 1 << 26
"""Characters of a gzipped file once it is unpacked, and of a line of a table."""
_GZIP = b"\x1f\x8b"
_SEPARATORS = ",;\t"
FILE_COLUMN = "cif_file"
"""Column of our own tables with the path of each row's CIF, from the table's folder."""
PROPOSALS, SHORTLIST, RELAXED = "proposals.extxyz", "shortlist.csv", "relaxed.csv"
"""Name all crystals of a folder that `generate`, `design` or `relax` wrote; its other files repeat them."""


def file_formula(formula: str) -> str:
    """Return a formula as file names have it, without brackets: ``KCd(AsO3)2`` is ``KCdAs2O6``."""
    from pymatgen.core import Composition

    amounts = Composition(formula).items()
    return "".join(f"{element.symbol}{n:g}" if n != 1 else element.symbol for element, n in amounts)


def read_structures(path: str | Path) -> Iterator[tuple[str, Structure]]:
    """Crystals of a file or of a folder's files, as (label, structure), in order.

    Args:
        path: CIF (several blocks allowed), POSCAR or CONTCAR (also ``*.vasp``), extended XYZ, XSF, JSON of
            pymatgen, ASE, OPTIMADE or our ``shortlist.json``, CSV with a column of CIFs or of their files
            (``cif_file``), each also gzipped, ASE database (``*.db``) or trajectory (``*.traj``), a ZIP of
            these, or a folder of these; of a folder that one of our commands wrote, its results alone, and
            JSON, trajectories and ZIPs only where a folder holds nothing else.

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


def read_entries(path: str | Path, *, overlaps: bool = False) -> Iterator[Record | Unreadable]:
    """Every entry for itself: CIF block, frame, row of a table, file of a folder.

    Args:
        path: as for :func:`read_structures`.
        overlaps: also give crystals with atoms closer than :data:`~invdesign.crystal.contacts.IMPOSSIBLE`.

    Raises:
        InputError: nothing there, an unknown kind of file, or one that breaks off.
    """
    path = Path(path)
    if path.is_dir():
        yield from _of_folder(path, overlaps=overlaps)
        return
    if not path.is_file():
        raise no_such_file(path, "the path of structures")
    reader = _reader(path)
    if reader is None:
        raise InputError(f"{path}: not a kind of structure file known here; {_KINDS}")
    try:
        for one in reader(path):
            yield one if overlaps or isinstance(one, Unreadable) else _apart(one, path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: cannot be read to its end ({error}); give the whole file.") from error


def _of_folder(folder: Path, *, overlaps: bool) -> Iterator[Record | Unreadable]:
    files = _files(folder)
    below = [] if files else [child for child in sorted(folder.iterdir()) if child.is_dir()]
    files = files or [file for child in below for file in _files(child)]
    if not files:
        where = f"the folder and the {len(below)} in it hold" if below else "the folder holds"
        raise InputError(f"{folder}: {where} no structure files; {_KINDS}")
    for file in files:
        mark = f"{file.parent.name}:" if below else ""
        try:
            for one in read_entries(file, overlaps=overlaps):
                yield replace(one, label=mark + one.label)
        except InputError as error:
            yield Unreadable(mark + file.name, str(error))


def _files(folder: Path) -> list[Path]:
    """Return the structure files of a folder: its results, if one of our commands wrote it."""
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and _reader(file) and not file.name.startswith("._")
    ]
    if results := [file for file in files if file.name in {PROPOSALS, SHORTLIST, RELAXED}]:
        return results
    return [file for file in files if _ending(file) not in _SECONDARY] or files


def _apart(record: Record, path: Path) -> Record | Unreadable:
    """Return the record, unless its atoms overlap."""
    contact = impossible_contact(record.structure)
    if contact is None:
        return record
    first, second, distance, least = contact
    return Unreadable(
        record.label,
        f"{path}: {shortened(record.label, 60)}: {first} and {second} are {distance:.2f} Å apart, and less "
        f"than {least:.2f} Å is no bond; give the cell in Å, each atom once, and no split sites.",
    )


_KINDS = (
    "give CIF, POSCAR, extxyz, XSF, JSON, CSV with a cif column, an ASE .db or .traj file, a ZIP or a folder "
    "of these."
)
_SECONDARY = {".json", ".traj", ".zip"}
"""Of a folder with other structure files, these hold how those came about, or the same once more."""

Reader = Callable[[Path], Iterator[Record | Unreadable]]


def _reader(path: Path) -> Reader | None:
    name = path.name.lower().removesuffix(".gz")
    suffix = _ending(path)
    if suffix in {".vasp", ".poscar", ".contcar"} or name.startswith(("poscar", "contcar")):
        return _text_reader(read_poscar)
    return {
        ".cif": _cif,
        ".mcif": _cif,
        ".csv": _csv,
        ".tsv": _csv,
        ".xyz": _text_reader(read_extxyz),
        ".extxyz": _text_reader(read_extxyz),
        ".xsf": _text_reader(read_xsf),
        ".axsf": _text_reader(read_xsf),
        ".json": _text_reader(read_json_structures),
        ".jsonl": _text_reader(_json_lines),
        ".ndjson": _text_reader(_json_lines),
        ".db": read_ase_database,
        ".traj": read_trajectory,
        ".zip": _archive,
    }.get(suffix)


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _text_reader(read: Callable[[str, Path], Iterator[Record | Unreadable]]) -> Reader:
    return lambda path: read(_text(path), path)


def _json_lines(text: str, path: Path) -> Iterator[Record | Unreadable]:
    return read_json_structures(f"[{','.join(filter(str.strip, text.splitlines()))}]", path)


def _archive(path: Path) -> Iterator[Record | Unreadable]:
    return read_archive(path, _reader, partial(read_entries, overlaps=True))


def _opened(path: Path) -> TextIO:
    """Open a file as text: UTF-8 or UTF-16 by its first bytes; what is not UTF-8 is read as Latin-1."""
    opener = gzip.open if _zipped(path) else open
    with opener(path, "rb") as handle:
        encoding = _encoding(handle.read(2))
    return opener(path, "rt", encoding=encoding, errors=_LATIN_1, newline="")


def _zipped(path: Path) -> bool:
    with path.open("rb") as handle:
        return path.suffix == ".gz" or handle.read(2) == _GZIP


def _encoding(head: bytes) -> str:
    if head in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return "utf-16"
    if len(head) == 2 and 0 in head:
        return "utf-16-be" if head[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError) or error.encoding != "utf-8":
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


_LATIN_1 = "invdesign.latin-1"
codecs.register_error(_LATIN_1, _as_latin_1)


def _text(path: Path) -> str:
    with _opened(path) as handle:
        text = handle.read(MOST_UNPACKED if _zipped(path) else -1)
        if handle.read(1):
            raise InputError(
                f"{path}: unpacks to more than {MOST_UNPACKED >> 20} MiB; give it unpacked, or in parts."
            )
    return text


def _lines(handle: TextIO, path: Path) -> Iterator[str]:
    while line := handle.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise InputError(f"{path}: a line is longer than {MOST_LINE >> 20} MiB; give one crystal a row.")
        yield line


def _cif(path: Path) -> Iterator[Record | Unreadable]:
    blocks = cif_blocks(_text(path), str(path))
    for name, block in blocks:
        label = _stem(path) if len(blocks) == 1 else f"{_stem(path)}:{name}"
        yield _entry(label, partial(read_block, block, str(path)))


def _csv(path: Path) -> Iterator[Record | Unreadable]:
    csv.field_size_limit(MOST_LINE)  # a large crystal's CIF exceeds the 128 kB default
    with _opened(path) as handle:
        lines = _lines(handle, path)
        head = next(lines, "")
        table = csv.DictReader(chain([head], lines), delimiter=max(_SEPARATORS, key=head.count))
        names = table.fieldnames or []
        if twice := next((name for name in {"cif", *ID_COLUMNS} if names.count(name) > 1), None):
            raise InputError(f"{path}: two columns are named {twice}; name one of them otherwise.")
        key = next((name for name in ID_COLUMNS if name in names), None)
        column, number = None, 0
        for number, row in enumerate(table, start=1):
            column = column or _cif_column(names, row)
            if column is None:
                break
            label = (row[key] or "") if key else f"{_stem(path)}-{number}"
            text = row.pop(column) or ""
            yield _entry(
                label,
                partial(_of_cell, text, column, path, f"{path}: row {number} ({shortened(label, 60)})"),
                row,
            )
        if column is None and (number or not {"cif", FILE_COLUMN} & set(names)):
            raise InputError(
                f"{path}: no cif column among {shortened(', '.join(names), 200) or 'no names'}; name one cif."
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
    if column == FILE_COLUMN or text.lower().endswith((".cif", ".cif.gz")):
        file = table.parent / text
        if not (text and file.is_file()):
            raise InputError(f"{where}: the file {quoted(text)} is not next to the table; give it.")
        text = _text(file)
    return next(read_cif(text, where))[1]
