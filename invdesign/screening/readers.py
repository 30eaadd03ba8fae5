"""Formulas from text, CSV, Parquet or standard input, a block at a time, whatever the size of the source.

A line without a formula is a fault, reported with its number; reading continues. No text counts as
missing: ``NaN`` is sodium nitride.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from invdesign.composition.formula import FORMULA_COLUMNS
from invdesign.errors import InputError, no_such_file, quoted, shortened

if TYPE_CHECKING:
    import pyarrow as pa

STDIN = "-"
LONGEST_FORMULA = 1_000  # characters
_LONGEST_LINE = 1 << 18  # bytes that are kept of a line, twice what the csv module takes for one field
_CHUNK = 1 << 18
_MOST_BLANK = 1_000  # lines before a header
_UNREADABLE = {
    codecs.BOM_UTF16_LE: "text in UTF-16",
    codecs.BOM_UTF16_BE: "text in UTF-16",
    b"PK\x03\x04": "a zip or Excel file",
    b"BZh": "packed by bzip2",
    b"\xfd7zX": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
_PARQUET = b"PAR1"


@dataclass(slots=True)
class FormulaBlock:
    """Some formulas of a source, as they are written there.

    Attributes:
        lines: where each formula stands: its line, from 1; of a CSV row over several lines the first; of
            Parquet its row, from 1. Ascending.
        formulas: in the order of ``lines``.
        faults: by line, what is there instead of a formula.
        skipped: blank lines and, in text, comments.
    """

    lines: list[int] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    skipped: int = 0


_Row = tuple[int, str | None, str]
"""Line; formula, None where the line is skipped; fault."""


def read_formulas(source: str | Path, column: str | None = None, size: int = 8192) -> Iterator[FormulaBlock]:
    """Yield formulas block by block; where blocks end depends on the source and ``size`` alone.

    Text has one formula a line; blank lines and those that begin with ``#`` are skipped. CSV, with commas,
    semicolons or tabs, is what is called ``.csv`` or ``.tsv``, or begins with a line that names the column.
    Both may be gzipped. Memory stays flat: of endless lines the beginning is kept.

    Args:
        source: a file, or ``-`` for standard input (text, CSV, gzipped or not).
        column: that holds the formulas; the first of :data:`FORMULA_COLUMNS` if not given.
        size: formulas and faults of a block, the last one's fewer.

    Raises:
        InputError: no such file, one of another kind, or no such column.
    """
    name = str(source)
    with _opened(name) as stream:
        yield from _blocks(_rows(stream, name, column), size)


def given_formulas(formulas: Iterable[object], size: int = 8192) -> Iterator[FormulaBlock]:
    """Yield given formulas, block by block as those of a file; lines count from 1.

    Args:
        formulas: texts; anything else is a fault.
        size: formulas and faults of a block, the last one's fewer.
    """
    rows: Iterator[_Row] = (
        (line, formula.strip(), "")
        if isinstance(formula, str)
        else (line, "", f"no text: {repr(formula)[:40]}")
        for line, formula in enumerate(formulas, start=1)
    )
    yield from _blocks(rows, size)


def _blocks(rows: Iterator[_Row], size: int) -> Iterator[FormulaBlock]:
    block = FormulaBlock()
    for line, formula, fault in rows:
        if formula is None:
            block.skipped += 1
            continue
        if reason := fault or _fault(formula):
            block.faults[line] = reason
        else:
            block.lines.append(line)
            block.formulas.append(formula)
        if len(block.lines) + len(block.faults) == size:
            yield block
            block = FormulaBlock()
    if block.lines or block.faults or block.skipped:
        yield block


def _fault(formula: str) -> str:
    """Return what is unreadable in a formula's text; whether the rest is one is not looked at here."""
    if not formula:
        return "no formula"
    if len(formula) > LONGEST_FORMULA:
        return f"longer than {LONGEST_FORMULA} characters: {formula[:20]!r}…"
    if not formula.isprintable():  # bytes that are not UTF-8 among them
        return f"unprintable or not UTF-8: {formula[:40]!a}"
    return ""


def _opened(name: str) -> AbstractContextManager[IO[bytes]]:
    if name == STDIN:
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except FileNotFoundError as error:
        raise no_such_file(name, "text, CSV or Parquet with formulas") from error
    except OSError as error:
        raise InputError(
            f"{name}: cannot be opened ({error.strerror}); give text, CSV or Parquet with formulas."
        ) from error


def _rows(stream: IO[bytes], name: str, column: str | None) -> Iterator[_Row]:
    head = cast("io.BufferedReader", stream).peek(8)
    for mark, kind in _UNREADABLE.items():
        if head.startswith(mark):
            raise InputError(
                f"{name}: is {kind}; save it as text or CSV in UTF-8, plain or gzipped, or as Parquet."
            )
    suffixes = {suffix.lower() for suffix in Path(name).suffixes[-2:]}
    if head.startswith(_PARQUET) or suffixes & {".parquet", ".pq"}:
        if name == STDIN:
            raise InputError("standard input: Parquet is read from files alone; give the file's name.")
        return _of_parquet(name, column)
    if head.startswith(b"\x1f\x8b"):
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    lines = _Lines(stream)
    if suffixes & {".csv", ".tsv"} or column is not None or _names_formulas(lines):
        return _of_csv(lines, column, name)
    return _of_text(lines)


