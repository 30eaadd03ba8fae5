"""Recipe and rows of the graph network for band gaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from invdesign.potentials.batching import Pairs
from invdesign.potentials.interface import Frame
from invdesign.training.recipe import DataRecipe


class GraphSettings(BaseModel):
    """How a graph network is trained; the ``network`` section of a recipe.

    ``ema`` is the decay of the averaged weights a step, ``clip`` the largest norm of a gradient,
    ``gap_weight`` the weight of the gap against metal or not. An epoch draws the share ``metals`` of the
    metals, which hold no information on gaps, and weighs them by its inverse. ``jitter`` is how far atoms are
    moved while training, Å: relaxed geometries differ by as much.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = 9
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    clip: float = 1.0
    gap_weight: float = 1.0
    metals: float = 0.25
    jitter: float = 0.03


class GraphBandGapConfig(DataRecipe):
    """Recipe; kind ``graph-band-gap``.

    ``start`` is a matgl M3GNet potential whose backbone is the first guess.
    """

    kind: Literal["graph-band-gap"]
    start: Path
    network: GraphSettings = GraphSettings()


@dataclass(frozen=True, slots=True)
class GraphTable:
    """Crystals with their neighbours (cutoff of the network), gaps (eV, 0 for metals), part and data set."""

    frames: list[Frame]
    pairs: list[Pairs]
    gap: np.ndarray
    part: np.ndarray
    source: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """Return the indices of a part's rows."""
        return np.flatnonzero(self.part == part)
