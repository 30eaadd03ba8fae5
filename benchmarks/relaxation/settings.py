"""What the parts of the benchmark are given, and the potentials that they compare."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CHGNET, M3GNET, TENSORNET = "CHGNet", "M3GNet", "TensorNet"


@dataclass(frozen=True)
class Settings:
    """Options of the command line."""

    n: int | None
    seed: int
    data: Path
    potentials: Path
    only: str
    rule: str

    def named(self, *labels: str) -> dict[str, str]:
        """Return what ``load_potential`` takes, by label."""
        names = {
            CHGNET: "chgnet",
            M3GNET: str(self.potentials / "M3GNet-MP-2021.2.8-matgl4"),
            TENSORNET: str(self.potentials / "TensorNet-MatPES-PBE-v2025.1-matgl4"),
        }
        return {label: names[label] for label in labels if self.only.lower() in label.lower()}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