class _Lines:
    """Lines of a stream without their ends, of which those since :meth:`mark` can be read again.

    Attributes:
        number: of the line read last, from 1.
        cut: what broke the stream off in the line after that, if anything did.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.number = 0
        self.cut = ""
        self._texts = self._read(stream)
        self._again: deque[str] = deque()
        self._since: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = self._again.popleft() if self._again else next(self._texts)
        self.number += 1
        self._since.append(text)
        return text

    def mark(self) -> int:
        """Remember what is read from here; the number of the next line."""
        self._since.clear()
        return self.number + 1

    def rewind(self, keep: int) -> None:
        """Read all lines since the mark, but for the first ``keep``, once more."""
        again = self._since[keep:]
        self._again.extendleft(reversed(again))
        self.number -= len(again)
        self._since.clear()

    def rest(self) -> Iterator[str]:
        """All lines to come, which are not remembered."""
        return chain(self._again, self._texts)

    def _read(self, stream: IO[bytes]) -> Iterator[str]:
        read = cast("io.BufferedReader", stream).read1
        rest, first = b"", True
        try:
            while chunk := read(_CHUNK):
                block = rest + chunk
                if first:
                    block = block.removeprefix(codecs.BOM_UTF8)
                end = block.rfind(b"\n")
                rest, first = block[end + 1 :][:_LONGEST_LINE], first and not block
                if end >= 0:
                    # no byte of a longer character is a line end
                    yield from block[:end].decode("utf-8", "surrogateescape").split("\n")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.cut = f"the file is cut short or broken here, what follows is lost ({error})"
        else:
            if rest:
                yield rest.decode("utf-8", "surrogateescape")


def _of_text(lines: _Lines) -> Iterator[_Row]:
    number = 0
    for number, text in enumerate(lines.rest(), start=1):
        formula = text.strip()
        yield number, None if not formula or formula[0] == "#" else formula, ""
    if lines.cut:
        yield number + 1, "", lines.cut


def _header(lines: _Lines) -> tuple[str, str]:
    """Return the first line that is not blank, left to be read again, and what its fields are divided by."""
    lines.mark()
    header = next((text for text in islice(lines, _MOST_BLANK) if text.strip()), "")
    lines.rewind(keep=0)
    return header, max(",;\t", key=header.count)


def _names_formulas(lines: _Lines) -> bool:
    """Whether there is the header of a table of formulas."""
    header, delimiter = _header(lines)
    names = {name.strip(' "\r') for name in header.split(delimiter)}
    return not names.isdisjoint(FORMULA_COLUMNS)


def _of_csv(lines: _Lines, column: str | None, name: str) -> Iterator[_Row]:
    reader = csv.reader(lines, delimiter=_header(lines)[1], strict=True)
    place, width = -1, 0
    while True:
        line = lines.mark()
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            # a quote that is never closed takes in what follows: give that back
            lines.rewind(keep=1)
            yield line, "", f"not a CSV row: {error}"
            continue
        if not any(fields):
            yield line, None, ""
        elif not width:
            width = len(fields)
            place = _place([header.strip() for header in fields], column, name)
        elif len(fields) != width:
            yield line, "", f"{len(fields)} fields, where the header has {width}"
        else:
            yield line, fields[place].strip(), ""
    if lines.cut:
        yield lines.number + 1, "", lines.cut
    elif not width:
        _place([], column, name)


def _place(names: list[str], column: str | None, source: str) -> int:
    """Where the column of formulas is."""
    for wanted in FORMULA_COLUMNS if column is None else (column,):
        if names.count(wanted) > 1:
            raise InputError(f"{source}: two columns are named {wanted!r}; name one of them otherwise.")
        if wanted in names:
            return names.index(wanted)
    listed = ", ".join(name[:40] for name in names[:20]) or "none"
    raise InputError(
        f"{source}: no column {quoted(column or 'formula')} among ({listed}); name the column of formulas."
    )


def _of_parquet(source: str, column: str | None) -> Iterator[_Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # a row group may be as large as the file: it is read piece by piece
        file = pq.ParquetFile(source, buffer_size=_CHUNK, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{source}: cannot be read as Parquet ({shortened(str(error), 200)}); give the whole file."
        ) from error
    with file:
        schema = file.schema_arrow
        name = schema.names[_place(schema.names, column, source)]
        kind = schema.field(name).type
        text = kind.value_type if pa.types.is_dictionary(kind) else kind
        if text not in {pa.string(), pa.large_string(), pa.string_view()}:
            raise InputError(
                f"{source}: column {name!r} holds {kind}, not text; name the column of formulas."
            )
        number = 0
        try:
            for batch in file.iter_batches(batch_size=8192, columns=[name], use_threads=False):
                for formula in _texts(batch.column(0)):
                    number += 1
                    yield number, formula.strip() if formula else "", ""
        except (pa.ArrowException, OSError) as error:
            yield number + 1, "", f"the file is broken here, what follows is lost ({error})"


def _texts(column: pa.Array) -> list[str | None]:
    import pyarrow as pa

    data = column.cast(pa.large_binary()).to_pylist()
    return [value and value.decode("utf-8", "surrogateescape") for value in data]
