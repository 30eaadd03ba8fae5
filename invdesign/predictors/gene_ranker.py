"""Quick rank of genes before any geometry: energy above hull and band gap from the gene alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from invdesign.core.candidate import Estimate
from invdesign.crystal.gene import Gene
from invdesign.data.prototypes import KnownPrototypes, load_library
from invdesign.predictors.features.composition_and_gene import gene_matrix
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.stability.hull.hull import Hull

SOURCES = ("mp20", "mpts52", "wbm")
CHOSEN, UNSELECTED = "generated, chosen", "generated"
ORIGINS = {"mp20": 0, "mpts52": 0, "wbm": 1, CHOSEN: 2, UNSELECTED: 2}
"""Reported, made by substitution, generated: the same features mean another energy above hull in each."""
N_ORIGINS = 3
REPORTED, SUBSTITUTED = "mp20", "wbm"


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
        """Return a released model by name, or a model from a folder.

        Raises:
            InputError: the folder or a file of it is missing or damaged.
        """
        return cls(Ensemble.load(name, kind="gene-rank"), Hull.load(), known_crystals())

    def predict(self, genes: Sequence[Gene]) -> list[dict[str, Estimate]]:
        """Return estimates by property, in the order given (a thousand genes a second on one thread).

        Equivalent settings of a gene get one answer.
        """
        if not genes:
            return []
        genes = [gene.canonical() for gene in genes]  # as the known crystals are
        distinct = list(dict.fromkeys(genes))  # rows of a batch can differ in the last bit
        matrix = rank_matrix(distinct, UNSELECTED, self.hull, self.known)
        energies = self.ensemble.predict(matrix)
        gaps = self.ensemble.predict(query_origin_features(matrix))
        estimates = {
            gene: {"e_above_hull": energy["e_above_hull"], "band_gap": gap["band_gap"]}
            for gene, energy, gap in zip(distinct, energies, gaps, strict=True)
        }
        return [dict(estimates[gene]) for gene in genes]


def rank_matrix(
    genes: Sequence[Gene], source: str, hull: Hull, known: Sequence[KnownPrototypes]
) -> np.ndarray:
    """Return the features of genes, (n, d): gene, hull, similarity to known crystals, origin.

    Args:
        genes: any.
        source: one of ``ORIGINS``.
        hull: of known phases.
        known: of ``known_crystals``.
    """
    parts = [
        gene_matrix(genes),
        hull_matrix(genes, hull),
        similarity_matrix(genes, source, known),
        origin_matrix(len(genes), source),
    ]
    return np.concatenate(parts, axis=1)


def query_origin_features(matrix: np.ndarray) -> np.ndarray:
    """Rows of ``rank_matrix`` as those of crystals halfway between reported and substituted.

    As generated ones they would follow what a model predicted for those, and intervals miss DFT.
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
    """Return the hull at the genes' compositions, (n, 5); NaN where the hull lacks an element.

    Its depth (eV/atom), the logarithm of the number of phases known in the chemical system, whether this
    composition is, into how many phases a compound of it would decompose, and the share of the largest.
    """
    known, hull = hull.elements, hull.as_published()
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
    """Return the known crystals whose geometry a gene may inherit, and the reported ones of these."""
    library = load_library()
    reported = ~np.char.startswith(library.ids, SUBSTITUTED)
    return KnownPrototypes(library), KnownPrototypes(library.select(reported))


def similarity_matrix(genes: Sequence[Gene], source: str, known: Sequence[KnownPrototypes]) -> np.ndarray:
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
