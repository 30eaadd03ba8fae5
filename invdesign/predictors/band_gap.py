"""PBE band gap of relaxed structures: metal or not, then the gap, with a calibrated interval.

Works on crystals relaxed with any potential; its features take CHGNet's embedding of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from invdesign.predictors.ensemble import Ensemble, Head
from invdesign.predictors.features import structure_matrix
from invdesign.predictors.tables import PredictorConfig, assemble, lowest_by_composition, read_crystals
from invdesign.predictors.training import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.candidate import Estimate
    from invdesign.crystal.gene import Gene
    from invdesign.predictors.training import Table
    from invdesign.validators.chgnet_potential import CHGNetPotential

    Progress = Callable[[float, str], None]

SOURCES = ("mp20", "wbm")
HEADS = (Head("band_gap", zero=True),)
METALLIC = 1e-3  # eV; gaps below are those of metals


class BandGapConfig(PredictorConfig):
    """Recipe of a band-gap model; kind ``band-gap``."""

    kind: Literal["band-gap"]


class BandGapPredictor:
    """Predicts PBE band gaps (eV).

    Example:
        >>> BandGapPredictor.load("band-gap").predict([structure])[0].value  # doctest: +SKIP
        4.9
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    @classmethod
    def load(cls, name: str | Path = "band-gap") -> BandGapPredictor:
        """A released model by name, or a user's own folder.

        Raises:
            InputError: the folder or a file of it is missing or damaged.
        """
        return cls(Ensemble.load(name, kind="band-gap"))

    def predict(
        self, structures: Sequence[Structure], potential: CHGNetPotential | None = None
    ) -> list[Estimate]:
        """Estimates of the gap (eV), in the order given.

        A crystal that the potential cannot evaluate is estimated without its embedding and is
        marked as outside the training domain.

        Args:
            structures: ordered, relaxed crystals.
            potential: where a CHGNet is loaded already.
        """
        from invdesign.validators.potential import load_potential

        if not structures:
            return []
        potential = potential or cast("CHGNetPotential", load_potential("chgnet"))
        _, embeddings, failures = potential.embed(structures)
        genes = [_gene(structure) for structure in structures]
        found = self.ensemble.predict(structure_matrix(structures, genes, embeddings))
        estimates = [row["band_gap"] for row in found]
        for index in failures:
            estimates[index] = replace(estimates[index], in_domain=False)
        return estimates


def _gene(structure: Structure) -> Gene:
    """The structure's gene; every atom in general position where no symmetry is found."""
    from invdesign.crystal.gene import Gene
    from invdesign.crystal.symmetry import SymmetryError, gene_of

    try:
        return gene_of(structure)[0]
    except SymmetryError:
        return Gene(1, tuple((site.specie.symbol, "a") for site in structure))


def build(config: BandGapConfig, *, progress: Progress) -> Path:
    """Train, measure and write a band-gap model."""
    from invdesign.predictors.card import band_gap_card, write_release

    table = training_table(config, progress)
    ensemble = fit(table, HEADS, config.network, config.seed, lambda s, m: progress(0.2 + 0.75 * s, m))
    write_release(ensemble, config, band_gap_card(ensemble, table))
    progress(1.0, f"written to {config.out}")
    return config.out


def training_table(config: BandGapConfig, progress: Progress) -> Table:
    """Features and gaps of mp20 and wbm, and the lowest gap of each Materials Project composition."""
    from invdesign.data.dataset import read_dataset
    from invdesign.validators.potential_table import potential_table

    features, gaps, formulas, source = [], [], [], []
    for place, name in enumerate(SOURCES):
        progress(0.1 * place, f"features of {name}")
        crystals = read_crystals(config, name)
        path = config.data / "structures" / f"{name}.csv.gz"
        embeddings = potential_table(path, cache_dir=config.cache).embedding[crystals.rows]
        structures = [entry.structure for entry in read_dataset(path)]
        kept = [structures[row] for row in crystals.rows]
        features.append(structure_matrix(kept, crystals.genes, embeddings))
        gaps.append(crystals.column("band_gap"))
        formulas += [gene.formula for gene in crystals.genes]
        source += [name] * len(kept)
    labels = np.concatenate(gaps)[:, None]
    taught = lowest_by_composition(config.data / "compositions" / "mp_band_gap.csv.gz", "band_gap")
    return assemble(
        np.concatenate(features),
        np.where(labels < METALLIC, 0.0, labels),
        formulas,
        np.array(source),
        taught=[taught],
        seed=config.seed,
    )
