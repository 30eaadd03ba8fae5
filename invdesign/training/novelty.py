"""Build ``validators/known-materials``: an index of compositions, genes and prototypes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invdesign.composition.formula import composition_key, read_compositions, text_hash
from invdesign.crystal.gene import Gene
from invdesign.data.dataset import read_dataset
from invdesign.filters.novelty import INDEX, KnownMaterials, Source, prototype_label
from invdesign.io.progress import Progress
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe

if TYPE_CHECKING:
    from pymatgen.core import Structure


STRUCTURES = {"mp20": Source.REPORTED, "mpts52": Source.REPORTED, "wbm": Source.HYPOTHETICAL}
ROWS = 36_342  # of all three, for the progress


class KnownMaterialsConfig(Recipe):
    """Recipe of an index; kind ``known-materials``."""

    kind: Literal["known-materials"]
    data: Path
    seed: int = 0  # of the sample that the card's metrics are measured on
    pairs: int = 1500  # pairs of crystals in that sample


@dataclass(frozen=True, slots=True)
class Crystal:
    """A crystal to index, its structure as bare arrays: 36 000 pymatgen structures would take a gigabyte."""

    id: str
    gene: Gene
    matrix: np.ndarray  # cell rows, Å, (3, 3)
    numbers: np.ndarray  # atomic numbers, (n,)
    positions: np.ndarray  # fractional, (n, 3)

    @classmethod
    def of(cls, name: str, structure: Structure) -> Crystal:
        """Compute genes; raise SymmetryError where a structure has none."""
        from invdesign.crystal.symmetry import gene_of

        numbers = np.array(structure.atomic_numbers, dtype=np.uint8)
        return cls(name, gene_of(structure)[0], structure.lattice.matrix, numbers, structure.frac_coords)

    @property
    def structure(self) -> Structure:
        """Return the pymatgen structure."""
        from pymatgen.core import Structure

        return Structure(self.matrix, self.numbers.tolist(), self.positions)


def build(config: KnownMaterialsConfig, *, progress: Progress) -> Path:
    """Build the index from ``compositions/mp_hull.csv.gz`` and the structure sets; returns its folder."""
    progress(0.0, "reading compositions")
    sources: dict[int, int] = defaultdict(int)
    for formula in read_compositions(config.data / "compositions" / "mp_hull.csv.gz").formulas:
        sources[text_hash(composition_key(formula))] |= Source.MATERIALS_PROJECT
    crystals, failed = _crystals(config.data / "structures", sources, progress)
    known = index(crystals, sources)
    progress(0.85, "measuring")
    known.save(config.out / INDEX)
    matching = compare_with_matcher(crystals, config.pairs, config.seed)
    write_card(config, "known_materials", measure_index(known, failed, matching))
    progress(1.0, f"{len(known.compositions)} compositions, {len(known.genes)} crystals in {config.out}")
    return config.out


def index(crystals: list[Crystal], sources: dict[int, int]) -> KnownMaterials:
    """Build the index of crystals, and of compositions by hash."""
    compositions = np.array(sorted(sources), dtype=np.uint64)
    genes = np.array([int(crystal.gene.hash, 16) for crystal in crystals], dtype=np.uint64)
    order = np.argsort(genes, kind="stable")
    return KnownMaterials(
        compositions=compositions,
        sources=np.array([sources[int(key)] for key in compositions], dtype=np.uint8),
        genes=genes[order],
        ids=tuple(crystals[i].id for i in order),
        prototypes=np.array(sorted({text_hash(prototype_label(c.gene)) for c in crystals}), dtype=np.uint64),
    )


def _crystals(folder: Path, sources: dict[int, int], progress: Progress) -> tuple[list[Crystal], list[str]]:
    """Return the crystals of the structure sets and the ids of those without a gene; fill ``sources``."""
    from invdesign.crystal.symmetry import SymmetryError

    crystals: list[Crystal] = []
    failed: list[str] = []
    for name, source in STRUCTURES.items():
        for entry in read_dataset(folder / f"{name}.csv.gz"):
            key = composition_key(entry.structure.composition)
            sources[text_hash(key)] |= source
            try:
                crystals.append(Crystal.of(entry.id, entry.structure))
            except SymmetryError:
                failed.append(entry.id)
            if len(crystals) % 500 == 0:
                progress(0.02 + 0.8 * len(crystals) / ROWS, f"genes of {name}")
    return crystals, failed


def compare_with_matcher(crystals: list[Crystal], pairs: int, seed: int) -> dict[str, int]:
    """Compare gene identity with ``StructureMatcher`` on pairs of equal composition.

    Returns:
        Number of pairs, and of those equal by both, by gene only, by matcher only, by neither.
    """
    from invdesign.crystal.matching import same_crystal

    by_formula: dict[str, list[Crystal]] = defaultdict(list)
    for crystal in crystals:
        by_formula[composition_key(crystal.gene.amounts)].append(crystal)
    candidates = [pair for group in by_formula.values() for pair in combinations(group, 2)]
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:pairs]
    counts = {"pairs": len(chosen), "both": 0, "gene": 0, "matcher": 0, "neither": 0}
    for i in chosen:
        a, b = candidates[int(i)]
        gene, matcher = a.gene.hash == b.gene.hash, same_crystal(a.structure, b.structure)
        counts[{(1, 1): "both", (1, 0): "gene", (0, 1): "matcher", (0, 0): "neither"}[gene, matcher]] += 1
    return counts


def measure_index(known: KnownMaterials, failed: list[str], matching: dict[str, int]) -> dict[str, Any]:
    """Return the numbers of an index's card.

    Args:
        known: the index.
        failed: ids of crystals without a gene.
        matching: of :func:`compare_with_matcher`.
    """
    sources = {str(source.name).lower(): int(((known.sources & source) > 0).sum()) for source in Source}
    return {
        "n_compositions": len(known.compositions),
        "n_crystals": len(known.genes),
        "n_genes": len(np.unique(known.genes)),
        "n_prototypes": len(known.prototypes),
        "sources": sources | {"only_hypothetical": int((known.sources == Source.HYPOTHETICAL).sum())},
        "without_gene": failed,
        "matching": matching,
    }
