"""The library of known geometries that ``GeometrySource`` inherits from (recipe kind ``geometries``)."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np

from invdesign.data.tokens import TokenSet, join, tokenise
from invdesign.io.progress import Progress
from invdesign.training.recipe import DataRecipe

SOURCES = ("mp20", "mpts52", "wbm")


class GeometryLibraryConfig(DataRecipe):
    """Recipe of a geometry library."""

    kind: Literal["geometries"] = "geometries"
    max_atoms: int = 20


def build_geometries(config: GeometryLibraryConfig, *, progress: Progress) -> Path:
    """Write ``geometries.npz`` and the recipe to ``config.out``."""
    parts = []
    for i, source in enumerate(SOURCES):
        progress(i / len(SOURCES), f"genes and geometries of {source}")
        tokens = tokenise(
            config.data / "structures" / f"{source}.csv.gz", config.cache, max_atoms=config.max_atoms
        )
        ids = np.array(
            [f"{source}:{name}" if source != "mp20" else name for name in tokens.ids], dtype=np.str_
        )
        parts.append(TokenSet(ids, *(getattr(tokens, field.name) for field in fields(TokenSet)[1:])))
    config.write()
    join(parts).save(config.out / "geometries.npz")
    progress(1.0, f"written to {config.out}")
    return config.out
