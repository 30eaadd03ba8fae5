"""Finished chunks of an evaluation on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from invdesign.campaign.samples import Outcome
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILE = "chunks.jsonl"
Seconds = dict[str, tuple[float, float]]  # wall and core seconds by stage


class ChunkStore:
    """Finished chunks as lines of JSON, each on disk before the next begins."""

    def __init__(self, folder: Path, protocol: dict[str, Any]) -> None:
        """Open a folder's chunks, or begin.

        Args:
            folder: made if not there.
            protocol: what the evaluation is; a folder of another one is refused.

        Raises:
            InputError: another evaluation's folder, or it cannot be written to.
        """
        self.done: dict[int, tuple[list[Outcome], Seconds]] = {}
        self._path = folder / FILE
        head = json.dumps({"evaluation": protocol})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = (
                self._path.read_text(encoding="utf-8").splitlines(keepends=True)
                if self._path.exists()
                else []
            )
            lines = [
                line for line in lines if line.endswith("\n")
            ]  # a kill leaves the last line half written
            if lines and lines[0].rstrip("\n") != head:
                msg = f"out: {str(folder)!r} holds another evaluation; give another folder."
                raise InputError(msg)
            lines = lines or [head + "\n"]
            self._path.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            msg = f"out: {str(folder)!r} cannot be written to ({error.strerror}); give a folder."
            raise InputError(msg) from error
        for line in lines[1:]:
            chunk = json.loads(line)
            outcomes = [Outcome(**fields) for fields in chunk["outcomes"]]
            self.done[chunk["chunk"]] = (outcomes, {s: (w, c) for s, (w, c) in chunk["seconds"].items()})

    def append(
        self, number: int, outcomes: Sequence[Outcome], seconds: Mapping[str, tuple[float, float]]
    ) -> None:
        """Add a chunk."""
        line = {"chunk": number, "seconds": seconds, "outcomes": [asdict(outcome) for outcome in outcomes]}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            msg = f"out: {self._path} cannot be written ({error.strerror}); make room and try again."
            raise InputError(msg) from error
