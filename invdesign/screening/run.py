"""Run a screening: streamed, in several processes, resumable at every unit."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from invdesign.composition.oxidation_states import ChargeRules, oxidation_tables
from invdesign.core.properties import STABILITY
from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import forkserver_pool, one_thread, usable_cores
from invdesign.io.progress import Progress, no_progress
from invdesign.io.provenance import write_run_json
from invdesign.io.tables import write_csv
from invdesign.screening.config import ScreenConfig
from invdesign.screening.gates import GATES, PASSED, put_states, screen_batch
from invdesign.screening.work_units import BATCH, Unit
from invdesign.screening.writers import CsvFile, FaultsFile, ParquetFolder, empty_table, table_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

JOURNAL = "units.jsonl"
MODEL = ("config.json", "model.safetensors")
BEST = "best.csv"
FAULTS_SHOWN = 10
# one thread a process; large arrays go back to the system when they are freed (glibc would soon keep them)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 20),
}


class Formulas(Protocol):
    """A source of formulas."""

    extra: tuple[str, ...]
    shard: tuple[int, int] | None

    def identity(self) -> dict[str, Any]:
        """Return what identifies it, as JSON."""
        ...

    @property
    def total(self) -> int | None:
        """Return about how many formulas there are; None where this is unknown before they are read."""
        ...

    def units(self) -> Iterator[Unit]:
        """Yield the units in order."""
        ...


@dataclass(slots=True)
class Tally:
    """Number of formulas that reached and passed each gate, and the cost.

    Attributes:
        entered: by gate.
        passed: by gate.
        seconds: core seconds by gate.
        faults: lines without a formula.
        repeats: repeated formulas.
        skipped: blank lines and comments.
        rows: written.
        deduplication_incomplete: too many different formulas to remember, so that some repeats count as new.
        fault_lines: the first faults, by line.
    """

    entered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GATES, 0))
    passed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GATES, 0))
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GATES, 0.0))
    faults: int = 0
    repeats: int = 0
    skipped: int = 0
    rows: int = 0
    deduplication_incomplete: bool = False
    fault_lines: dict[int, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for gate in GATES:
            self.entered[gate] += other.entered[gate]
            self.passed[gate] += other.passed[gate]
            self.seconds[gate] += other.seconds[gate]
        self.faults += other.faults
        self.repeats += other.repeats
        self.skipped += other.skipped
        self.rows += other.rows
        self.deduplication_incomplete |= other.deduplication_incomplete
        self.fault_lines = dict([*self.fault_lines.items(), *other.fault_lines.items()][:FAULTS_SHOWN])

    def reset(self) -> None:
        """Set all counts to zero."""
        for name, value in asdict(Tally()).items():
            setattr(self, name, value)

    def as_json(self) -> dict[str, Any]:
        """Return counts and seconds."""
        return {name: value for name, value in asdict(self).items() if name != "fault_lines"}

    @property
    def formulas(self) -> int:
        """Return the number of different formulas."""
        return next(iter(self.entered.values()))

    @property
    def read(self) -> int:
        """Return the number of entries read, faults and blank lines included."""
        return self.formulas + self.faults + self.repeats + self.skipped


@dataclass(frozen=True, slots=True)
class _Task:
    unit: Unit
    config: ScreenConfig
    columns: list[str]
    rejected: bool


def columns_of(formulas: Formulas, config: ScreenConfig) -> list[str]:
    """Return the columns of the rows, in order, without loading a model.

    Raises:
        InputError: a model is missing.
    """
    columns = [*formulas.extra, "formula", "verdict"]
    if config.estimates:
        find("models", config.stability, needs=MODEL)
        columns += ["p_hit", *_interval(STABILITY), "p_stable", "p_exists"]
        for name, model in config.estimated.items():
            zero = _has_zero(model, name)
            columns += [*_interval(name), *([f"{name}_p_zero"] if zero else [])]
        columns += ["in_domain"]
    if config.rules is not None:
        columns += ["charge"]
        share = "state_likelihood" if config.rules == "likeliest" else "rarest_state_share"
        columns += ["states", share] if config.states != "none" else []
        columns += ["all_states"] if config.states == "all" else []
    return [*columns, "known", "hhi_production", "hhi_reserves", "abundance", "toxic"]


def _has_zero(model: str, name: str) -> bool:
    """Whether a model predicts the probability that a property is exactly zero.

    Raises:
        InputError: it is missing or does not predict the property.
    """
    config = find("models", model, needs=MODEL) / MODEL[0]
    try:
        return bool(json.loads(config.read_text(encoding="utf-8"))["about"]["properties"][name]["zero"])
    except (ValueError, KeyError) as error:
        raise InputError(
            f"predictors: {str(config)!r} describes no model of {name}; give the folder of one."
        ) from error


def _interval(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def tables(
    units: Iterable[Unit],
    columns: list[str],
    config: ScreenConfig,
    *,
    rejected: bool,
    workers: int | None = None,
) -> Iterator[tuple[Unit, pa.Table, Tally]]:
    """Yield every unit with its rows and counts, in order; only a few units are in memory.

    Args:
        units: of formulas.
        columns: of the rows.
        config: gates and models.
        rejected: rows of rejected compositions, too.
        workers: processes; default: one per core.
    """
    tasks = (_Task(unit, config, columns, rejected) for unit in units)
    workers = workers or usable_cores()
    if workers == 1:
        for task in tasks:
            yield task.unit, *_screened(task)
        return
    environment = ENVIRONMENT | ({"INVDESIGN_PRELOAD_MODELS": "1"} if config.estimates else {})
    with forkserver_pool(workers, "invdesign.screening.preload", environment) as pool:
        waiting: deque[Any] = deque()
        try:
            for task in tasks:
                waiting.append((task.unit, pool.submit(_screened, task)))
                if len(waiting) > 2 * workers:
                    unit, future = waiting.popleft()
                    yield unit, *future.result()
            while waiting:
                unit, future = waiting.popleft()
                yield unit, *future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "workers: a process died (out of memory?); give the same command again with --workers 1."
            ) from error


def _screened(task: _Task) -> tuple[pa.Table, Tally]:
    """Return rows and counts of a unit; runs in a worker."""
    import pyarrow as pa

    tally, found = Tally(), []
    unit = task.unit
    with one_thread():
        for batch, extra in unit.batches(BATCH):
            screened = screen_batch(batch, task.config)
            left = len(batch)
            for gate, seconds in screened.seconds.items():
                tally.entered[gate] += left
                left -= int((screened.verdict == gate).sum())
                tally.passed[gate] += left
                tally.seconds[gate] += seconds
            rows = np.flatnonzero((screened.verdict == PASSED) | task.rejected)
            put_states(screened, rows, task.config)
            found.append(table_of(screened, rows, task.columns, extra))
    tally.fault_lines = dict(sorted(unit.faults.items())[:FAULTS_SHOWN])
    tally.faults, tally.repeats, tally.skipped = len(unit.faults), unit.repeats, unit.skipped
    tally.deduplication_incomplete = unit.deduplication_incomplete
    if not found:
        found = [empty_table(task.columns)]
    table = pa.concat_tables(found)
    tally.rows = len(table)
    return table, tally


@dataclass(frozen=True, slots=True)
class Screened:
    """The result of a screening into a folder.

    Attributes:
        out: the folder.
        tally: counts and cost.
        best: the likeliest hits, best first, as rows.
    """

    out: Path
    tally: Tally
    best: list[dict[str, Any]]

    def __repr__(self) -> str:
        """Return the number of formulas, of rows, and the folder."""
        return f"<screening of {self.tally.formulas:,} formulas: {self.tally.rows:,} rows in {self.out}>"

    def to_pandas(self) -> pd.DataFrame:
        """Read all rows as a data frame."""
        import pandas as pd

        parquet = self.out / ParquetFolder.name
        return pd.read_parquet(parquet) if parquet.is_dir() else pd.read_csv(self.out / CsvFile.name)


def screen_into(
    out: Path,
    formulas: Formulas,
    config: ScreenConfig,
    *,
    rejected: bool,
    parquet: bool = False,
    header: bool = True,
    top: int = 100,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Screened:
    """Screen into a folder: ``screened.csv`` or ``.parquet``, ``best.csv``, ``faults.csv``, ``run.json``.

    If killed, the same call resumes after the last unit that was written, and gives the same files.

    The arguments are those of :func:`invdesign.screening.api.screen`; without ``header`` the CSV has no first
    line, as shards after the first, so that they follow one another.

    Raises:
        InputError: the folder holds something else, the formulas are not those that it began with, a model
            or the source cannot be used.
    """
    if top < 1:
        raise InputError(f"top: {top} rows are none; give 1 or more.")
    columns = columns_of(formulas, config)
    if isinstance(config.rules, ChargeRules) and config.rules.oxidation_states_set is not None:
        oxidation_tables(config.rules)  # before the folder is created: fails if they cannot be used
    identity = {**formulas.identity(), **config.identity(), "rejected": rejected}
    identity |= {"parquet": parquet, "header": header, "columns": columns}
    with locked_folder(out, JOURNAL):
        journal = Journal(out / JOURNAL, "screening", identity)
        sink = _sink(out, columns, formulas.shard, parquet=parquet, header=header)
        faults = FaultsFile(out)
        tally, done = Tally(), journal.entries
        for earlier in done:
            tally.add(Tally(**earlier["tally"]))
        sink.rewind(done[-1]["mark"] if done else 0)
        faults.rewind(done[-1]["faults"] if done else 0)
        units = _checked(formulas.units(), [entry["digest"] for entry in done])
        left = islice(units, len(done), None)
        for unit, table, counts in tables(left, columns, config, rejected=rejected, workers=workers):
            mark, fault_mark = sink.append(table), faults.append(unit.faults)
            journal.append(
                {"digest": unit.digest, "mark": mark, "faults": fault_mark, "tally": counts.as_json()}
            )
            tally.add(counts)
            share = min(1.0, tally.read / formulas.total) if formulas.total else 0.0
            progress(share, f"{tally.formulas} formulas, {tally.rows} rows")
        best = _best(sink, top, known=config.novelty == "known")
        if best:
            write_csv(out / BEST, best)
        else:
            (out / BEST).unlink(missing_ok=True)
        write_run_json(out, {"screening": identity, "tally": tally.as_json()})
    return Screened(out, tally, best)


def _sink(
    out: Path, columns: list[str], shard: tuple[int, int] | None, *, parquet: bool, header: bool
) -> CsvFile | ParquetFolder:
    return ParquetFolder(out, shard[0] if shard else 1) if parquet else CsvFile(out, columns, header=header)


def _checked(units: Iterator[Unit], known: list[str]) -> Iterator[Unit]:
    """Yield units, of which the first must be those of an earlier run, known by their digests."""
    other = InputError("out: the folder was begun with other formulas; give another folder.")
    for digest in known:
        unit = next(units, None)
        if unit is None or unit.digest != digest:
            raise other
        yield unit
    yield from units


def _best(sink: CsvFile | ParquetFolder, top: int, *, known: bool) -> list[dict[str, Any]]:
    """Return the likeliest hits of all rows that passed; none without estimates.

    Args:
        sink: the rows.
        top: how many.
        known: whether those of known composition are wanted.
    """
    best: list[tuple[float, int, dict[str, Any]]] = []
    place = 0
    for table in sink.blocks():
        if "p_hit" not in table.column_names:
            return []
        chances = np.nan_to_num(table["p_hit"].to_numpy().astype(float), nan=-1.0)
        passed = np.asarray(table["verdict"].to_pylist(), dtype=object) == PASSED
        strange = np.asarray(table["known"].to_pylist(), dtype=object) != "yes"
        chances = np.where(passed & (strange | known), chances, -1.0)
        least = best[-1][0] if len(best) == top else 0.0
        rows = [row for row in np.argsort(-chances, kind="stable")[:top].tolist() if chances[row] >= least]
        best += [(float(chances[row]), place + row, table.slice(row, 1).to_pylist()[0]) for row in rows]
        best = sorted(best, key=lambda one: (-one[0], one[1]))[:top]
        place += len(table)
    return [row for _, _, row in best]
