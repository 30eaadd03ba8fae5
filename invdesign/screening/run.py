"""A screening from its formulas to rows: streamed, in several processes, resumable at every unit."""

from __future__ import annotations

import csv
import json
from collections import deque
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from invdesign.composition.oxidation_states import oxidation_tables
from invdesign.core.properties import STABILITY
from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.io.atomic import atomic_write
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder
from invdesign.screening.gates import GATES, PASSED, judge
from invdesign.screening.work_units import BATCH
from invdesign.screening.worker_pool import default_workers, forked_pool
from invdesign.screening.writers import CsvFile, FaultsFile, ParquetFolder, empty_table, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from invdesign.screening.config import ScreenConfig
    from invdesign.screening.work_units import Unit

    Progress = Callable[[float, str], None]

JOURNAL = "units.jsonl"
MODEL = ("config.json", "model.safetensors")
BEST = "best.csv"
FAULTS_TOLD = 10


class Formulas(Protocol):
    """Where formulas come from."""

    beside: tuple[str, ...]
    shard: tuple[int, int] | None

    def identity(self) -> dict[str, Any]:
        """What it is, as JSON."""
        ...

    @property
    def total(self) -> int | None:
        """About how many formulas; None where nobody knows before they are read."""
        ...

    def units(self) -> Iterator[Unit]:
        """In order."""
        ...


