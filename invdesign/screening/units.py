"""The formulas of a screening in units of work: a list's lines, a space's places, a compound's likenesses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.data.composition_batch import CompositionBatch
from invdesign.errors import InputError
from invdesign.screening.duplicates import SeenKeys
from invdesign.screening.likeness import like
from invdesign.screening.sources import STDIN, read_formulas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from invdesign.screening.spaces import Space

PLACES = 65_536
LINES = 16_384
"""Formulas of a unit: of a space, and of a list, whose reader waits for them."""


@dataclass(slots=True)
class Unit:
    """Some formulas, one after the other.

    Attributes:
        batch: the compositions, or where they are: a space and two of its places.
        beside: what the table says of each before the verdicts: ``line``, ``given``, ``p_exchange``.
        faults: by line, what is there that is no formula.
        skipped: blank lines and comments.
        repeats: formulas that were there before.
        digest: of what was read, to know it again.
    """

    batch: CompositionBatch | tuple[Space, int, int]
    beside: dict[str, Any] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    skipped: int = 0
    repeats: int = 0
    digest: str = ""

    def batches(self, size: int) -> Iterator[tuple[CompositionBatch, dict[str, Any]]]:
        """The compositions and what stands beside them, so many at a time."""
        if isinstance(self.batch, tuple):
            space, start, stop = self.batch
            for batch in space.batches(start, stop, size):
                yield batch, {}
            return
        for start in range(0, len(self.batch), size):
            rows = slice(start, start + size)
            yield self.batch.take(rows), {name: values[rows] for name, values in self.beside.items()}


class OfSpace:
    """Every formula of a space, or of a shard of it."""

    beside: tuple[str, ...] = ()

    def __init__(self, space: Space, shard: tuple[int, int] | None = None) -> None:
        self.space = space
        self.places = space.shard(*shard) if shard else range(len(space))

    def identity(self) -> dict[str, Any]:
        """What it is, as JSON."""
        return {"space": self.space.model_dump(mode="json", exclude_defaults=True)}

    @property
    def total(self) -> int:
        """How many formulas."""
        return len(self.places)

    def units(self) -> Iterator[Unit]:
        """In order."""
        for start in range(self.places.start, self.places.stop, PLACES):
            yield Unit((self.space, start, min(start + PLACES, self.places.stop)))


class OfLikeness:
    """Formulas around a known compound, the likeliest exchange first."""

    beside: tuple[str, ...] = ("p_exchange",)

    def __init__(self, formula: str, n: int, shard: tuple[int, int] | None = None) -> None:
        self.formula, self.n = formula, n
        self._batch, self._probability = like(formula, n)
        if shard:
            rows = shard_of(len(self._batch), *shard)
            self._batch = self._batch.take(slice(rows.start, rows.stop))
            self._probability = self._probability[rows.start : rows.stop]

    def identity(self) -> dict[str, Any]:
        """What it is, as JSON."""
        return {"like": self.formula, "n": self.n}

    @property
    def total(self) -> int:
        """How many formulas."""
        return len(self._batch)

    def units(self) -> Iterator[Unit]:
        """In order."""
        for start in range(0, len(self._batch), LINES):
            rows = slice(start, start + LINES)
            shares = [float(f"{p:.3g}") for p in self._probability[rows].tolist()]
            yield Unit(self._batch.take(rows), {"p_exchange": shares})


class OfList:
    """The formulas of a file, of standard input, or at hand. A composition that comes again is dropped."""

    beside: tuple[str, ...] = ("line", "given")

    def __init__(
        self,
        source: str | Path | list[str],
        column: str | None = None,
        *,
        truncate_fractions: bool = False,
        shard: tuple[int, int] | None = None,
    ) -> None:
        self.source, self.column = source, column
        self._truncate, self._shard = truncate_fractions, shard
        self._lines: int | None = None
        if shard and source == STDIN:
            msg = "shard: standard input cannot be read twice; give a file."
            raise InputError(msg)

    def identity(self) -> dict[str, Any]:
        """What it is, as JSON; whether the formulas are the same is seen when they are read."""
        return {"list": str(self.source), "column": self.column}

    @property
    def total(self) -> int | None:
        """Lines, or formulas at hand; of what is packed or piped nothing is known before it is read."""
        if isinstance(self.source, list):
            return len(self.source)
        if self.source == STDIN or Path(self.source).suffix in {".gz", ".parquet", ".pq"}:
            return None
        if self._lines is None:
            with Path(self.source).open("rb") as file:
                self._lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        return self._lines

    def _count(self) -> int:
        """How many lines have a formula or a fault."""
        if isinstance(self.source, list):
            return len(self.source)
        return sum(len(block.lines) + len(block.faults) for block in read_formulas(self.source, self.column))

    def units(self) -> Iterator[Unit]:
        """In order; those before a shard are read for what they repeat."""
        seen = SeenKeys()
        wanted = shard_of(self._count(), *self._shard) if self._shard else None
        first = 0
        for lines, formulas, faults, skipped in self._blocks():
            unit, n = self._unit(lines, formulas, faults, seen), len(lines) + len(faults)
            unit.skipped = skipped
            if wanted is None:
                yield unit
            elif first < wanted.stop and first + n > wanted.start:
                yield _within(
                    unit, sorted([*lines, *faults])[max(0, wanted.start - first) : wanted.stop - first]
                )
            first += n

    def _blocks(self) -> Iterator[tuple[list[int], list[str], dict[int, str], int]]:
        if isinstance(self.source, list):
            yield list(range(1, len(self.source) + 1)), self.source, {}, 0
            return
        for block in read_formulas(self.source, self.column, LINES):
            yield block.lines, block.formulas, block.faults, block.skipped

    def _unit(self, lines: list[int], formulas: list[str], faults: dict[int, str], seen: SeenKeys) -> Unit:
        batch, wrong = CompositionBatch.of(formulas, truncate_fractions=self._truncate)
        kept = [row for row in range(len(formulas)) if row not in wrong]
        new = ~seen.repeated(batch.keys())
        rows = np.array(kept, dtype=np.intp)[new].tolist()
        return Unit(
            batch.take(new),
            {"line": [lines[row] for row in rows], "given": [formulas[row] for row in rows]},
            faults | {lines[row]: told for row, told in wrong.items()},
            repeats=int((~new).sum()),
            digest=hashlib.blake2b("\n".join(formulas).encode("utf-8", "replace"), digest_size=8).hexdigest(),
        )


def _within(unit: Unit, lines: list[int]) -> Unit:
    """What of a list's unit stands on some lines."""
    chosen = set(lines)
    assert isinstance(unit.batch, CompositionBatch)  # noqa: S101 - of a list
    rows = np.array([line in chosen for line in unit.beside["line"]], dtype=bool)
    beside = {
        name: [value for value, kept in zip(values, rows.tolist(), strict=True) if kept]
        for name, values in unit.beside.items()
    }
    faults = {line: told for line, told in unit.faults.items() if line in chosen}
    repeats = len(chosen) - int(rows.sum()) - len(faults)
    return Unit(unit.batch.take(rows), beside, faults, unit.skipped, repeats, unit.digest)


def shard_of(count: int, i: int, n: int) -> range:
    """The ``i``-th of ``n`` contiguous parts, from 1.

    Raises:
        InputError: there is no such shard.
    """
    if not 1 <= i <= n:
        msg = f"shard: {i}/{n} is none; give 1/{max(n, 1)} to {max(n, 1)}/{max(n, 1)}."
        raise InputError(msg)
    return range((i - 1) * count // n, i * count // n)
