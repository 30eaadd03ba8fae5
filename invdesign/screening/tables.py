"""What a screening writes: rows as Arrow tables, into CSV or Parquet, a block at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.report import replaced
from invdesign.screening.judging import PASSED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from invdesign.screening.judging import Judged

DECIMALS = 4
_TEXT = ("given", "formula", "verdict", "charge", "states", "all_states", "known", "toxic")
_WHOLE = ("line",)


def table_of(judged: Judged, columns: list[str], beside: Mapping[str, Any], *, rejected: bool) -> pa.Table:
    """A row each for the compositions that passed, or for all.

    Args:
        judged: a batch.
        columns: beside those of ``beside``, formula and verdict; nulls where the batch knows nothing of one.
        beside: of all compositions, before the others: ``line`` and ``given``.
        rejected: also those that did not pass.
    """
    import pyarrow as pa

    rows = np.arange(len(judged.batch)) if rejected else np.flatnonzero(judged.verdict == PASSED)
    arrays = {name: [values[row] for row in rows.tolist()] for name, values in beside.items()}
    arrays["formula"] = judged.batch.take(rows).formulas()
    arrays["verdict"] = judged.verdict[rows].tolist()
    for name in columns:
        values = judged.columns.get(name)
        if values is None:
            arrays[name] = [None] * len(rows)
        elif name in _TEXT:
            arrays[name] = values[rows].tolist()
        else:
            figures = np.round(values[rows].astype(float), DECIMALS) + 0.0  # no -0
            arrays[name] = pa.array(figures, mask=np.isnan(figures))
    return pa.table({name: pa.array(values, type_of(name)) for name, values in arrays.items()})


def empty_table(columns: list[str]) -> pa.Table:
    """No rows."""
    import pyarrow as pa

    return pa.table({name: pa.array([], type_of(name)) for name in columns})


def type_of(name: str) -> pa.DataType:
    """Type of a column."""
    import pyarrow as pa

    if name in _TEXT:
        return pa.string()
    return pa.int64() if name in _WHOLE else pa.float64()


class CsvFile:
    """A growing CSV file; each block is on disk before the next begins."""

    name = "screened.csv"

    def __init__(self, folder: Path, *, header: bool) -> None:
        self.path, self._header = folder / self.name, header

    def rewind(self, mark: int) -> None:
        """Drop what was written after a mark, 0 for all."""
        with self.path.open("ab") as file:
            file.truncate(mark)

    def append(self, table: pa.Table) -> int:
        """Add rows; the mark after them."""
        import pyarrow.csv

        with self.path.open("ab") as file:
            header = self._header and file.tell() == 0
            options = pyarrow.csv.WriteOptions(include_header=header, quoting_style="needed")
            if header or len(table):  # of no rows at all pyarrow 26 writes zeros
                pyarrow.csv.write_csv(table.combine_chunks(), file, options)
            return file.tell()

    def blocks(self) -> Iterator[pa.Table]:
        """The rows, a block at a time."""
        import pyarrow.csv

        if not self.path.stat().st_size:
            return
        options = pyarrow.csv.ConvertOptions(column_types={"formula": type_of("formula")}, null_values=[""])
        with pyarrow.csv.open_csv(self.path, convert_options=options) as reader:
            for batch in reader:
                yield pyarrow.Table.from_batches([batch])


class ParquetFolder:
    """A folder of Parquet files, one a block, which pandas, pyarrow and DuckDB read as one table."""

    name = "screened.parquet"

    def __init__(self, folder: Path) -> None:
        self.path = folder / self.name

    def rewind(self, mark: int) -> None:
        """Drop the parts from a number on."""
        self.path.mkdir(exist_ok=True)
        for part in self.path.glob("part-*"):
            if int(part.name[5:13]) >= mark:
                part.unlink()

    def append(self, table: pa.Table) -> int:
        """Add rows; the number of parts there then are."""
        import pyarrow.parquet as pq

        number = len(list(self.path.glob("part-*.parquet")))
        with replaced(self.path / f"part-{number:08d}.parquet") as draft:
            pq.write_table(table, draft)
        return number + 1

    def blocks(self) -> Iterator[pa.Table]:
        """The rows, a block at a time."""
        import pyarrow.parquet as pq

        for part in sorted(self.path.glob("part-*.parquet")):
            yield pq.read_table(part)
