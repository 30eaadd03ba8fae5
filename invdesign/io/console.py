"""Tables on a terminal, in a pipe or in a file, with no number cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ANY = 10_000  # columns: wider than any table


def print_whole(table: Table, console: Console) -> None:
    """Print a table as wide as it needs to be, where rich would cut cells at 80 columns or at the terminal.

    On a terminal columns fold that may; those with ``no_wrap`` never lose a letter. Elsewhere nothing folds.
    """
    from rich.measure import Measurement

    before = console.width
    need = Measurement.get(console, console.options.update(max_width=_ANY), table)
    console.width = max(before, need.minimum if console.is_terminal else need.maximum)
    console.print(table)
    console.width = before
