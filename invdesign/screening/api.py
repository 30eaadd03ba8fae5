"""Screen compositions by the million, before any structure: lists, composition spaces, ion exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from invdesign.composition.oxidation_states import ChargeRules
from invdesign.core.target import Target
from invdesign.crystal.chemical_formula import formula_of
from invdesign.errors import InputError
from invdesign.io.config import build
from invdesign.io.progress import Progress, no_progress
from invdesign.screening.config import ScreenConfig
from invdesign.screening.run import Formulas, Screened, Tally, columns_of, screen_into, tables
from invdesign.screening.work_units import OfList, OfSpace, OfSubstitution
from invdesign.screening.writers import empty_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Screened", "ScreenedRows", "Tally", "formulas_of", "screen"]


@dataclass(frozen=True, slots=True, repr=False)
class ScreenedRows:
    """The rows of a screening, computed as they are iterated.

    Attributes:
        formulas: source of the formulas.
        config: gates and models.
        rejected: whether rejected compositions have rows, too.
        workers: processes.
        tally: counts so far.
    """

    formulas: Formulas
    config: ScreenConfig
    rejected: bool
    workers: int
    tally: Tally

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield one dictionary per row."""
        for table in self.tables():
            yield from table.to_pylist()

    def __repr__(self) -> str:
        """Return the number of formulas, where it is known before they are read."""
        total = self.formulas.total
        return f"<screening of {'some' if total is None else f'{total:,}'} formulas>"

    def tables(self) -> Iterator[pa.Table]:
        """Yield Arrow tables of some thousand rows."""
        self.tally.reset()
        units, columns = self.formulas.units(), columns_of(self.formulas, self.config)
        for _, table, tally in tables(
            units, columns, self.config, rejected=self.rejected, workers=self.workers
        ):
            self.tally.add(tally)
            yield table

    def table(self) -> pa.Table:
        """Return all rows as one Arrow table."""
        import pyarrow as pa

        return pa.concat_tables([empty_table(columns_of(self.formulas, self.config)), *self.tables()])

    def to_pandas(self) -> pd.DataFrame:
        """Return all rows as a data frame."""
        found: pd.DataFrame = self.table().to_pandas()
        return found


@overload
def screen(
    formulas: str | Path | Iterable[Any] | None = None,
    *,
    out: None = None,
    **options: Any,  # noqa: ANN401 - as below
) -> ScreenedRows: ...


@overload
def screen(
    formulas: str | Path | Iterable[Any] | None = None,
    *,
    out: str | Path,
    **options: Any,  # noqa: ANN401 - as below
) -> Screened: ...


def screen(
    formulas: str | Path | Iterable[Any] | None = None,
    *,
    out: str | Path | None = None,
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
    progress: Progress = no_progress,
    **options: Any,
) -> ScreenedRows | Screened:
    """Screen compositions by charge balance, novelty, stability, band gaps and supply.

    >>> for row in screen(["CuInS2", "MgO2"]):  # doctest: +SKIP
    ...     print(row["formula"], row["verdict"], row["e_above_hull"])
    >>> screen(space={"elements": "Cu,Zn,Sn,S,Se", "max_atoms": 8}).to_pandas()  # doctest: +SKIP
    >>> screen("formulas.csv", target="band_gap=1.5±0.3", out="screened").best[0]  # doctest: +SKIP

    Args:
        formulas: formulas, pymatgen structures or compositions (their composition counts), or a file of
            formulas (text, CSV, Parquet; ``-`` is standard input).
        out: folder for ``screened.csv``, ``best.csv``, ``faults.csv`` and ``run.json``: any number of
            formulas in constant memory; the same call resumes. None: rows are computed as they are iterated.
        space: in place of formulas, the fields of :class:`invdesign.screening.composition_space.Space`.
        like: in place of formulas, a known compound whose ions are substituted.
        like_n: most formulas from ``like``.
        column: column of the file that holds the formulas.
        shard: ``(i, n)``, the i-th of n parts. The outputs of all parts, one after the other, are those of
            one run.
        target: clauses of the target language (``docs/guide/targets.md``), or a Target.
        rejected: rows of rejected compositions, too; by default for given formulas, not for a space.
        parquet: write ``screened.parquet``, a folder of parts, in place of ``screened.csv``.
        top: number of likeliest hits in ``best.csv``.
        workers: processes; default: 1, with ``out`` one per core. Above 1, call it under
            ``if __name__ == "__main__":``.
        progress: receives the share done and a message.
        options: fields of :class:`invdesign.screening.config.ScreenConfig`, such as ``novelty``, ``rules``.

    Returns:
        ScreenedRows to iterate, with ``to_pandas()``; with ``out``, counts and the best rows.

    Raises:
        InputError: the source, the target, the folder or an option cannot be used.
    """
    config = build(ScreenConfig, {"target": target, **options}, "screen")
    source = formulas_of(
        formulas, space=space, like=like, like_n=like_n, column=column, shard=shard, rules=config.rules
    )
    if rejected is None:
        rejected = isinstance(source, OfList)
    if out is None:
        if parquet:
            raise InputError("parquet: there is no folder to write to; give an output folder.")
        return ScreenedRows(source, config, rejected, workers or 1, Tally())
    return screen_into(
        Path(out),
        source,
        config,
        rejected=rejected,
        parquet=parquet,
        header=shard is None or shard[0] == 1,
        top=top,
        workers=workers,
        progress=progress,
    )


def formulas_of(
    formulas: str | Path | Iterable[Any] | None,
    *,
    space: Mapping[str, Any] | None = None,
    like: str | None = None,
    like_n: int = 10_000,
    column: str | None = None,
    shard: tuple[int, int] | None = None,
    rules: ChargeRules | str | None = None,
) -> Formulas:
    """Return the source of formulas: exactly one of a list, a space, and ion substitution.

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
        return OfSubstitution(like, like_n, shard)
    assert formulas is not None  # noqa: S101 - exactly one is given
    listed = formulas if isinstance(formulas, str | Path) else list(map(_formula, formulas))
    truncate = isinstance(rules, ChargeRules) and rules.truncate_fractions
    return OfList(listed, column, truncate_fractions=truncate, shard=shard)


def _formula(given: Any) -> Any:  # noqa: ANN401 - text, a composition or a structure; else a faulty line
    composition = getattr(given, "composition", given)
    return formula_of(composition) if hasattr(composition, "get_el_amt_dict") else given
