"""Build the table of known materials: ``invdesign train configs/predictors/neighbors.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from invdesign.io.progress import Progress
from invdesign.predictors.explain.neighbors import Neighbors
from invdesign.training.cards.render import write_card
from invdesign.training.predictors.table import read_crystals
from invdesign.training.recipe import DataRecipe
from invdesign.training.stability.potential_table import potential_table

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


class NeighborsConfig(DataRecipe):
    """Recipe of the table; kind ``neighbors``."""

    kind: Literal["neighbors"]
    n_components: int = 24


def build_neighbors(config: NeighborsConfig, *, progress: Progress) -> Path:
    """Write ``neighbors.npz``, the card and the recipe."""
    ids, formulas, groups, embeddings, values = [], [], [], [], []
    for place, (source, columns) in enumerate(COLUMNS.items()):
        progress(place / len(COLUMNS), f"embeddings of {source}")
        crystals = read_crystals(config, source)
        path = config.data / "structures" / f"{source}.csv.gz"
        table = potential_table(path, cache_dir=config.cache)
        rows = table.embedding[crystals.rows]
        sound = np.isfinite(rows).all(axis=1)
        genes = [gene for gene, kept in zip(crystals.genes, sound, strict=True) if kept]
        ids += [f"{NAMED[source]}{name}" for name in table.ids[crystals.rows][sound].tolist()]
        formulas += [gene.formula for gene in genes]
        groups += [gene.space_group for gene in genes]
        embeddings.append(rows[sound])
        known = {columns[name]: crystals.column(name)[sound] for name in columns}
        values.append(known | {"": np.zeros(sound.sum())})
    names = [name for columns in COLUMNS.values() for name in columns.values()]
    joined = {
        name: np.concatenate([block.get(name, np.full(len(block[""]), np.nan)) for block in values])
        for name in names
    }
    everything = np.concatenate(embeddings)
    known_materials = Neighbors.of(
        np.array(ids),
        np.array(formulas),
        np.array(groups),
        values=joined,
        embeddings=everything,
        n_components=config.n_components,
    )
    known_materials.save(config.out)
    metrics = {
        "n": len(known_materials.ids),
        "n_components": known_materials.points.shape[1],
        "properties": nearest_metrics(known_materials, everything),
    }
    write_card(config, "neighbors", metrics)
    progress(1.0, f"{len(ids)} known materials in {config.out}")
    return config.out


def nearest_metrics(table: Neighbors, embeddings: np.ndarray) -> dict[str, dict[str, float]]:
    """Return, by property, how well the value of the nearest material of another composition predicts it."""
    found = {}
    for column, name in enumerate(table.names.tolist()):
        known = np.flatnonzero(np.isfinite(table.values[:, column]))
        values = table.values[:, column]
        sample = known[:: max(1, len(known) // 1000)]
        nearest, _ = table.nearest_other(embeddings, sample, known)
        found[name] = {
            "n": len(known),
            "to_nearest": float(np.abs(values[nearest] - values[sample]).mean()),
            "to_median": float(np.abs(values[sample] - np.median(values[known])).mean()),
        }
    return found
