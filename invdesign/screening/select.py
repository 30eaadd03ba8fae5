"""Select the likeliest formulas of a screening, table or list that a target admits, for structures."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import FORMULA_COLUMNS
from invdesign.core.properties import models_from_composition
from invdesign.core.target import MAX_ATOMS, Target
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError
from invdesign.filters.novelty import Wanted
from invdesign.screening.config import ScreenConfig
from invdesign.screening.gates import PASSED, screen_batch
from invdesign.screening.readers import read_formulas
from invdesign.screening.run import JOURNAL
from invdesign.screening.writers import CsvFile, ParquetFolder

if TYPE_CHECKING:
    import pyarrow as pa

FURTHER = 20
_BLOCK = 1 << 16  # rows
_LONGEST_HEADER = 1 << 16  # bytes
_RESULTS = ("verdict", "p_hit")
_REASONS = {
    "target": "elements or supply outside the target",
    "charge balance": "charges do not balance",
}


@dataclass(frozen=True, slots=True)
class SelectedFormulas:
    """The selected formulas.

    Attributes:
        formulas: likeliest first; without likelihoods in their order.
        rows: that were read.
        left_out: how many of these were rejected, by reason.
    """

    formulas: list[str]
    rows: int
    left_out: Counter[str]


class _Block(NamedTuple):
    """Formulas (n) with whether they passed and how likely they are hits, (n,); nan: not estimated."""

    formulas: list[str]
    passed: np.ndarray
    p_hit: np.ndarray
    faults: int = 0


def select_likeliest(
    path: str | Path,
    target: Target,
    n: int,
    *,
    elements: frozenset[str],
    known: str = "known-materials",
    novelty: Wanted = "new",
) -> SelectedFormulas:
    """Return the ``n`` likeliest hits of a screening, or the first ``n`` usable formulas of a list.

    Where the target has windows, ``FURTHER`` times as many are evaluated again by them: the screening may
    have had another target. Rejected are formulas that did not pass, are not as new as asked for, lie outside
    the target, or have no neutral charges or too many atoms. Any number of rows, in flat memory.

    Args:
        path: a screening's folder, its table, or any CSV, Parquet or text with formulas.
        target: elements, supply and atoms in the primitive cell, windows.
        n: most formulas.
        elements: that can be relaxed.
        known: index of the known materials.
        novelty: compositions that are new, any, or known.

    Raises:
        InputError: there is no such file, it holds no formulas, or cannot be read.
    """
    of_structures: dict[str, Any] = {
        "windows": {},
        "space_groups": None,
        "n_atoms": (1, MAX_ATOMS),
        "dimensionality": (0, 3),
    }
    config = ScreenConfig(
        target=target.model_copy(update=of_structures),
        excluded=target.excluded | (frozenset(SYMBOLS[1:]) - elements),
        novelty=novelty,
        estimates=False,
        states="none",
        known=known,
    )
    models = models_from_composition()
    windows = {name: window for name, window in target.windows.items() if name in models}
    most = n * FURTHER if windows else n
    best: dict[str, tuple[float, int]] = {}  # rank, then place
    rows, places, left_out = 0, count(), Counter[str]()
    for block in _blocks(Path(path)):
        rows += len(block.formulas) + block.faults
        batch, chances = _admitted(block, config, target.n_atoms, left_out)
        ranks = np.where(np.isnan(chances), np.inf, -chances).tolist()
        for formula, rank, place in zip(batch.formulas(), ranks, places, strict=False):
            best[formula] = min(best.get(formula, (rank, place)), (rank, place))
        best = dict(nsmallest(most, best.items(), key=lambda one: one[1]))
    formulas = list(best)
    if windows and formulas:
        asked = config.target.model_copy(update={"windows": windows})
        screened = screen_batch(
            CompositionBatch.of(formulas)[0],
            config.model_copy(update={"target": asked, "estimates": True, "min_probability": 0.0}),
        )
        order = np.argsort(-screened.columns["p_hit"], kind="stable")[:n]
        formulas = [formulas[row] for row in order.tolist()]
    return SelectedFormulas(formulas, rows, +left_out)


def _admitted(
    block: _Block, config: ScreenConfig, n_atoms: tuple[int, int], left_out: Counter[str]
) -> tuple[CompositionBatch, np.ndarray]:
    """Return the compositions of a block that can be taken on, and their chances; the others are counted."""
    left_out["did not pass"] += int((~block.passed).sum())
    given = [block.formulas[row] for row in np.flatnonzero(block.passed).tolist()]
    batch, wrong = CompositionBatch.of(given)
    left_out["no formula"] += block.faults + len(wrong)
    chances = np.delete(block.p_hit[block.passed], list(wrong))
    verdicts = screen_batch(batch, config).verdict
    reasons = {**_REASONS, "novelty": "not known" if config.novelty == "known" else "known"}
    for gate, reason in reasons.items():
        left_out[reason] += int((verdicts == gate).sum())
    fewest, most = n_atoms
    units = batch.amounts.sum(axis=1)
    fits = most // units * units >= fewest
    left_out[f"no multiple within {fewest} to {most} atoms"] += int((~fits & (verdicts == PASSED)).sum())
    left = np.flatnonzero(fits & (verdicts == PASSED))
    return batch.take(left), chances[left]


def _blocks(path: Path) -> Iterator[_Block]:
    """Yield the rows of whatever the path leads to, a block at a time."""
    inside = (path / ParquetFolder.name, path / CsvFile.name)
    path = next((one for one in inside if one.exists()), path)
    if path.is_dir() and not (parts := sorted(path.glob("*.parquet"))):
        raise InputError(
            f"from: {str(path)!r} is no screening's folder; give one, or a table or list of formulas."
        )
    if path.is_dir() or path.suffix in {".parquet", ".pq"}:
        for part in parts if path.is_dir() else [path]:
            yield from map(_block, _reporting_errors(_of_parquet(part), part))
    elif path.is_file() and not set(_RESULTS).isdisjoint(_columns_of_shard(path) or _header(path)[0]):
        yield from map(_block, _reporting_errors(_of_csv(path), path))
    else:
        for found in read_formulas(path):
            n = len(found.formulas)
            yield _Block(found.formulas, np.ones(n, bool), np.full(n, np.nan), len(found.faults))


def _block(rows: pa.RecordBatch) -> _Block:
    """Return a piece of a table; every column but the formulas' may be missing."""
    import pyarrow as pa

    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    name = next(name for name in FORMULA_COLUMNS if name in columns)
    formulas = [text or "" for text in columns[name].cast(pa.string()).to_pylist()]
    passed, p_hit = np.ones(len(rows), bool), np.full(len(rows), np.nan)
    if "verdict" in columns:
        passed = np.array(columns["verdict"].cast(pa.string()).to_pylist(), dtype=object) == PASSED
    if "p_hit" in columns:
        p_hit = columns["p_hit"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return _Block(formulas, passed, p_hit)


def _reporting_errors(batches: Iterator[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """Yield batches; raise an error of the file as one sentence."""
    import pyarrow as pa

    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"from: {str(path)!r} cannot be read ({error}); give the whole table, p_hit in numbers."
        ) from error


def _of_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = _columns(file.schema_arrow.names, path)
        yield from file.iter_batches(_BLOCK, columns=columns)


def _of_csv(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv

    names, delimiter = _header(path)
    shard = _columns_of_shard(path)  # which has no header
    columns = _columns(shard or names, path)
    types = {name: pa.float64() if name == "p_hit" else pa.string() for name in columns}
    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(column_names=shard),
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(column_types=types, include_columns=columns, null_values=[""]),
    ) as reader:
        yield from reader


def _columns_of_shard(path: Path) -> list[str] | None:
    """Columns of a screening's shard after the first; None of anything else."""
    journal = path.parent / JOURNAL
    if path.name != CsvFile.name or not journal.is_file():
        return None
    with journal.open(encoding="utf-8") as file:
        head = json.loads(file.readline())["screening"]
    return None if head["header"] else list(head["columns"])


def _header(path: Path) -> tuple[list[str], str]:
    """Return the fields of a text's first line, and what they are divided by."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            line = file.readline(_LONGEST_HEADER).decode("utf-8-sig", "replace")
    except (OSError, EOFError) as error:
        raise InputError(
            f"from: {str(path)!r} cannot be read ({error}); give a table or list of formulas."
        ) from error
    delimiter = max(",;\t", key=line.count)
    return [name.strip(' "\r\n') for name in line.split(delimiter)], delimiter


def _columns(names: Sequence[str], path: Path) -> list[str]:
    """Those of a table that are read."""
    formula = next((name for name in FORMULA_COLUMNS if name in names), None)
    if formula is None:
        raise InputError(f"from: {str(path)!r} has no column of formulas; name one formula.")
    return [formula, *(name for name in _RESULTS if name in names)]
