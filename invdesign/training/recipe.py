"""What every recipe of ``invdesign train`` says, and the record of it that the artifact keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, PlainSerializer

from invdesign.core.target import Target

TargetText = Annotated[Target, PlainSerializer(str)]
"""A target that ``recipe.yaml`` holds as its text."""


class Recipe(BaseModel):
    """A recipe; each kind adds its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    out: Path

    def write(self) -> None:
        """Make the artifact's folder and write ``recipe.yaml`` with every default."""
        self.out.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (self.out / "recipe.yaml").write_text(text, encoding="utf-8")


class DataRecipe(Recipe):
    """A recipe on the folder with ``structures/`` and ``compositions/``; ``cache`` keeps what takes long."""

    data: Path
    seed: int = 0
    cache: Path = Path(".cache/invdesign")