@dataclass(slots=True)
class Tally:
    """How many formulas came to each gate and passed it, and what it cost.

    Attributes:
        entered: by gate.
        passed: by gate.
        seconds: core seconds by gate.
        faults: lines without a formula.
        repeats: formulas that were there before.
        skipped: blank lines and comments.
        rows: written.
        forgetful: whether there were too many different formulas to remember: some repeats count as new.
        fault_lines: what stands on the first lines with faults.
    """

    entered: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GATES, 0))
    passed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GATES, 0))
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GATES, 0.0))
    faults: int = 0
    repeats: int = 0
    skipped: int = 0
    rows: int = 0
    forgetful: bool = False
    fault_lines: dict[int, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Another's counts too."""
        for gate in GATES:
            self.entered[gate] += other.entered[gate]
            self.passed[gate] += other.passed[gate]
            self.seconds[gate] += other.seconds[gate]
        self.faults += other.faults
        self.repeats += other.repeats
        self.skipped += other.skipped
        self.rows += other.rows
        self.forgetful |= other.forgetful
        self.fault_lines = dict([*self.fault_lines.items(), *other.fault_lines.items()][:FAULTS_TOLD])

    def reset(self) -> None:
        """Nothing counted."""
        for name, value in asdict(Tally()).items():
            setattr(self, name, value)

    def as_json(self) -> dict[str, Any]:
        """Counts and seconds."""
        return {name: value for name, value in asdict(self).items() if name != "fault_lines"}

    @property
    def formulas(self) -> int:
        """Different formulas that were judged."""
        return next(iter(self.entered.values()))

    @property
    def read(self) -> int:
        """Formulas and what stood in their place."""
        return self.formulas + self.faults + self.repeats + self.skipped


@dataclass(frozen=True, slots=True)
class _Task:
    unit: Unit
    config: ScreenConfig
    columns: list[str]
    beside: tuple[str, ...]
    rejected: bool


def columns_of(config: ScreenConfig) -> list[str]:
    """Columns of a screening's table after the verdict, in order; no model is loaded.

    Raises:
        InputError: a model is missing.
    """
    columns = []
    if config.estimates:
        find("models", config.stability, needs=MODEL)
        columns += ["p_hit", *_interval(STABILITY), "p_stable", "p_exists"]
        for name, model in config.estimated.items():
            zero = _has_zero(model, name)
            columns += [*_interval(name), *([f"{name}_p_zero"] if zero else [])]
        columns += ["in_domain"]
    if config.rules is not None:
        columns += ["charge"]
        columns += ["states", "rarest_state_share"] if config.states != "none" else []
        columns += ["all_states"] if config.states == "all" else []
    return [*columns, "known", "hhi_production", "hhi_reserves", "abundance", "toxic"]


def _has_zero(model: str, name: str) -> bool:
    """Whether a model tells how likely a property is exactly zero.

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
    formulas: Formulas,
    config: ScreenConfig,
    *,
    rejected: bool,
    workers: int | None = None,
    done: int = 0,
) -> Iterator[tuple[Unit, pa.Table, Tally]]:
    """Every unit with its rows and counts, in order; at most a few units are in memory.

    Args:
        formulas: where they come from.
        config: by what they are judged.
        rejected: rows also of what did not pass.
        workers: processes; one per core if None.
        done: units at the beginning that are only read.
    """
    columns = columns_of(config)
    tasks = (
        _Task(unit, config, columns, formulas.beside, rejected)
        for number, unit in enumerate(formulas.units())
        if number >= done
    )
    workers = workers or default_workers()
    if workers == 1:
        for task in tasks:
            yield task.unit, *_screened(task)
        return
    with forked_pool(workers, models=config.estimates) as pool:
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
    """Rows and counts of a unit; runs in a worker."""
    import pyarrow as pa

    from invdesign.io.parallel import one_thread

    tally, found = Tally(), []
    unit = task.unit
    with one_thread():
        for batch, beside in unit.batches(BATCH):
            judged = judge(batch, task.config)
            left = len(batch)
            for gate, seconds in judged.seconds.items():
                tally.entered[gate] += left
                left -= int((judged.verdict == gate).sum())
                tally.passed[gate] += left
                tally.seconds[gate] += seconds
            found.append(table_of(judged, task.columns, beside, rejected=task.rejected))
    tally.fault_lines = dict(sorted(unit.faults.items())[:FAULTS_TOLD])
    tally.faults, tally.repeats, tally.skipped = len(unit.faults), unit.repeats, unit.skipped
    tally.forgetful = unit.forgetful
    if not found:
        found = [empty_table([*task.beside, "formula", "verdict", *task.columns])]
    table = pa.concat_tables(found)
    tally.rows = len(table)
    return table, tally


@dataclass(frozen=True, slots=True)
class Screened:
    """What a screening left in its folder.

    Attributes:
        out: the folder.
        tally: counts and cost.
        best: the likeliest hits, best first, as rows.
    """

    out: Path
    tally: Tally
    best: list[dict[str, Any]]


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
    progress: Progress = lambda _share, _message: None,
) -> Screened:
    """Screen into a folder: ``screened.csv`` or ``.parquet``, ``best.csv``, ``faults.csv``, ``run.json``.

    Killed at any moment, the same call goes on after the last unit that was written, to the same files.

    Args:
        out: made if not there.
        formulas: where they come from.
        config: by what they are judged.
        rejected: rows also of what did not pass.
        parquet: in place of CSV.
        header: of the CSV; shards after the first have none, so that they follow one another.
        top: likeliest hits in ``best.csv``.
        workers: processes; one per core if None.
        progress: is told the share that is done and a word on it.

    Raises:
        InputError: the folder holds something else, the formulas are not those that it began with, a model
            or the source cannot be used.
    """
    if top < 1:
        raise InputError(f"top: {top} rows are none; give 1 or more.")
    columns = [*formulas.beside, "formula", "verdict", *columns_of(config)]
    if config.rules and config.rules.oxidation_states_set is not None:
        oxidation_tables(config.rules)  # what cannot run claims no folder
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
        same = _Same(formulas, [entry["digest"] for entry in done])
        for unit, table, own in tables(same, config, rejected=rejected, workers=workers, done=len(done)):
            mark, fault_mark = sink.append(table), faults.append(unit.faults)
            journal.append(
                {"digest": unit.digest, "mark": mark, "faults": fault_mark, "tally": own.as_json()}
            )
            tally.add(own)
            share = min(1.0, tally.read / formulas.total) if formulas.total else 0.0
            progress(share, f"{tally.formulas} formulas, {tally.rows} rows")
        best = _best(sink, top)
        _write_best(best, out / BEST)
        _write_run(out, identity, tally)
    return Screened(out, tally, best)


def _sink(
    out: Path, columns: list[str], shard: tuple[int, int] | None, *, parquet: bool, header: bool
) -> CsvFile | ParquetFolder:
    return ParquetFolder(out, shard[0] if shard else 1) if parquet else CsvFile(out, columns, header=header)


class _Same:
    """Formulas of which the first units must be those of an earlier run."""

    def __init__(self, formulas: Formulas, known: list[str]) -> None:
        self._formulas, self._known = formulas, known
        self.beside, self.shard, self.identity = formulas.beside, formulas.shard, formulas.identity

    @property
    def total(self) -> int | None:
        """As of the formulas."""
        return self._formulas.total

    def units(self) -> Iterator[Unit]:
        """Units, compared while there is something to compare with."""
        count = 0
        for unit in self._formulas.units():
            if count < len(self._known) and unit.digest != self._known[count]:
                raise self._other()
            count += 1
            yield unit
        if count < len(self._known):
            raise self._other()

    @staticmethod
    def _other() -> InputError:
        return InputError("out: the folder was begun with other formulas; give another folder.")


def _best(sink: CsvFile | ParquetFolder, top: int) -> list[dict[str, Any]]:
    """The likeliest hits of all rows that passed and are not known; without estimates none."""
    best: list[tuple[float, int, dict[str, Any]]] = []
    place = 0
    for table in sink.blocks():
        if "p_hit" not in table.column_names:
            return []
        chances = np.nan_to_num(table["p_hit"].to_numpy().astype(float), nan=-1.0)
        passed = np.asarray(table["verdict"].to_pylist(), dtype=object) == PASSED
        known = np.asarray(table["known"].to_pylist(), dtype=object) == "yes"
        chances = np.where(passed & ~known, chances, -1.0)
        least = best[-1][0] if len(best) == top else 0.0
        rows = [row for row in np.argsort(-chances, kind="stable")[:top].tolist() if chances[row] >= least]
        best += [(float(chances[row]), place + row, table.slice(row, 1).to_pylist()[0]) for row in rows]
        best = sorted(best, key=lambda one: (-one[0], one[1]))[:top]
        place += len(table)
    return [row for _, _, row in best]


def _write_best(best: list[dict[str, Any]], path: Path) -> None:
    if not best:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(best[0]))
        writer.writeheader()
        writer.writerows(best)


def _write_run(out: Path, identity: dict[str, Any], tally: Tally) -> None:
    from invdesign.io.provenance import write_run_json

    write_run_json(out, {"screening": identity, "tally": tally.as_json()})
