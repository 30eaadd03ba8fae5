"""Cards: a template in ``templates/`` filled from the numbers in ``metrics.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def write_card(folder: Path, template: str, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` and the card (``README.md``) of a released artifact."""
    (folder / METRICS).write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(render_card(template, metrics), encoding="utf-8")
