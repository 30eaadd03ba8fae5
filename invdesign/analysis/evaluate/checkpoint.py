"""Finished chunks of an evaluation on disk, so that a killed run resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from invdesign.analysis.evaluate.record import SampleRecord
from invdesign.io.journal import Journal

FILE = "chunks.jsonl"
Seconds = dict[str, tuple[float, float]]  # wall and core seconds by stage


class ChunkStore:
    """Finished chunks of an evaluation.

    Attributes:
        done: records and cost by the chunk's number.
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
        self.done: dict[int, tuple[list[SampleRecord], Seconds]] = {}
        for chunk in self._journal.entries:
            records = [SampleRecord(**fields) for fields in chunk["outcomes"]]
            self.done[chunk["chunk"]] = (records, {s: (w, c) for s, (w, c) in chunk["seconds"].items()})

    def append(
        self, number: int, records: Sequence[SampleRecord], seconds: Mapping[str, tuple[float, float]]
    ) -> None:
        """Add a chunk."""
        rows = [asdict(record) for record in records]
        self._journal.append({"chunk": number, "seconds": seconds, "outcomes": rows})
