"""What one gate says of one candidate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate said of one candidate."""

    gate: str
    passed: bool
    reason: str
    figure: float | None = None
    threshold: float | None = None
