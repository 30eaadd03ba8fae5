"""What a shortlist was made with, for the machines that take it on: components, seeds, hashes of weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.io.artifacts import Kind, resolve
from invdesign.io.provenance import folder_digest


def made_with(config: CampaignConfig, components: Components) -> dict[str, Any]:
    """Describe the campaign as plain JSON for ``shortlist.json``, without time and machine.

    Returns:
        ``target`` in the language of targets and in ``words``, ``seed``, ``potential``, and ``weights``:
        a SHA-256 by part of every folder of weights or tables (16 digits of the potential's file). Custom
        objects have none.
    """
    potential = components.get("potential")
    weights = {f"potential {potential.name}": potential.digest}
    models = [*components.generators.values(), *(components.predictors or {}).values()]
    models += [components.geometry, components.ranker, components.synthesizability]
    tables = [components.known, components.hull, components.calibration or potential.name]
    weights |= _digests("models", models) | _digests("validators", tables)
    return {
        "target": str(config.target),
        "words": config.words(),
        "seed": config.seed,
        "potential": potential.name,
        "weights": weights,
    }


def _digests(kind: Kind, components: Iterable[Any]) -> dict[str, str]:
    """Hash by name of what lies in a folder; a generator without weights has none."""
    folders = {resolve(kind, part) for part in components if isinstance(part, str)}
    return {f"{kind}/{folder.name}": folder_digest(folder) for folder in sorted(folders) if folder.is_dir()}
