"""The library of known geometries that ``GeometrySource`` inherits from (recipe kind ``geometries``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from invdesign.data.tokens import TokenSet, join, tokenise

SOURCES = ("mp20", "mpts52", "wbm")


class GeometryLibraryConfig(BaseModel):
    """Recipe of a geometry library."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["geometries"] = "geometries"
    data: Path
    out: Path
    cache: Path = Path(".cache/invdesign")
    seed: int = 0
    max_atoms: int = 20


def build_geometries(config: GeometryLibraryConfig, *, progress: Callable[[float, str], None]) -> Path:
    """Write ``geometries.npz`` and the recipe to ``config.out``."""
    import yaml

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
    config.out.mkdir(parents=True, exist_ok=True)
    join(parts).save(config.out / "geometries.npz")
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(1.0, f"written to {config.out}")
    return config.out
