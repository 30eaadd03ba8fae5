"""Finished work on disk as lines of JSON, so that a killed run goes on where it was."""

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


class Journal:
    """Lines of JSON, each on disk before the next begins; the first says what run they belong to.

    Attributes:
        entries: what an earlier run of the same identity left.
    """

    def __init__(self, path: Path, what: str, identity: dict[str, Any]) -> None:
        """Open a journal, or begin one.

        Args:
            path: the file; its folder is made if not there.
            what: the kind of run, for the file and for the error.
            identity: what decides the run's results; a journal of another run is refused.

        Raises:
            InputError: another run's folder, or it cannot be written to.
        """
        folder, head = path.parent, json.dumps({what: identity})
        self._path = path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
            lines = [line for line in lines if line.endswith("\n")]  # a kill leaves the last half written
            if lines and lines[0].rstrip("\n") != head:
                msg = f"out: {str(folder)!r} holds another {what}; give another folder."
                raise InputError(msg)
            lines = lines or [head + "\n"]
            path.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            msg = f"out: {str(folder)!r} cannot be written to ({error.strerror}); give a folder."
            raise InputError(msg) from error
        self.entries: list[dict[str, Any]] = [json.loads(line) for line in lines[1:]]

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry.

        Raises:
            InputError: no room.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            msg = f"out: {self._path} cannot be written ({error.strerror}); make room and try again."
            raise InputError(msg) from error


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
            InputError: another evaluation's folder, or it cannot be written to.
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
