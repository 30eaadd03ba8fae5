"""Cards: a template in ``templates/`` filled from the numbers in ``metrics.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from invdesign.training.recipe import Recipe

METRICS = "metrics.json"
TEMPLATES = Path(__file__).with_name("templates")


def render_card(template: str, metrics: Mapping[str, Any]) -> str:
    """Fill a template; a number that it names and ``metrics`` lacks is an error.

    Args:
        template: file name in ``templates/``, without ``.md.jinja``.
        metrics: what ``metrics.json`` holds.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        autoescape=False,  # noqa: S701 - Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.md.jinja").render(metrics)


def write_card(recipe: Recipe, template: str, metrics: Mapping[str, Any]) -> None:
    """Write ``recipe.yaml``, ``metrics.json`` and the card (``README.md``) to a recipe's folder."""
    recipe.write()
    write_metrics(recipe.out, template, metrics)


def write_metrics(folder: Path, template: str, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` and the card (``README.md``) that it fills."""
    found = finite(metrics)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    (folder / METRICS).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(render_card(template, found), encoding="utf-8")


def finite(metrics: Any) -> Any:  # noqa: ANN401 - JSON
    """Metrics as JSON may hold them: what is not a number (no case to measure) becomes None."""
    if isinstance(metrics, dict):
        return {name: finite(value) for name, value in metrics.items()}
    if isinstance(metrics, list | tuple):
        return [finite(value) for value in metrics]
    return None if isinstance(metrics, float) and not isfinite(metrics) else metrics
