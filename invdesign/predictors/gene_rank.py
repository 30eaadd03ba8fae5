"""Quick rank of genes before any geometry: energy above hull and band gap from the gene alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.predictors.ensemble import Ensemble, Head
from invdesign.predictors.features import gene_matrix
from invdesign.predictors.tables import PredictorConfig, assemble, lowest_by_composition, read_crystals
from invdesign.predictors.training import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from invdesign.candidate import Estimate
    from invdesign.crystal.gene import Gene
    from invdesign.predictors.training import Table

    Progress = Callable[[float, str], None]

SOURCES = ("mp20", "mpts52", "wbm")
HEADS = (
    Head("e_above_hull", calibrated_on="wbm"),  # generated crystals are hypothetical, as those of wbm
    Head("band_gap", zero=True),
    Head("formation_energy_per_atom"),  # teaches the shared layers; not reported
)
REPORTED = ("e_above_hull", "band_gap")
OLDER_SCALE = "wbm"  # its formation energies need the shift to MP2020
HIGHEST = 1.0  # eV/atom; how far above is of no interest beyond


class GeneRankConfig(PredictorConfig):
    """Recipe of a gene ranker; kind ``gene-rank``."""

    kind: Literal["gene-rank"]


class GeneRanker:
    """Estimates of ``e_above_hull`` (eV/atom) and ``band_gap`` (eV) of genes.

    Example:
        >>> GeneRanker.load().predict([Gene.parse("225 Na@a Cl@b")])[0]["band_gap"].value  # doctest: +SKIP
        5.0
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    @classmethod
    def load(cls, name: str | Path = "gene-rank") -> GeneRanker:
        """A released model by name, or a user's own folder.

        Raises:
            InputError: the folder or a file of it is missing or damaged.
        """
        return cls(Ensemble.load(name, kind="gene-rank"))

    def predict(self, genes: Sequence[Gene]) -> list[dict[str, Estimate]]:
        """Estimates by property, in the order given (2 000 genes a second on one thread)."""
        if not genes:
            return []
        found = self.ensemble.predict(gene_matrix(genes))
        return [{name: row[name] for name in REPORTED} for row in found]


def build(config: GeneRankConfig, *, progress: Progress) -> Path:
    """Train, measure and write a gene ranker."""
    from invdesign.predictors.card import gene_rank_card, write_release

    table = training_table(config, progress)
    ensemble = fit(table, HEADS, config.network, config.seed, lambda s, m: progress(0.2 + 0.75 * s, m))
    write_release(ensemble, config, gene_rank_card(ensemble, table))
    progress(1.0, f"written to {config.out}")
    return config.out


def training_table(config: GeneRankConfig, progress: Progress) -> Table:
    """Gene features, heights above hull, gaps, formation energies; by composition alone for more."""
    progress(0.0, "energies above hull")
    heights, energies = _energies(config)
    features, labels, formulas, source = [], [], [], []
    for place, name in enumerate(SOURCES):
        progress(0.05 + 0.05 * place, f"features of {name}")
        crystals = read_crystals(config, name)
        features.append(gene_matrix(crystals.genes))
        columns = [heights[name][crystals.rows], crystals.column("band_gap"), energies[name][crystals.rows]]
        labels.append(np.stack(columns, axis=1))
        formulas += [gene.formula for gene in crystals.genes]
        source += [name] * len(crystals.genes)
    return assemble(
        np.concatenate(features),
        np.concatenate(labels),
        formulas,
        np.array(source),
        taught=_by_composition(config),
        seed=config.seed,
    )


def _energies(config: GeneRankConfig) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Heights above hull (up to ``HIGHEST``) and MP2020 formation energies of every row, by source."""
    from invdesign.validators.hull_build import labelled_e_above_hull, load_shift, on_mp2020, parse, read_set

    labelled = labelled_e_above_hull(config.data)
    source = np.array(labelled.sources)
    heights = {name: np.minimum(labelled.e_above_hull[source == name], HIGHEST) for name in SOURCES}
    energies = {}
    for name in SOURCES:
        table = read_set(config.data, name)
        energies[name] = table["formation_energy_per_atom"].to_numpy()
        if name == OLDER_SCALE:
            compositions = parse(table["pretty_formula"].tolist())
            energies[name] = on_mp2020(compositions, energies[name], load_shift())
    return heights, energies


def _by_composition(config: GeneRankConfig) -> list[dict[str, float]]:
    """For each head, its label by formula where only the composition is known."""
    from invdesign.validators.hull_build import load_shift, on_mp2020, parse

    folder = config.data / "compositions"
    hull = folder / "mp_hull.csv.gz"
    heights = lowest_by_composition(hull, "decomposition_energy_per_atom")
    energies = lowest_by_composition(hull, "formation_energy_per_atom")
    shifted = on_mp2020(parse(list(energies)), np.array(list(energies.values())), load_shift())
    return [
        {formula: min(max(height, 0.0), HIGHEST) for formula, height in heights.items()},
        lowest_by_composition(folder / "mp_band_gap.csv.gz", "band_gap"),
        dict(zip(energies, shifted.tolist(), strict=True)),
    ]
