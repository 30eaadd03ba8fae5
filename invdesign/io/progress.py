"""Progress of long commands: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[float, str], None]
"""Receives the share done (0 to 1) and a short message."""

LINE_SHARE, LINE_SECONDS = 0.1, 30.0  # between lines where there is no terminal


def no_progress(_share: float, _message: str) -> None:
    """Show nothing."""


@contextmanager
def shown_progress(*, show: bool = True) -> Iterator[Progress]:
    """Yield a function that shows the share done and a message on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    plain = show and not console.is_terminal
    with Bar(*columns, console=console, transient=True, disable=plain or not show) as bar:
        task = bar.add_task("", total=1.0)
        last_share, last_time = 0.0, time.monotonic()

        def update(share: float, message: str) -> None:
            nonlocal last_share, last_time
            bar.update(task, completed=share, description=message)
            now = time.monotonic()
            due = share - last_share >= LINE_SHARE or now - last_time >= LINE_SECONDS
            if plain and (due or last_share < share >= 1):
                console.print(f"{share:4.0%} {message}", highlight=False)
                last_share, last_time = share, now

        yield update
