"""The crystals of the benchmark: known ones perturbed, and those that a campaign starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.prerank import worth_relaxing
from invdesign.campaign.stages.relax import starting_structures
from invdesign.core.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOVE, STRAIN = 0.1, 0.03  # Å and 1; standard deviations of each component
SIZES = range(6, 15)  # atoms
TARGET = "band_gap=1.5±0.25"  # of the README's first command
GENES_PER_RELAXATION = 16  # as in the default campaign


def perturbed(
    data: Path, n: int, seed: int, elements: frozenset[str], sizes: Iterable[int] = SIZES
) -> list[Structure]:
    """Random mp20 crystals of these sizes and elements, atoms moved and cell strained."""
    rng = np.random.default_rng(seed)
    table = pd.read_csv(data / "structures" / "mp20.csv.gz", keep_default_na=False)
    wanted = frozenset(sizes)
    found: list[Structure] = []
    for row in rng.permutation(len(table)):
        structure = Structure.from_str(table.cif[row], fmt="cif")
        if len(structure) in wanted and {e.symbol for e in structure.elements} <= elements:
            found.append(_perturbed(structure, rng))
        if len(found) == n:
            break
    return found


def _perturbed(structure: Structure, rng: np.random.Generator) -> Structure:
    strain = rng.normal(0, STRAIN, (3, 3))
    cell = Lattice(structure.lattice.matrix @ (np.eye(3) + (strain + strain.T) / 2))
    positions = cell.get_cartesian_coords(structure.frac_coords) + rng.normal(0, MOVE, (len(structure), 3))
    return Structure(cell, structure.species, positions, coords_are_cartesian=True)


@dataclass(frozen=True)
class Start:
    """One starting structure of a campaign, and the number of its candidate."""

    candidate: int
    structure: Structure


def generated(n: int, seed: int) -> list[Start]:
    """Return what the default campaign relaxes for ``TARGET``: the n best genes, two starts each.

    As ``campaign.run`` and ``campaign.structures`` do it, for a campaign of this size.
    """
    config = CampaignConfig(
        target=parse_target([TARGET]), seed=seed, n_relax=n, n_genes=GENES_PER_RELAXATION * n
    )
    components = Components.from_config(config)
    chosen = sorted(worth_relaxing(config, components), key=lambda candidate: candidate.place)
    return [
        Start(place, structure)
        for place, starts in enumerate(starting_structures(chosen, config, components))
        for structure, _ in starts
    ]
