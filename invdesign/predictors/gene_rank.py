"""Quick rank of genes before any geometry: energy above hull and band gap from the gene alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from invdesign.data.prototypes import KnownPrototypes, load_library
from invdesign.predictors.features.composition_and_gene import gene_matrix
from invdesign.predictors.models.ensemble import Ensemble, Head
from invdesign.stability.hull.hull import Hull
from invdesign.training.predictors.assemble import (
    PredictorConfig,
    assemble,
    lowest_by_composition,
    read_crystals,
)
from invdesign.training.predictors.ensemble import fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from invdesign.core.candidate import Estimate
    from invdesign.crystal.gene import Gene
    from invdesign.training.predictors.ensemble import Table

    Progress = Callable[[float, str], None]

SOURCES = ("mp20", "mpts52", "wbm")
CHOSEN, UNSELECTED = "generated, chosen", "generated"
ORIGINS = {"mp20": 0, "mpts52": 0, "wbm": 1, CHOSEN: 2, UNSELECTED: 2}
"""Reported, made by substitution, generated: the same features mean another height in each."""
N_ORIGINS = 3
HEADS = (
    Head("e_above_hull", calibrated_on=UNSELECTED),
    Head("band_gap", zero=True),
    Head("formation_energy_per_atom"),  # teaches the shared layers; not reported
)
REPORTED, SUBSTITUTED = "mp20", "wbm"
OLDER_SCALE = "wbm"  # its formation energies need the shift to MP2020
RANGE = (-0.2, 0.5)  # eV/atom; how far beyond is of no interest


class GeneRankConfig(PredictorConfig):
    """Recipe of a gene ranker; kind ``gene-rank``."""

    kind: Literal["gene-rank"]
    relaxed: str = "relaxed-genes"
    unselected: int  # seed of the campaign that relaxed nearly all; calibrates and tests


class GeneRanker:
    """Estimates of ``e_above_hull`` (eV/atom) and ``band_gap`` (eV) of generated genes.

    Example:
        >>> GeneRanker.load().predict([Gene.parse("225 Na@a Cl@b")])[0]["band_gap"].value  # doctest: +SKIP
        5.0
    """

    def __init__(self, ensemble: Ensemble, hull: Hull, known: Sequence[KnownPrototypes]) -> None:
        self.ensemble = ensemble
        self.hull = hull
        self.known = known

    @classmethod
    def load(cls, name: str | Path = "gene-rank") -> GeneRanker:
        """A released model by name, or a user's own folder.

        Raises:
            InputError: the folder or a file of it is missing or damaged.
        """
        return cls(Ensemble.load(name, kind="gene-rank"), Hull.load(), known_crystals())

    def predict(self, genes: Sequence[Gene]) -> list[dict[str, Estimate]]:
        """Estimates by property, in the order given (a thousand genes a second on one thread).

        Equivalent settings of a gene get one answer.
        """
        if not genes:
            return []
        genes = [gene.canonical() for gene in genes]  # as the known crystals are
        matrix = rank_matrix(genes, UNSELECTED, self.hull, self.known)
        heights, gaps = self.ensemble.predict(matrix), self.ensemble.predict(asked_for_gaps(matrix))
        return [
            {"e_above_hull": height["e_above_hull"], "band_gap": gap["band_gap"]}
            for height, gap in zip(heights, gaps, strict=True)
        ]


def rank_matrix(
    genes: Sequence[Gene], source: str, hull: Hull, known: Sequence[KnownPrototypes]
) -> np.ndarray:
    """What the ranker sees of genes, (n, d): themselves, the hull there, likeness to known crystals, origin.

    Args:
        genes: any.
        source: one of ``ORIGINS``.
        hull: of known phases.
        known: of ``known_crystals``.
    """
    parts = [
        gene_matrix(genes),
        hull_matrix(genes, hull),
        likeness_matrix(genes, source, known),
        origin_matrix(len(genes), source),
    ]
    return np.concatenate(parts, axis=1)


def asked_for_gaps(matrix: np.ndarray) -> np.ndarray:
    """Rows of ``rank_matrix`` as those of crystals halfway between reported and substituted.

    Asked as generated ones they would follow what a model told of those, and intervals miss DFT.
    """
    asked = matrix.copy()
    asked[:, -N_ORIGINS:] = sum(origin_matrix(len(matrix), name) for name in (REPORTED, SUBSTITUTED)) / 2
    return asked


def origin_matrix(n: int, source: str) -> np.ndarray:
    """One-hot origin of ``n`` rows from one source, (n, ``N_ORIGINS``)."""
    rows = np.zeros((n, N_ORIGINS), dtype=np.float32)
    rows[:, ORIGINS[source]] = 1.0
    return rows


def hull_matrix(genes: Sequence[Gene], hull: Hull) -> np.ndarray:
    """The hull at the genes' compositions, (n, 5); NaN where the hull lacks an element.

    Its depth (eV/atom), the logarithm of the number of phases known in the chemical system, whether this
    composition is, into how many phases a compound of it would decompose, and the share of the largest.
    """
    known = hull.elements
    rows = np.full((len(genes), 5), np.nan, dtype=np.float32)
    for i, gene in enumerate(genes):
        if known.issuperset(gene.elements):
            place = hull.e_above_hull(gene.composition, 0.0)
            shares = place.decomposition.values()
            rows[i] = (
                place.e_above_hull,
                np.log(place.n_phases),
                place.composition_known,
                len(shares),
                max(shares),
            )
    return rows


def known_crystals() -> tuple[KnownPrototypes, KnownPrototypes]:
    """The known crystals that a gene may inherit its geometry from, and those of them that were reported."""
    library = load_library()
    reported = ~np.char.startswith(library.ids, SUBSTITUTED)
    return KnownPrototypes(library), KnownPrototypes(library.select(reported))


def likeness_matrix(genes: Sequence[Gene], source: str, known: Sequence[KnownPrototypes]) -> np.ndarray:
    """How like the genes are to ``known_crystals`` of their prototype, (n, 5).

    Whether there is one; how unlike the nearest is per orbit (NaN where there is none) and the logarithm of
    how many there are; the same two of those that were reported. What is itself one of the known crystals
    sees those of other compositions alone.
    """
    (distance, n), (reported_distance, n_reported) = (
        crystals.nearest(genes, others=source in SOURCES).T for crystals in known
    )
    columns = [n > 0, distance, np.log1p(n), reported_distance, np.log1p(n_reported)]
    return np.stack(columns, axis=1).astype(np.float32)


def build(config: GeneRankConfig, *, progress: Progress) -> Path:
    """Train, measure and write a gene ranker."""
    from invdesign.training.cards.ensemble import gene_rank_card, write_release

    table = training_table(config, progress)
    ensemble = fit(table, HEADS, config.network, config.seed, lambda s, m: progress(0.2 + 0.75 * s, m))
    write_release(ensemble, config, gene_rank_card(ensemble, table))
    progress(1.0, f"written to {config.out}")
    return config.out


def training_table(config: GeneRankConfig, progress: Progress) -> Table:
    """Gene features, heights above hull, gaps, formation energies; by composition alone for more.

    Heights and gaps of generated crystals are models' answers of the relaxed structure, not DFT's.
    """
    progress(0.0, "energies above hull")
    hull, known = Hull.load(), known_crystals()
    heights, energies = _energies(config)
    blocks = []
    for place, name in enumerate(SOURCES):
        progress(0.05 + 0.05 * place, f"features of {name}")
        crystals = read_crystals(config, name)
        columns = [heights[name][crystals.rows], crystals.column("band_gap"), energies[name][crystals.rows]]
        blocks.append((name, crystals.genes, np.stack(columns, axis=1)))
    blocks += _generated(config)
    return assemble(
        np.concatenate([rank_matrix(genes, name, hull, known) for name, genes, _ in blocks]),
        np.concatenate([labels for _, _, labels in blocks]),
        [gene.formula for _, genes, _ in blocks for gene in genes],
        np.concatenate([np.full(len(genes), name) for name, genes, _ in blocks]),
        taught=_by_composition(config),
        seed=config.seed,
        judged=UNSELECTED,
    )


def _generated(config: GeneRankConfig) -> list[tuple[str, list[Gene], np.ndarray]]:
    """Our own relaxed crystals, of the campaigns that chose whom to relax and of the one that did not."""
    from invdesign.data.relaxed_genes import read_relaxed

    found = read_relaxed(config.relaxed)
    labels = np.full((len(found.proposed), len(HEADS)), np.nan)
    labels[:, 0] = found.e_above_hull.clip(*RANGE)
    labels[:, 1] = found.band_gap
    blocks = []
    for name, rows in (
        (CHOSEN, np.flatnonzero(found.campaign != config.unselected)),
        (UNSELECTED, np.flatnonzero(found.campaign == config.unselected)),
    ):
        blocks.append((name, [found.proposed[row] for row in rows], labels[rows]))
    return blocks


def _energies(config: GeneRankConfig) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Heights above hull (within ``RANGE``) and MP2020 formation energies of every row, by source."""
    from invdesign.training.stability.hull import (
        labelled_e_above_hull,
        load_shift,
        on_mp2020,
        parse,
        read_set,
    )

    labelled = labelled_e_above_hull(config.data)
    source = np.array(labelled.sources)
    heights = {name: labelled.e_above_hull[source == name].clip(*RANGE) for name in SOURCES}
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
    from invdesign.training.stability.hull import load_shift, on_mp2020, parse

    folder = config.data / "compositions"
    hull = folder / "mp_hull.csv.gz"
    heights = lowest_by_composition(hull, "decomposition_energy_per_atom")
    energies = lowest_by_composition(hull, "formation_energy_per_atom")
    shifted = on_mp2020(parse(list(energies)), np.array(list(energies.values())), load_shift())
    return [
        {formula: min(max(height, 0.0), RANGE[1]) for formula, height in heights.items()},
        lowest_by_composition(folder / "mp_band_gap.csv.gz", "band_gap"),
        dict(zip(energies, shifted.tolist(), strict=True)),
    ]
