"""The clock and the live picture of a running funnel: counts, rate and time left per stage."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from invdesign.core.candidate import Candidate
from invdesign.core.funnel import CHECKS, GENE_GATES, STRUCTURE_GATES, Funnel

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


PLAIN_INTERVAL = 15.0  # seconds between lines where the output is not a terminal
GENE_PHASE = ("generator", *GENE_GATES)


class Clock:
    """Wall and core seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    def __add__(self, other: Clock) -> Clock:
        """Both costs together."""
        total = Clock()
        for name in self.seconds | other.seconds:
            pairs = (self.seconds.get(name, (0.0, 0.0)), other.seconds.get(name, (0.0, 0.0)))
            total.seconds[name] = (pairs[0][0] + pairs[1][0], pairs[0][1] + pairs[1][1])
        return total

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block of a stage; blocks of one stage add up."""
        wall, core = time.perf_counter(), time.process_time()
        yield
        before = self.seconds.get(name, (0.0, 0.0))
        self.seconds[name] = (
            before[0] + time.perf_counter() - wall,
            before[1] + time.process_time() - core,
        )


class LiveFunnel:
    """Shows the funnel while it runs: a live table on a terminal, a line now and then elsewhere.

    Args:
        title: the target in words.
        show: False counts in silence.
        console: where to; default stderr, so that stdout stays free for results.
    """

    def __init__(self, title: str, *, show: bool = True, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.funnel = Funnel()
        self._console = console or Console(stderr=True, quiet=not show)
        self._title = title
        self._expected: dict[str, int] = {}  # how many will enter each phase
        self._started: dict[str, float] = {}  # when each phase's first stage began in this session
        self._entered_before: dict[str, int] = {}
        self._last_line = 0.0
        self._live = (
            Live(console=self._console, get_renderable=self._table, refresh_per_second=4)
            if show and self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        """Start to show."""
        if self._live:
            self._live.start()
        else:
            self._console.print(self._title, highlight=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        if self._live:
            self._live.stop()

    def phase(self, stage: str, expected: int) -> None:
        """Say that the phase led by ``stage`` begins and how many will enter it: the time left follows."""
        self._expected[stage] = expected
        self._started[stage] = time.monotonic()
        self._entered_before[stage] = self.funnel.stages[stage].entered

    def count(
        self, candidates: Iterable[Candidate], stages: Iterable[str], clock: Clock | None = None
    ) -> None:
        """Count a unit of work that has been stored."""
        stages = tuple(stages)
        self.funnel.count(candidates, stages)
        self.funnel.charge(clock.seconds if clock else {})
        if self._live is None and time.monotonic() - self._last_line > PLAIN_INTERVAL:
            self.line(stages)

    def line(self, stages: Iterable[str]) -> None:
        """Print stages as plain lines (nothing on a terminal, where the table stands)."""
        if self._live is not None:
            return
        self._last_line = time.monotonic()
        for name in stages:
            stage = self.funnel.stages[name]
            if stage.entered:
                rate, left = self._pace(name)
                self._console.print(
                    f"{name:>14}: {stage.entered:6d} in {stage.passed:6d} passed {stage.rejected:6d} rejected"
                    f"  {rate} {left}".rstrip(),
                    highlight=False,
                )

    def _leader(self, name: str) -> str:
        if name in CHECKS:
            return next((check for check in CHECKS if check in self._started), name)
        return "generator" if name in GENE_PHASE else "geometry" if name in STRUCTURE_GATES else name

    def _pace(self, name: str) -> tuple[str, str]:
        """Rate and time left of a stage: those of its phase, whose first stage knows how many will come."""
        leader = self._leader(name)
        if leader not in self._started:
            return "", ""
        elapsed = time.monotonic() - self._started[leader]
        done = self.funnel.stages[leader].entered - self._entered_before[leader]
        if not done:
            return "", "…"
        left = self._expected[leader] - self.funnel.stages[leader].entered
        share = self.funnel.stages[name].entered / max(1, self.funnel.stages[leader].entered)
        rate = done / elapsed * share
        if not left:
            return "", "done"
        return f"{rate:.3g}/s", f"{_duration(left * elapsed / done)} left"

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(title=self._title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("stage", style="cyan")
        for name in ("in", "passed", "rejected", "core s", "rate", "time left"):
            table.add_column(name, justify="right")
        for stage in self.funnel:
            if not stage.entered and self._leader(stage.name) not in self._started:
                table.add_row(stage.name, *[""] * 6, style="dim")
                continue
            counts = (f"{count:,}" for count in (stage.entered, stage.passed, stage.rejected))
            table.add_row(stage.name, *counts, f"{stage.core:.1f}", *self._pace(stage.name))
        return table


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
