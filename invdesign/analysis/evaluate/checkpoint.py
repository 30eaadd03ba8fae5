"""Finished work on disk as lines of JSON, so that a killed run goes on where it was."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invdesign.analysis.evaluate.samples import Outcome
from invdesign.io.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILE = "chunks.jsonl"
Seconds = dict[str, tuple[float, float]]  # wall and core seconds by stage


class ChunkStore:
    """Finished chunks of an evaluation.

    Attributes:
        done: outcomes and cost by the chunk's number.
    """

    def __init__(self, folder: Path, protocol: dict[str, Any]) -> None:
        """Open a folder's chunks, or begin.

        Args:
            folder: made if not there.
            protocol: what the evaluation is; a folder of another one is refused.

        Raises:
            InputError: another evaluation's folder.
        """
        self._journal = Journal(folder / FILE, "evaluation", protocol)
        self.done: dict[int, tuple[list[Outcome], Seconds]] = {}
        for chunk in self._journal.entries:
            outcomes = [Outcome(**fields) for fields in chunk["outcomes"]]
            self.done[chunk["chunk"]] = (outcomes, {s: (w, c) for s, (w, c) in chunk["seconds"].items()})

    def append(
        self, number: int, outcomes: Sequence[Outcome], seconds: Mapping[str, tuple[float, float]]
    ) -> None:
        """Add a chunk."""
        rows = [asdict(outcome) for outcome in outcomes]
        self._journal.append({"chunk": number, "seconds": seconds, "outcomes": rows})
