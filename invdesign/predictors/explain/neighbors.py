"""Known materials with their properties, found by the similarity of CHGNet embeddings.

A small released table, to compare a prediction with known values.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from invdesign.composition.formula import formula_amounts
from invdesign.crystal.chemical_formula import chemical_formula
from invdesign.errors import InputError
from invdesign.io.artifacts import find

FILE = "neighbors.npz"
CLIP = 8.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A known material near a crystal.

    ``distance``: 1 is the median distance between a known material and its nearest other composition.
    """

    id: str
    formula: str
    space_group: int
    distance: float
    properties: dict[str, float]


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Known materials as points.

    Attributes:
        ids: (n,).
        formulas: (n,).
        space_group: (n,).
        points: (n, k) principal components of standardised embeddings.
        names: (p,) of the properties.
        values: (n, p) nan where unknown.
        mean: (d,) of the embeddings.
        std: (d,).
        axes: (d, k).
        scale: typical distance of the nearest other composition.
    """

    ids: np.ndarray
    formulas: np.ndarray
    space_group: np.ndarray
    points: np.ndarray
    names: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    axes: np.ndarray
    scale: np.ndarray

    @classmethod
    def load(cls, name: str | Path = "neighbors") -> Neighbors:
        """Return the released table, or one in a user's folder.

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
    ) -> Neighbors:
        """From embeddings (n, d) without nan."""
        mean, std = embeddings.mean(axis=0), embeddings.std(axis=0) + 1e-6
        scaled = np.clip((embeddings - mean) / std, -CLIP, CLIP)
        axes = np.linalg.svd(scaled, full_matrices=False)[2][:n_components].T
        table = cls(
            ids=ids,
            formulas=formulas,
            space_group=space_group.astype(np.uint8),
            points=(scaled @ axes).astype(np.float16),
            names=np.array(list(values), dtype=np.str_),
            values=np.stack(list(values.values()), axis=1).astype(np.float32),
            mean=mean.astype(np.float32),
            std=std.astype(np.float32),
            axes=axes.astype(np.float32),
            scale=np.array(1.0, dtype=np.float32),
        )
        sample = np.arange(0, len(ids), max(1, len(ids) // 500))
        _, nearest = table.nearest_other(embeddings, sample, np.arange(len(ids)))
        return replace(table, scale=np.median(nearest).astype(np.float32))

    def nearest(
        self, embeddings: np.ndarray, k: int = 5, *, known: str | None = None
    ) -> list[list[Neighbor]]:
        """Return the nearest known materials of each embedding (m, d), nearest first; none where it is nan.

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
        found: list[list[Neighbor]] = []
        for distances in self._distances(embeddings, rows):
            if np.isnan(distances).any():
                found.append([])
                continue
            order = np.argsort(distances, kind="stable")[:k]
            found.append([self._neighbor(int(rows[i]), float(distances[i])) for i in order])
        return found

    def save(self, folder: Path) -> None:
        """Write ``neighbors.npz``."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(folder / FILE, allow_pickle=False, **arrays)

    def _column(self, name: str) -> int:
        names = self.names.tolist()
        if name not in names:
            raise InputError(f"property: no known material has {name!r}; take one of {', '.join(names)}.")
        return int(names.index(name))

    def _distances(self, embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(m, rows) in units of ``scale``."""
        scaled = np.clip((embeddings - self.mean) / self.std, -CLIP, CLIP)
        points = (scaled @ self.axes).astype(np.float32)
        known = self.points[rows].astype(np.float32)
        distances = np.stack([np.linalg.norm(known - point, axis=1) for point in points])
        return np.asarray(distances / self.scale)

    def nearest_other(
        self, embeddings: np.ndarray, rows: np.ndarray, among: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row and distance of the nearest material of another composition, each (rows,)."""
        distances = self._distances(embeddings[rows], among)
        same = self.formulas[rows][:, None] == self.formulas[among][None]
        distances = np.where(same, np.inf, distances)
        return among[distances.argmin(axis=1)], distances.min(axis=1)

    def _neighbor(self, row: int, distance: float) -> Neighbor:
        values = zip(self.names.tolist(), self.values[row].tolist(), strict=True)
        known = {name: value for name, value in values if np.isfinite(value)}
        return Neighbor(
            str(self.ids[row]),
            chemical_formula(formula_amounts(str(self.formulas[row]))),
            int(self.space_group[row]),
            distance,
            known,
        )
