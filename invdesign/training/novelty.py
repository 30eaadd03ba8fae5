"""Build ``validators/known-materials``: the known compositions and crystals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invdesign.composition.formula import composition_key, read_compositions, text_hash
from invdesign.core.properties import MEASURED_GAP, PBE_GAP, STABILITY
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import SymmetryError, gene_of, realise
from invdesign.data.dataset import read_dataset
from invdesign.data.materials_project import MaterialsProject
from invdesign.filters.known_crystals import Crystals
from invdesign.filters.novelty import INDEX, MVC, REPORTED_COLUMNS, KnownMaterials, Source, prototype_label
from invdesign.io.progress import Progress
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe

if TYPE_CHECKING:
    from pymatgen.core import Structure


REPORTED_SETS = ("mp20", "mpts52")  # experimentally known crystals of the Materials Project
ROWS = 170_000  # of all sets, for the progress


class KnownMaterialsConfig(Recipe):
    """Recipe of an index; kind ``known-materials``."""

    kind: Literal["known-materials"]
    data: Path


@dataclass(frozen=True, slots=True)
class Crystal:
    """A crystal to index.

    Attributes:
        number: in its source.
        source: where it is known from.
        gene: its gene.
        geometry: its cell and coordinates.
        reported: by column of ``REPORTED_COLUMNS``, where it has a value.
    """

    number: int
    source: Source
    gene: Gene
    geometry: Geometry
    reported: Mapping[str, float]

    @classmethod
    def of(cls, number: int, source: Source, structure: Structure, reported: Mapping[str, float]) -> Crystal:
        """Compute the gene; raise SymmetryError where a structure has none."""
        return cls(number, source, *gene_of(structure), reported)


def build(config: KnownMaterialsConfig, *, progress: Progress) -> Path:
    """Build the index from ``compositions/mp_hull.csv.gz`` and the structure sets; returns its folder."""
    progress(0.0, "reading compositions")
    hull = _hull(config.data / "compositions" / "mp_hull.csv.gz")
    folder, failed = config.data / "structures", list[str]()
    found = _crystals(folder, hull, failed)
    crystals = []
    for crystal in found:
        crystals.append(crystal)
        if len(crystals) % 1000 == 0:
            progress(0.01 + 0.9 * len(crystals) / ROWS, f"{len(crystals)} crystals")
    progress(0.92, "AFLOW's crystals")
    crystals += _unlike(list(_rows(folder / "aflow_elastic.csv.gz", Source.AFLOW, failed)), crystals)
    progress(0.95, "indexing")
    known = index(crystals, hull)
    known.save(config.out / INDEX)
    write_card(config, "known_materials", measure_index(known, failed))
    progress(1.0, f"{len(known.compositions)} compositions, {len(known.genes)} crystals in {config.out}")
    return config.out


def index(crystals: Iterable[Crystal], in_materials_project: Iterable[int] = ()) -> KnownMaterials:
    """Build the index of crystals, and of further compositions of the Materials Project by hash."""
    sources: dict[int, int] = defaultdict(int)
    for key in in_materials_project:
        sources[key] = Source.MATERIALS_PROJECT
    rows = []
    for crystal in crystals:
        key = text_hash(composition_key(crystal.gene.amounts))
        sources[key] |= crystal.source
        rows.append((key, int(crystal.gene.hash, 16), crystal))
    rows.sort(key=lambda row: (row[0], row[1], row[2].source, row[2].number))
    keys, genes, ordered = zip(*rows, strict=True)
    compositions = np.array(sorted(sources), dtype=np.uint64)
    places = np.searchsorted(compositions, np.array(keys, dtype=np.uint64))
    return KnownMaterials(
        compositions=compositions,
        sources=np.array([sources[int(key)] for key in compositions], dtype=np.uint8),
        counts=np.bincount(places, minlength=len(compositions)).astype(np.uint16),
        prototypes=np.array(sorted({text_hash(prototype_label(c.gene)) for c in ordered}), dtype=np.uint64),
        genes=np.array(genes, dtype=np.uint64),
        numbers=np.array([crystal.number for crystal in ordered], dtype=np.uint32),
        crystal_sources=np.array([crystal.source for crystal in ordered], dtype=np.uint8),
        reported={
            name: np.array([c.reported.get(name, np.nan) for c in ordered], dtype=np.float16)
            for name in REPORTED_COLUMNS
        },
        crystals=Crystals.of((crystal.gene, crystal.geometry) for crystal in ordered),
    )


def _hull(path: Path) -> dict[int, float]:
    """Energy of the hull by hash of composition, eV/atom, for the compositions of the Materials Project."""
    table = read_compositions(path)
    formation, above = (table.columns[f"{name}_energy_per_atom"] for name in ("formation", "decomposition"))
    keys = [text_hash(composition_key(formula)) for formula in table.formulas]
    return dict(zip(keys, (formation - np.maximum(above, 0)).tolist(), strict=True))


def _crystals(folder: Path, hull: Mapping[int, float], failed: list[str]) -> Iterator[Crystal]:
    """Read the Materials Project's crystals, each once, and WBM's; those without a gene go to ``failed``."""
    table = MaterialsProject.read(folder / "mp_structures.npz")
    row_of = {int(number): row for row, number in enumerate(table.columns["material_id"])}
    experimental: dict[int, dict[str, float]] = {}
    for name in REPORTED_SETS:
        for entry in read_dataset(folder / f"{name}.csv.gz"):
            prefix, digits = entry.id.split("-")
            number = int(digits) + MVC * (prefix == "mvc")
            if number in experimental:
                continue
            properties = {key: entry.properties[key] for key in _OURS if key in entry.properties}
            experimental[number] = properties
            if number not in row_of:
                source = Source.MATERIALS_PROJECT | Source.REPORTED
                yield from _crystal(number, source, entry.structure, properties, failed)
    for number, row in row_of.items():
        structure = table.structure(row)
        reported = _reported(table.columns, row, structure, hull) | experimental.get(number, {})
        source = Source.MATERIALS_PROJECT | (Source.REPORTED if number in experimental else 0)
        yield from _crystal(number, source, structure, reported, failed)
    yield from _rows(folder / "wbm.csv.gz", Source.HYPOTHETICAL, failed)


_OURS = (PBE_GAP, STABILITY)  # of mp20 and mpts52


def _reported(
    table: Mapping[str, np.ndarray], row: int, structure: Structure, hull: Mapping[int, float]
) -> dict[str, float]:
    """Gaps and energy above hull of a row, where it has them; those to identify by alone have none."""
    if table["identity_only"][row]:
        return {}
    energy = hull.get(text_hash(composition_key(structure.composition)), np.nan)
    values = {
        PBE_GAP: table["band_gap" if np.isfinite(table["band_gap"][row]) else "band_gap_later"][row],
        MEASURED_GAP: table["band_gap_experimental"][row],
        STABILITY: np.maximum(table["formation_energy_per_atom"][row] - energy, 0),
    }
    return {name: float(value) for name, value in values.items()}


def _rows(path: Path, source: Source, failed: list[str]) -> Iterator[Crystal]:
    """Read a set whose crystals are known by their row."""
    for number, entry in enumerate(read_dataset(path), start=1):
        gap = {name: entry.properties[name] for name in (PBE_GAP,) if name in entry.properties}
        yield from _crystal(number, source, entry.structure, gap, failed)


def _crystal(
    number: int, source: Source, structure: Structure, reported: Mapping[str, float], failed: list[str]
) -> Iterator[Crystal]:
    try:
        yield Crystal.of(number, source, structure, reported)
    except SymmetryError:
        failed.append(f"{source.name} {number}")


def _unlike(crystals: Sequence[Crystal], others: Iterable[Crystal]) -> list[Crystal]:
    """Those that are none of others, each gene once."""
    formulas = {crystal.gene.formula for crystal in crystals}
    known = index(crystal for crystal in others if crystal.gene.formula in formulas)
    found: dict[str, Crystal] = {}
    for crystal in crystals:
        gene, geometry = crystal.gene, crystal.geometry
        if not (gene.hash in found or known.with_gene(gene) or known.same_as(realise(gene, geometry))):
            found[gene.hash] = crystal
    return list(found.values())


def measure_index(known: KnownMaterials, failed: list[str]) -> dict[str, Any]:
    """Return the numbers of an index's card.

    Args:
        known: the index.
        failed: crystals without a gene.
    """

    def count(sources: np.ndarray) -> dict[str, int]:
        return {str(source.name).lower(): int(((sources & source) > 0).sum()) for source in Source}

    return {
        "n_compositions": len(known.compositions),
        "n_crystals": len(known.genes),
        "n_genes": len(np.unique(known.genes)),
        "n_prototypes": len(known.prototypes),
        "sources": count(known.sources)
        | {"only_hypothetical": int((known.sources == Source.HYPOTHETICAL).sum())},
        "crystals": count(known.crystal_sources),
        "without_structure": int((known.counts == 0).sum()),
        "reported": {name: int(np.isfinite(column).sum()) for name, column in known.reported.items()},
        "without_gene": failed,
    }
