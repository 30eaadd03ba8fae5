"""What a screening writes, and reads again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from invdesign.errors import InputError
from invdesign.screening.run import _best
from invdesign.screening.writers import CsvFile, FaultsFile, ParquetFolder, empty_table, type_of

COLUMNS = ["formula", "verdict", "p_hit", "known", "toxic"]
ROWS = [
    {"formula": "NaCl", "verdict": "passed", "p_hit": 0.9, "known": "yes", "toxic": None},
    {"formula": "RbCaAsS4", "verdict": "passed", "p_hit": 0.7, "known": "no", "toxic": "As"},
    {"formula": "NaSrTlS3", "verdict": "passed", "p_hit": 0.8, "known": "hypothetical", "toxic": "Tl"},
    {"formula": "KYSnSe4", "verdict": "passed", "p_hit": None, "known": "no", "toxic": None},
    {"formula": "MgO2", "verdict": "charge balance", "p_hit": None, "known": None, "toxic": None},
]


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], type_of(name)) for name in COLUMNS})


@pytest.mark.parametrize("header", [True, False])
def test_a_csv_is_read_with_the_types_it_was_written_with(tmp_path: Path, header: bool) -> None:
    sink = CsvFile(tmp_path, COLUMNS, header=header)
    sink.rewind(0)
    # 4 MiB without any figure or toxic element, then some: types that are guessed would be wrong
    many = table([ROWS[4]] * 200_000)
    sink.append(many)
    sink.append(table(ROWS))
    found = pa.concat_tables(sink.blocks())
    assert found.schema == many.schema
    assert len(found) == 200_005
    assert found.slice(200_000).to_pylist() == ROWS


@pytest.mark.parametrize("kind", ["csv", "headless", "parquet"])
def test_the_best_passed_and_are_new_unless_known_ones_are_wanted(tmp_path: Path, kind: str) -> None:
    sink = ParquetFolder(tmp_path) if kind == "parquet" else CsvFile(tmp_path, COLUMNS, header=kind == "csv")
    sink.rewind(0)
    for start in (0, 2, 4):
        sink.append(table(ROWS[start : start + 2]))
    sink.append(table([ROWS[4] | {"p_hit": 0.95}]))
    assert _best(sink, 10, known=True) == [ROWS[0], ROWS[2], ROWS[1]]
    assert _best(sink, 1, known=True) == [ROWS[0]]
    assert _best(sink, 10, known=False) == [ROWS[2], ROWS[1]]


def test_a_header_without_rows(tmp_path: Path) -> None:
    sink = CsvFile(tmp_path, COLUMNS)
    sink.rewind(0)
    mark = sink.append(empty_table(COLUMNS))
    assert sink.path.read_text().replace('"', "").strip() == ",".join(COLUMNS)
    assert mark == sink.path.stat().st_size
    assert sum(map(len, sink.blocks())) == 0


def test_what_is_shorter_than_its_mark_is_refused(tmp_path: Path) -> None:
    for sink in (CsvFile(tmp_path, COLUMNS), FaultsFile(tmp_path)):
        sink.rewind(0)
        mark = sink.append(table(ROWS) if isinstance(sink, CsvFile) else {3: "no formula"})
        sink.path.write_bytes(sink.path.read_bytes()[:-3])
        with pytest.raises(InputError, match="lost rows"):
            sink.rewind(mark)
        sink.path.unlink()
        with pytest.raises(InputError, match="lost rows"):
            sink.rewind(mark)


def test_parts_that_are_missing_are_reported_and_empty_ones_not_written(tmp_path: Path) -> None:
    sink = ParquetFolder(tmp_path)
    sink.rewind(0)
    assert [sink.append(table(rows)) for rows in (ROWS[:1], [], ROWS[1:])] == [1, 1, 2]
    sink.rewind(1)
    assert len(list(sink.path.iterdir())) == 1
    with pytest.raises(InputError, match="lost rows"):
        sink.rewind(2)


def test_parts_of_shards_do_not_collide_and_sort(tmp_path: Path) -> None:
    names = []
    for shard in (1, 2, 11):
        sink = ParquetFolder(tmp_path / str(shard), shard)
        sink.path.parent.mkdir()
        sink.rewind(0)
        for row in ROWS:
            sink.append(table([row]))
        names += sorted(part.name for part in sink.path.iterdir())
    assert len(set(names)) == 15
    assert names == sorted(names)
