"""Compositions judged by the millions, before any structure: lists, spaces, likenesses of a compound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.errors import InputError
from invdesign.io.config import build
from invdesign.screening.config import ScreenConfig
from invdesign.screening.run import Screened, Tally, columns_of, screen_into, tables
from invdesign.screening.work_units import OfLikeness, OfList, OfSpace
from invdesign.screening.writers import empty_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd
    import pyarrow as pa

    from invdesign.composition.oxidation_states import ChargeRules
    from invdesign.core.target import Target
    from invdesign.screening.run import Formulas

__all__ = ["Rows", "Screened", "Tally", "formulas_of", "screen", "screen_to"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a screening, judged as they are asked for.

    Attributes:
        formulas: where they come from.
        config: by what they are judged.
        rejected: rows also of what did not pass.
        workers: processes.
        tally: counts so far.
    """

    formulas: Formulas
    config: ScreenConfig
    rejected: bool
    workers: int
    tally: Tally

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One dictionary a row."""
        for table in self.tables():
            yield from table.to_pylist()

    def tables(self) -> Iterator[pa.Table]:
        """Arrow tables of some thousand rows."""
        self.tally.reset()
        found = tables(self.formulas, self.config, rejected=self.rejected, workers=self.workers)
        for _, table, tally in found:
            self.tally.add(tally)
            yield table

    def table(self) -> pa.Table:
        """All rows as one Arrow table."""
        import pyarrow as pa

        columns = [*self.formulas.beside, "formula", "verdict", *columns_of(self.config)]
        return pa.concat_tables([empty_table(columns), *self.tables()])

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a data frame."""
        found: pd.DataFrame = self.table().to_pandas()
        return found


def screen(
    formulas: str | Path | Iterable[str] | None = None,
    *,
    space: Mapping[str, Any] | None = None,
    like: str | None = None,
    like_n: int = 10_000,
    column: str | None = None,
    shard: tuple[int, int] | None = None,
    target: str | Iterable[str] | Target = (),
    rejected: bool | None = None,
    workers: int = 1,
    **options: Any,  # noqa: ANN401 - each field has its own type
) -> Rows:
    """Judge compositions: charges, known or not, stability, band gaps, supply.

    >>> for row in screen(["CuInS2", "MgO2"]):  # doctest: +SKIP
    ...     print(row["formula"], row["verdict"], row["e_above_hull"])
    >>> screen(space={"elements": "Cu,Zn,Sn,S,Se", "max_atoms": 8}).to_pandas()  # doctest: +SKIP

    Args:
        formulas: some, or a file of them (text, CSV, Parquet).
        space: in place of formulas, the fields of :class:`invdesign.screening.composition_space.Space`.
        like: in place of formulas, a known compound whose ions are exchanged.
        like_n: most formulas like it.
        column: of the file that holds the formulas.
        shard: ``(i, n)``, the i-th of n parts.
        target: clauses of the target language (``docs/guide/targets.md``).
        rejected: rows also of what did not pass; by default of formulas that are given, not of a space.
        workers: processes; above 1, call it under ``if __name__ == "__main__":``.
        options: fields of :class:`invdesign.screening.config.ScreenConfig`, such as ``novel`` and ``rules``.

    Raises:
        InputError: the source, the target or an option cannot be used.
    """
    config = build(ScreenConfig, {"target": target, **options}, "screen")
    source = formulas_of(
        formulas, space=space, like=like, like_n=like_n, column=column, shard=shard, rules=config.rules
    )
    shown = isinstance(source, OfList) if rejected is None else rejected
    return Rows(source, config, shown, workers, Tally())


def screen_to(
    out: str | Path,
    formulas: str | Path | Iterable[str] | None = None,
    *,
    space: Mapping[str, Any] | None = None,
    like: str | None = None,
    like_n: int = 10_000,
    column: str | None = None,
    shard: tuple[int, int] | None = None,
    target: str | Iterable[str] | Target = (),
    rejected: bool | None = None,
    parquet: bool = False,
    top: int = 100,
    workers: int | None = None,
    progress: Callable[[float, str], None] = lambda _share, _message: None,
    **options: Any,  # noqa: ANN401 - each field has its own type
) -> Screened:
    """As :func:`screen`, into a folder, resumable; any number of formulas in flat memory.

    Args:
        out: folder, made if not there.
        formulas: some, or a file of them, or ``-`` for standard input.
        space: as in :func:`screen`.
        like: as in :func:`screen`.
        like_n: as in :func:`screen`.
        column: as in :func:`screen`.
        shard: what the shards write, one after the other, is what one run writes.
        target: as in :func:`screen`.
        rejected: as in :func:`screen`.
        parquet: ``screened.parquet``, a folder of parts, in place of ``screened.csv``.
        top: likeliest hits in ``best.csv``.
        workers: processes; one per core if None.
        progress: is told the share that is done and a word on it.
        options: as in :func:`screen`.

    Raises:
        InputError: the source, the target, the folder or an option cannot be used.
    """
    config = build(ScreenConfig, {"target": target, **options}, "screen")
    source = formulas_of(
        formulas, space=space, like=like, like_n=like_n, column=column, shard=shard, rules=config.rules
    )
    return screen_into(
        Path(out),
        source,
        config,
        rejected=isinstance(source, OfList) if rejected is None else rejected,
        parquet=parquet,
        header=shard is None or shard[0] == 1,
        top=top,
        workers=workers,
        progress=progress,
    )


def formulas_of(
    formulas: str | Path | Iterable[str] | None,
    *,
    space: Mapping[str, Any] | None = None,
    like: str | None = None,
    like_n: int = 10_000,
    column: str | None = None,
    shard: tuple[int, int] | None = None,
    rules: ChargeRules | None = None,
) -> Formulas:
    """Where formulas come from: exactly one of a list, a space and a likeness.

    Raises:
        InputError: none or several are given, or what is given cannot be used.
    """
    from invdesign.screening.composition_space import Space

    if sum(given is not None for given in (formulas, space, like)) != 1:
        raise InputError(
            "formulas: give formulas or a file, or a space (elements), or like; exactly one of them."
        )
    if space is not None:
        return OfSpace(build(Space, dict(space), "space"), shard)
    if like is not None:
        return OfLikeness(like, like_n, shard)
    assert formulas is not None  # noqa: S101 - exactly one is given
    listed = formulas if isinstance(formulas, str | Path) else list(formulas)
    truncate = rules is not None and rules.truncate_fractions
    return OfList(listed, column, truncate_fractions=truncate, shard=shard)
