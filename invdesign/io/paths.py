"""Whether a text that a user gave names a file."""

from __future__ import annotations

import os
from pathlib import Path


def is_there(path: str | Path) -> bool:
    """Whether there is a file or folder; a text that no file system takes (too long, a NUL) names none."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib raises for these
