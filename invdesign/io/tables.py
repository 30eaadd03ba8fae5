"""Tables: CSV files that appear whole, and results that turn into data frames."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from invdesign.io.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item")


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as CSV, whole or not at all.

    Args:
        path: the file; its folder must exist.
        rows: each by column; a column that a row lacks stays empty.
        columns: of the table where there are no rows. Otherwise the columns are those of the rows, in order
            of their first appearance.
    """
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(columns)
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


class Tabular:
    """A result with a table: a subclass gives its ``rows``."""

    __slots__ = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return the table, one dictionary per row."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows())


class Results(Tabular, list[Item]):
    """The results of a command: a list with one item per input.

    Args:
        items: the results.
        row: turns an item into a row of the table; default: its ``row()``, or the item where it is a
            dictionary.
        summary: one line for ``repr``.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        summary: str,
        row: Callable[[Item], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(items)
        self.summary = summary
        self._row = row

    def rows(self) -> list[dict[str, Any]]:
        """Return the table, one dictionary per item."""
        return [self._row_of(item) for item in self]

    def _row_of(self, item: Any) -> dict[str, Any]:  # noqa: ANN401 - an Item, whose type is not bound
        if self._row is not None:
            return self._row(item)
        return item if isinstance(item, dict) else item.row()

    def __repr__(self) -> str:
        """Return the summary."""
        return f"<{self.summary}>"
