"""Finished work on disk as lines of JSON, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invdesign.errors import InputError


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
            InputError: another run's folder.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            text = file.read()
            whole = text.rfind(b"\n") + 1
            head, *entries = map(json.loads, text[:whole].splitlines() or [b"{}"])
            if head and (different := _different(head.get(what, {}), identity)):
                raise InputError(
                    f"out: {str(path.parent)!r} holds another {what} ({different}); give another folder."
                )
            if whole < len(text):  # a kill or a full disk left the last line half written
                file.truncate(whole)
        if not head:
            self.append({what: identity})
        self.entries: list[dict[str, Any]] = entries

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _different(stored: dict[str, Any], identity: dict[str, Any]) -> str:
    """Return the names of the settings that differ; empty: none."""
    identity = json.loads(json.dumps(identity))  # tuples as lists
    return ", ".join(key for key in (stored | identity) if stored.get(key) != identity.get(key))
