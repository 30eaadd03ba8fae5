"""What became of generated crystals that were relaxed: the artifact ``relaxed-genes``.

Made by ``training/generators/relaxed_genes.py``. Generators learn from what came out stable, the ranker
from all of it.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.gene import Gene
from invdesign.data.tokens import TokenSet
from invdesign.errors import InputError
from invdesign.io.artifacts import find

if TYPE_CHECKING:
    from numpy.typing import NDArray

CRYSTALS, OUTCOMES = "relaxed.npz", "outcomes.csv.gz"
COLUMNS = (
    "id",
    "campaign",
    "place",
    "proposed_gene",
    "relaxed_gene",
    "formula",
    "e_above_hull",
    "e_above_hull_first",
    "e_above_hull_second",
    "band_gap",
    "geometry",
    "steps",
    "novelty",
    "rejected_by",
)
"""Of ``OUTCOMES``: one row for each candidate that was chosen to be relaxed, whatever came of it."""


@dataclass(frozen=True)
class RelaxedGenes:
    """Generated crystals that relaxed to a minimum.

    Attributes:
        tokens: (N,) genes and geometries as relaxed; ``row`` is that of ``OUTCOMES``.
        proposed: (N,) genes as proposed; relaxation may have found another symmetry.
        e_above_hull: (N,) eV/atom, mean of two potentials.
        band_gap: (N,) eV, estimated from the structure (0: metal); no DFT.
        campaign: (N,) seed of the campaign.
        novelty: (N,) 2: composition in no reference, 1: gene in none, 0: known.
        kept: (N,) bool, passed every gate: at most 0.1 eV/atom above the hull, no known gene, and the lowest
            of those that match it, in all campaigns.
    """

    tokens: TokenSet
    proposed: tuple[Gene, ...]
    e_above_hull: NDArray[np.float64]
    band_gap: NDArray[np.float64]
    campaign: NDArray[np.int64]
    novelty: NDArray[np.int64]
    kept: NDArray[np.bool_]

    def stable(self) -> RelaxedGenes:
        """Those that were kept."""
        return self.select(self.kept)

    def select(self, wanted: NDArray[np.bool_]) -> RelaxedGenes:
        """Select the crystals of a mask."""
        rows = np.flatnonzero(wanted)
        return RelaxedGenes(
            self.tokens.select(rows),
            tuple(self.proposed[row] for row in rows),
            self.e_above_hull[rows],
            self.band_gap[rows],
            self.campaign[rows],
            self.novelty[rows],
            self.kept[rows],
        )


def read_relaxed(name: str | Path = "relaxed-genes") -> RelaxedGenes:
    """Load the released crystals by name, or those of a custom folder.

    Raises:
        InputError: the folder or a file of it is missing or damaged.
    """
    folder = find("models", name, needs=(CRYSTALS, OUTCOMES))
    tokens = TokenSet.load(folder / CRYSTALS)
    try:
        with gzip.open(folder / OUTCOMES, "rt", encoding="utf-8", newline="") as file:
            outcomes = list(csv.DictReader(file))
        rows = [outcomes[row] for row in tokens.row]
        return RelaxedGenes(
            tokens,
            tuple(Gene.parse(row["proposed_gene"]) for row in rows),
            np.array([float(row["e_above_hull"]) for row in rows]),
            np.array([float(row["band_gap"]) for row in rows]),
            np.array([int(row["campaign"]) for row in rows]),
            np.array([int(row["novelty"]) for row in rows]),
            np.array([not row["rejected_by"] for row in rows]),
        )
    except (OSError, EOFError, KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{folder / OUTCOMES}: it is damaged ({error!r}); restore it or build it again."
        ) from error
