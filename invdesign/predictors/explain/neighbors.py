"""Known materials with their properties, found by how alike crystals look to CHGNet.

Recipe kind ``neighbours``: a small released table, so that a prediction can be set beside what is known.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal
from zipfile import BadZipFile

import numpy as np

from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.training.predictors.assemble import Recipe, read_crystals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[float, str], None]

FILE = "neighbours.npz"
COLUMNS = {
    "mp20": {"band_gap": "band_gap", "formation_energy_per_atom": "formation_energy_per_atom"},
    "aflow_elastic": {
        "bulk_modulus": "bulk_modulus_gpa",
        "shear_modulus": "shear_modulus_gpa",
        "debye_temperature": "debye_temperature_k",
        "thermal_conductivity": "thermal_conductivity_w_mk",
    },
}
"""By data set: its columns, and what they are called here."""
NAMED = {"mp20": "", "aflow_elastic": "aflow-"}
"""By data set: what comes before its identifiers."""
CLIP = 8.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A known material near a crystal.

    ``distance``: 1 is the median distance between a known material and its nearest other composition.
    """

    id: str
    formula: str
    space_group: int
    distance: float
    properties: dict[str, float]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Known materials as points.

    Attributes:
        ids: (n,).
        formulas: (n,).
        space_group: (n,).
        points: (n, k) principal components of standardised embeddings.
        names: (p,) of the properties.
        values: (n, p) nan where unknown.
        centre: (d,) of the embeddings.
        spread: (d,).
        axes: (d, k).
        unit: typical distance of the nearest other composition.
    """

    ids: np.ndarray
    formulas: np.ndarray
    space_group: np.ndarray
    points: np.ndarray
    names: np.ndarray
    values: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    axes: np.ndarray
    unit: np.ndarray

    @classmethod
    def load(cls, name: str | Path = "neighbours") -> Neighbours:
        """The released table, or one in a user's folder.

        Raises:
            InputError: the folder or its file is missing or damaged.
        """
        path = find("models", name, needs=(FILE,)) / FILE
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(*(stored[field.name] for field in fields(cls)))
        except (ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: it is damaged ({error}); restore it, or build it again.") from error

    @classmethod
    def of(
        cls,
        ids: np.ndarray,
        formulas: np.ndarray,
        space_group: np.ndarray,
        *,
        values: dict[str, np.ndarray],
        embeddings: np.ndarray,
        n_components: int,
    ) -> Neighbours:
        """From embeddings (n, d) without nan."""
        centre, spread = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
        scaled = np.clip((embeddings - centre) / spread, -CLIP, CLIP)
        axes = np.linalg.svd(scaled, full_matrices=False)[2][:n_components].T
        table = cls(
            ids=ids,
            formulas=formulas,
            space_group=space_group.astype(np.uint8),
            points=(scaled @ axes).astype(np.float16),
            names=np.array(list(values), dtype=np.str_),
            values=np.stack(list(values.values()), axis=1).astype(np.float32),
            centre=centre.astype(np.float32),
            spread=spread.astype(np.float32),
            axes=axes.astype(np.float32),
            unit=np.array(1.0, dtype=np.float32),
        )
        sample = np.arange(0, len(ids), max(1, len(ids) // 500))
        _, nearest = table.nearest_other(embeddings, sample, np.arange(len(ids)))
        return replace(table, unit=np.median(nearest).astype(np.float32))

    def nearest(
        self, embeddings: np.ndarray, k: int = 5, *, known: str | None = None
    ) -> list[list[Neighbour]]:
        """The nearest known materials of each embedding (m, d), nearest first; none where it is nan.

        Args:
            embeddings: of CHGNet.
            k: how many.
            known: a property whose value must be known.

        Raises:
            InputError: the table does not hold that property.
        """
        rows = np.arange(len(self.ids))
        if known is not None:
            rows = np.flatnonzero(np.isfinite(self.values[:, self._column(known)]))
        found: list[list[Neighbour]] = []
        for distances in self._distances(embeddings, rows):
            if np.isnan(distances).any():
                found.append([])
                continue
            order = np.argsort(distances, kind="stable")[:k]
            found.append([self._neighbour(int(rows[i]), float(distances[i])) for i in order])
        return found

    def save(self, folder: Path) -> None:
        """Write ``neighbours.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(folder / FILE, allow_pickle=False, **arrays)

    def _column(self, name: str) -> int:
        names = self.names.tolist()
        if name not in names:
            raise InputError(f"property: no known material has {name!r}; take one of {', '.join(names)}.")
        return int(names.index(name))

    def _distances(self, embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(m, rows) in units of ``unit``."""
        scaled = np.clip((embeddings - self.centre) / self.spread, -CLIP, CLIP)
        points = (scaled @ self.axes).astype(np.float32)
        known = self.points[rows].astype(np.float32)
        distances = np.stack([np.linalg.norm(known - point, axis=1) for point in points])
        return np.asarray(distances / self.unit)

    def nearest_other(
        self, embeddings: np.ndarray, rows: np.ndarray, among: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row and distance of the nearest material of another composition, each (rows,)."""
        distances = self._distances(embeddings[rows], among)
        same = self.formulas[rows][:, None] == self.formulas[among][None]
        distances = np.where(same, np.inf, distances)
        return among[distances.argmin(axis=1)], distances.min(axis=1)

    def _neighbour(self, row: int, distance: float) -> Neighbour:
        values = zip(self.names.tolist(), self.values[row].tolist(), strict=True)
        known = {name: value for name, value in values if np.isfinite(value)}
        return Neighbour(
            str(self.ids[row]), str(self.formulas[row]), int(self.space_group[row]), distance, known
        )


class NeighboursConfig(Recipe):
    """Recipe of the table; kind ``neighbours``."""

    kind: Literal["neighbours"]
    n_components: int = 24


def build(config: NeighboursConfig, *, progress: Progress) -> Path:
    """Write ``neighbours.npz``, the card and the recipe."""
    import yaml

    from invdesign.training.stability.potential_table import potential_table

    ids, formulas, groups, embeddings, values = [], [], [], [], []
    for place, (source, columns) in enumerate(COLUMNS.items()):
        progress(place / len(COLUMNS), f"embeddings of {source}")
        crystals = read_crystals(config, source)
        path = config.data / "structures" / f"{source}.csv.gz"
        table = potential_table(path, cache_dir=config.cache)
        own = table.embedding[crystals.rows]
        sound = np.isfinite(own).all(axis=1)
        genes = [gene for gene, kept in zip(crystals.genes, sound, strict=True) if kept]
        ids += [f"{NAMED[source]}{name}" for name in table.ids[crystals.rows][sound].tolist()]
        formulas += [gene.formula for gene in genes]
        groups += [gene.space_group for gene in genes]
        embeddings.append(own[sound])
        known = {columns[name]: crystals.column(name)[sound] for name in columns}
        values.append(known | {"": np.zeros(sound.sum())})
    names = [name for columns in COLUMNS.values() for name in columns.values()]
    joined = {
        name: np.concatenate([own.get(name, np.full(len(own[""]), np.nan)) for own in values])
        for name in names
    }
    everything = np.concatenate(embeddings)
    known_materials = Neighbours.of(
        np.array(ids),
        np.array(formulas),
        np.array(groups),
        values=joined,
        embeddings=everything,
        n_components=config.n_components,
    )
    known_materials.save(config.out)
    recipe = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    (config.out / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (config.out / "README.md").write_text(card(known_materials, everything), encoding="utf-8")
    progress(1.0, f"{len(ids)} known materials in {config.out}")
    return config.out


def card(table: Neighbours, embeddings: np.ndarray) -> str:
    """The table's README.md, with how much a neighbour's value says."""
    rows = []
    for column, name in enumerate(table.names.tolist()):
        known = np.flatnonzero(np.isfinite(table.values[:, column]))
        values = table.values[:, column]
        sample = known[:: max(1, len(known) // 1000)]
        nearest, _ = table.nearest_other(embeddings, sample, known)
        error = np.abs(values[nearest] - values[sample]).mean()
        spread = np.abs(values[sample] - np.median(values[known])).mean()
        rows.append(f"| {name} | {len(known)} | {error:.3g} | {spread:.3g} |")
    listed = "\n".join(rows)
    return f"""# neighbours: known materials to set a prediction beside

{len(table.ids)} known crystals of up to 20 atoms: identifier, formula, space group, computed properties, and
the first {table.points.shape[1]} principal components of CHGNet 0.3.0's embedding.
`invdesign explain` names the nearest ones; `invdesign train configs/predictors/neighbours.yaml` builds it.

How much the nearest material of another composition says (about 1 000 materials a property):

| property | known | mean difference to the nearest | to the median of all |
| --- | --- | --- | --- |
{listed}

A distance of 1 is the median distance of a known material to the nearest of another composition.

## Sources and terms

Gaps (PBE) and formation energies: MP-20 (Xie et al. 2022) from the Materials Project, CC BY 4.0, ids `mp-…`.
Moduli, Debye temperatures, thermal conductivities: AFLOW (AEL/AGL), ids `aflow-<row>`.

## Not for

Values are computed, not measured. Materials that are missing here may well be known. Near in this space means
alike to a potential: elements, bonds, surroundings; a property that hangs on more can differ.
"""
