"""The formulas of a screening in units of work: lines of a list, places of a space, ion substitutions."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.composition.batch import CompositionBatch
from invdesign.errors import InputError
from invdesign.screening.composition_space import Space, shard_of
from invdesign.screening.deduplicate import SeenKeys
from invdesign.screening.ion_substitution import substitute_ions
from invdesign.screening.readers import STDIN, FormulaBlock, given_formulas, read_formulas

PLACES = 16_384
LINES = 16_384
"""Formulas of a unit: of a space, and of a list, whose reader waits for them."""
BATCH = 4096
"""Compositions that are screened at once."""


@dataclass(slots=True)
class Unit:
    """Some formulas, one after the other.

    Attributes:
        batch: the compositions, or where they are: a space and two of its places.
        extra: columns of the table before the verdict: ``line``, ``given``, ``p_exchange``.
        faults: by line, what is there that is no formula.
        skipped: blank lines and comments.
        repeats: formulas that were there before.
        deduplication_incomplete: too many different formulas to remember, so that some repeats count as new.
        digest: of what was read, to know it again.
    """

    batch: CompositionBatch | tuple[Space, int, int]
    extra: dict[str, Any] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    skipped: int = 0
    repeats: int = 0
    deduplication_incomplete: bool = False
    digest: str = ""

    def batches(self, size: int) -> Iterator[tuple[CompositionBatch, dict[str, Any]]]:
        """Yield compositions and their extra columns, ``size`` at a time."""
        if isinstance(self.batch, tuple):
            space, start, stop = self.batch
            for batch in space.batches(start, stop, size):
                yield batch, {}
            return
        for start in range(0, len(self.batch), size):
            rows = slice(start, start + size)
            yield self.batch.take(rows), {name: values[rows] for name, values in self.extra.items()}


class OfSpace:
    """Every formula of a space, or of a shard of it."""

    extra: tuple[str, ...] = ()

    def __init__(self, space: Space, shard: tuple[int, int] | None = None) -> None:
        self.space, self.shard = space, shard
        self.places = space.shard(*shard) if shard else range(len(space))

    def identity(self) -> dict[str, Any]:
        """Return what identifies it, as JSON."""
        return {"space": self.space.model_dump(mode="json", exclude_defaults=True), "shard": self.shard}

    @property
    def total(self) -> int:
        """Return the number of formulas."""
        return len(self.places)

    def units(self) -> Iterator[Unit]:
        """Yield units in order; they begin at the places where those of the whole space do."""
        first, last = self.places.start, self.places.stop
        for begin in range(first // PLACES * PLACES, last, PLACES):
            start, stop = max(begin, first), min(begin + PLACES, last)
            if start < stop:
                yield Unit((self.space, start, stop), digest=f"{start}..{stop}")


class OfSubstitution:
    """Ion substitutions of a known compound, the likeliest first."""

    extra: tuple[str, ...] = ("p_exchange",)

    def __init__(self, formula: str, n: int, shard: tuple[int, int] | None = None) -> None:
        self.formula, self.n, self.shard = formula, n, shard
        self._batch, self._probability = substitute_ions(formula, n)
        if shard:
            rows = shard_of(len(self._batch), *shard)
            self._batch = self._batch.take(slice(rows.start, rows.stop))
            self._probability = self._probability[rows.start : rows.stop]

    def identity(self) -> dict[str, Any]:
        """Return what identifies it, as JSON."""
        return {"like": self.formula, "n": self.n, "shard": self.shard}

    @property
    def total(self) -> int:
        """Return the number of formulas."""
        return len(self._batch)

    def units(self) -> Iterator[Unit]:
        """Yield units in order."""
        for start in range(0, len(self._batch), LINES):
            rows = slice(start, start + LINES)
            shares = [float(f"{p:.3g}") for p in self._probability[rows].tolist()]
            batch = self._batch.take(rows)
            yield Unit(batch, {"p_exchange": shares}, digest=_digest(batch.keys().tobytes()))


class OfList:
    """The formulas of a file, of standard input, or given as texts. A repeated composition is dropped."""

    extra: tuple[str, ...] = ("line", "given")

    def __init__(
        self,
        source: str | Path | list[str],
        column: str | None = None,
        *,
        truncate_fractions: bool = False,
        shard: tuple[int, int] | None = None,
    ) -> None:
        self.source, self.column, self.shard = source, column, shard
        self._truncate = truncate_fractions
        self._lines: int | None = None
        if shard and source == STDIN:
            raise InputError("shard: standard input cannot be read twice; give a file.")

    def identity(self) -> dict[str, Any]:
        """Return what identifies it, as JSON; the formulas of a file are compared when they are read."""
        named: Any = str(self.source)
        if isinstance(self.source, list):
            text = "\n".join(map(str, self.source))
            named = {"formulas": len(self.source), "digest": _digest(text)}
        return {"list": named, "column": self.column, "shard": self.shard}

    @property
    def total(self) -> int | None:
        """Return the number of lines or formulas; None for packed or piped input, before it is read."""
        if isinstance(self.source, list):
            return len(self.source)
        if self.source == STDIN or Path(self.source).suffix in {".gz", ".parquet", ".pq"}:
            return None
        if self._lines is None:
            with Path(self.source).open("rb") as file:
                self._lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        return self._lines

    def units(self) -> Iterator[Unit]:
        """Yield units in order; lines before a shard are read only to find repeats, none after it."""
        seen = SeenKeys()
        wanted = range(sys.maxsize)
        if self.shard:
            count = sum(len(block.lines) + len(block.faults) for block in self._blocks())
            wanted = shard_of(count, *self.shard)
            if self.shard[0] == self.shard[1]:  # blank lines at the end are the last one's
                wanted = range(wanted.start, sys.maxsize)
        first = 0
        for block in self._blocks():
            unit = self._unit(block, seen)
            lines = sorted([*block.lines, *block.faults])
            if self.shard is None:
                yield unit
            elif first + max(1, len(lines)) > wanted.start:
                yield _within(
                    unit,
                    lines[max(0, wanted.start - first) : wanted.stop - first],
                    skipped=block.skipped if first in wanted else 0,
                )
            first += len(lines)
            if first >= wanted.stop:
                return

    def _blocks(self) -> Iterator[FormulaBlock]:
        if isinstance(self.source, list):
            return given_formulas(self.source, LINES)
        return read_formulas(self.source, self.column, LINES)

    def _unit(self, block: FormulaBlock, seen: SeenKeys) -> Unit:
        lines, formulas = block.lines, block.formulas
        batch, wrong = CompositionBatch.of(formulas, truncate_fractions=self._truncate)
        kept = [row for row in range(len(formulas)) if row not in wrong]
        new = ~seen.repeated(batch.keys())
        rows = np.array(kept, dtype=np.intp)[new].tolist()
        return Unit(
            batch.take(new),
            {"line": [lines[row] for row in rows], "given": [formulas[row] for row in rows]},
            block.faults | {lines[row]: fault for row, fault in wrong.items()},
            skipped=block.skipped,
            repeats=int((~new).sum()),
            deduplication_incomplete=seen.full,
            digest=_digest(repr((lines, formulas, block.faults))),
        )


def _within(unit: Unit, lines: list[int], skipped: int) -> Unit:
    """Restrict a unit of a list to some lines."""
    chosen = set(lines)
    assert isinstance(unit.batch, CompositionBatch)  # noqa: S101 - of a list
    rows = np.array([line in chosen for line in unit.extra["line"]], dtype=bool)
    extra = {
        name: [value for value, kept in zip(values, rows.tolist(), strict=True) if kept]
        for name, values in unit.extra.items()
    }
    faults = {line: fault for line, fault in unit.faults.items() if line in chosen}
    repeats = len(chosen) - int(rows.sum()) - len(faults)
    batch = unit.batch.take(rows)
    return replace(unit, batch=batch, extra=extra, faults=faults, skipped=skipped, repeats=repeats)


def _digest(content: str | bytes) -> str:
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    return hashlib.blake2b(raw, digest_size=8).hexdigest()
