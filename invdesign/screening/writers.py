"""What a screening writes: rows as Arrow tables, into CSV or Parquet, a block at a time."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.screening.gates import ScreenedBatch

if TYPE_CHECKING:
    import pyarrow as pa

DECIMALS = 4
_TEXT = ("given", "formula", "verdict", "charge", "states", "all_states", "known", "toxic", "in_domain")
_WHOLE = ("line",)


def table_of(
    screened: ScreenedBatch, rows: NDArray[np.intp], columns: list[str], extra: Mapping[str, Any]
) -> pa.Table:
    """Return a row for each composition that is reported.

    Args:
        screened: a batch.
        rows: places in the batch of what is reported.
        columns: of the table; null where the batch lacks one.
        extra: of all compositions, before the others: ``line`` and ``given``.
    """
    import pyarrow as pa

    arrays = {name: [values[row] for row in rows.tolist()] for name, values in extra.items()}
    arrays["formula"] = screened.batch.take(rows).formulas()
    arrays["verdict"] = screened.verdict[rows].tolist()
    for name in columns:
        values = screened.columns.get(name)
        if name in arrays:
            continue
        if values is None:
            arrays[name] = [None] * len(rows)
        elif name in _TEXT:
            arrays[name] = values[rows].tolist()
        else:
            rounded = np.round(values[rows].astype(float), DECIMALS) + 0.0  # no -0
            arrays[name] = pa.array(rounded, mask=np.isnan(rounded))
    return pa.table({name: pa.array(values, type_of(name)) for name, values in arrays.items()})


def empty_table(columns: list[str]) -> pa.Table:
    """Return a table without rows."""
    import pyarrow as pa

    return pa.table({name: pa.array([], type_of(name)) for name in columns})


def type_of(name: str) -> pa.DataType:
    """Return the type of a column."""
    import pyarrow as pa

    if name in _TEXT:
        return pa.string()
    return pa.int64() if name in _WHOLE else pa.float64()


class CsvFile:
    """A growing CSV file; each block is on disk before the next begins.

    Args:
        folder: where it is.
        columns: in order.
        header: whether they stand on the first line.
    """

    name = "screened.csv"

    def __init__(self, folder: Path, columns: list[str], *, header: bool = True) -> None:
        self.path, self._columns, self._header = folder / self.name, columns, header

    def rewind(self, mark: int) -> None:
        """Drop what was written after a mark, 0 for all.

        Raises:
            InputError: the file ends before it.
        """
        cut(self.path, mark)
        if mark == 0 and self._header:
            self._write(empty_table(self._columns), header=True)

    def append(self, table: pa.Table) -> int:
        """Add rows; return the mark after them."""
        if len(table):  # of no rows at all pyarrow 26 writes zeros
            self._write(table.combine_chunks(), header=False)
        return self.path.stat().st_size

    def _write(self, table: pa.Table, *, header: bool) -> None:
        import pyarrow.csv

        with self.path.open("ab") as file:
            options = pyarrow.csv.WriteOptions(include_header=header, quoting_style="needed")
            pyarrow.csv.write_csv(table, file, options)
            to_disk(file)

    def blocks(self) -> Iterator[pa.Table]:
        """Yield the rows, a block at a time."""
        import pyarrow.csv

        if not self.path.stat().st_size:
            return
        types = {name: type_of(name) for name in self._columns}
        with pyarrow.csv.open_csv(
            self.path,
            read_options=pyarrow.csv.ReadOptions(column_names=None if self._header else self._columns),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True
            ),
        ) as reader:
            for batch in reader:
                yield pyarrow.Table.from_batches([batch])


class ParquetFolder:
    """A folder of Parquet files, one a block, which pandas, pyarrow and DuckDB read as one table.

    Args:
        folder: where it is.
        shard: whose parts these are, 1 if there is but one; parts of several sort by it.
    """

    name = "screened.parquet"

    def __init__(self, folder: Path, shard: int = 1) -> None:
        self.path, self._stem = folder / self.name, f"part-{shard:05d}-"
        self._parts = 0

    def rewind(self, mark: int) -> None:
        """Drop the parts from a number on.

        Raises:
            InputError: there are fewer.
        """
        self.path.mkdir(exist_ok=True)
        for part in self.path.glob("part-*"):
            if part.name >= self._part(mark).name:
                part.unlink()
        self._parts = len(list(self.path.glob("part-*")))
        if self._parts < mark:
            raise lost(self.path)

    def append(self, table: pa.Table) -> int:
        """Add rows; return the number of parts."""
        import pyarrow.parquet as pq

        if len(table):
            with atomic_write(self._part(self._parts)) as draft, draft.open("wb") as file:
                pq.write_table(table, file)
                to_disk(file)
            self._parts += 1
        return self._parts

    def blocks(self) -> Iterator[pa.Table]:
        """Yield the rows, a block at a time."""
        import pyarrow.parquet as pq

        for part in sorted(self.path.glob("part-*")):
            yield pq.read_table(part)

    def _part(self, number: int) -> Path:
        return self.path / f"{self._stem}{number:08d}.parquet"


class FaultsFile:
    """Lines that are not formulas, as CSV; without any there is no file."""

    name = "faults.csv"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.name
        self._mark = 0

    def rewind(self, mark: int) -> None:
        """Drop what was written after a mark, 0 for all.

        Raises:
            InputError: the file ends before it.
        """
        self._mark = mark
        if mark or self.path.exists():
            cut(self.path, mark)

    def append(self, faults: dict[int, str]) -> int:
        """Add faults by line; return the mark after them."""
        if faults:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerows([("line", "fault")] if self._mark == 0 else [])
                writer.writerows(sorted(faults.items()))
                to_disk(file)
                self._mark = file.tell()
        return self._mark


def cut(path: Path, mark: int) -> None:
    """Make a file end at a mark.

    Raises:
        InputError: it ends before that.
    """
    with path.open("ab") as file:
        if file.tell() < mark:
            raise lost(path)
        file.truncate(mark)


def to_disk(file: IO[Any]) -> None:
    """Flush to the disk: a journal must not list rows that are not there."""
    file.flush()
    os.fsync(file.fileno())


def lost(path: Path) -> InputError:
    """Return the error for rows that the journal lists and the file lacks."""
    return InputError(
        f"out: {str(path)!r} has lost rows (deleted, or the power failed); give another folder."
    )
