"""Result of one gate for one candidate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one gate for one candidate.

    Attributes:
        gate: its name.
        passed: whether the candidate meets the criterion.
        reason: why, as a phrase.
        value: what was compared.
        threshold: with what.
    """

    gate: str
    passed: bool
    reason: str
    value: float | None = None
    threshold: float | None = None
