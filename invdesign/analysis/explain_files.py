"""Files of crystals in; what drove each prediction, and the nearest known materials, out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from invdesign.crystal.structure_files import Unreadable, read_entries
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.lock import locked_folder
from invdesign.predictors.explain.explainer import Explainer
from invdesign.report.plots.attribution import draw_drivers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.crystal.structure_files import Record
    from invdesign.predictors.explain.explainer import Explanation

    Progress = Callable[[float, str], None]

CHUNK = 16
TABLE = "explanations.json"


def explain_files(
    files: Sequence[Path],
    *,
    name: str | None = None,
    model: str | Path | None = None,
    out: Path | None = None,
    progress: Progress = lambda _share, _message: None,
) -> list[dict[str, Any]]:
    """Explain the predictions of a property for every crystal of some files.

    Args:
        files: what :func:`invdesign.crystal.structure_files.read_entries` reads.
        name: the property; default: the band gap, or the model's first.
        model: a folder of one's own, in place of the released model.
        out: folder for a bar chart (PNG) each and ``explanations.json``.
        progress: is told the share that is done and a word on it.

    Returns:
        A dictionary a crystal: label, formula, value with its 90 % interval, ``baseline`` (of ``start``, in
        words) and ``expected``, ``drivers``, ``sites`` and the ``residual`` that they leave, in the
        property's unit, ``neighbors``, ``why``; or label and ``reason`` of what cannot be read or explained.

    Raises:
        InputError: a file or the property cannot be used, or no crystal can be read and explained.
    """
    explainer = Explainer.load(name, model)
    entries = [entry for path in files for entry in read_entries(path)]
    records = [entry for entry in entries if not isinstance(entry, Unreadable)]
    explained = []
    for start in range(0, len(records), CHUNK):
        chunk = records[start : start + CHUNK]
        explained += explainer.explain([record.structure for record in chunk])
        progress((start + len(chunk)) / len(records), f"{start + len(chunk)} of {len(records)} explained")
    rows = iter([_row(explainer, *pair) for pair in zip(records, explained, strict=True)])
    told = [
        {"label": entry.label, "reason": entry.reason} if isinstance(entry, Unreadable) else next(rows)
        for entry in entries
    ]
    if all("reason" in row for row in told):
        raise InputError(told[0]["reason"])
    if out is not None:
        _write(told, out)
    return told


def _row(explainer: Explainer, record: Record, explanation: Explanation) -> dict[str, Any]:
    estimate, attribution = explanation.estimate, explanation.attribution
    if isinstance(attribution, str):
        formula = record.structure.composition.reduced_formula
        return {"label": record.label, "reason": f"{formula} cannot be explained: {attribution}"}
    return {
        "label": record.label,
        "formula": record.structure.composition.reduced_formula,
        "property": explainer.name,
        "words": explainer.words,
        "unit": explainer.unit,
        "value": round(estimate.value, 4),
        "low": round(estimate.low, 4),
        "high": round(estimate.high, 4),
        "p_zero": round(estimate.p_zero, 4),
        "in_domain": estimate.in_domain,
        "start": attribution.start,
        "baseline": round(attribution.baseline, 4),
        "expected": round(attribution.expected, 4),
        "residual": round(attribution.residual, 4),
        "drivers": [
            {
                "name": driver.name,
                "contribution": round(driver.contribution, 4),
                "local_environment": round(driver.local_environment, 4),
            }
            for driver in attribution.drivers
        ],
        "sites": _sites(record.structure, attribution.sites.tolist()),
        "neighbors": [
            {
                "id": near.id,
                "formula": near.formula,
                "space_group": near.space_group,
                "distance": round(near.distance, 3),
                **{name: round(value, 4) for name, value in near.properties.items()},
            }
            for near in explanation.neighbors
        ],
        "why": explainer.phrase(explanation),
    }


def _sites(structure: Structure, parts: Sequence[float]) -> list[dict[str, Any]]:
    """Element, position and contribution of each atom."""
    return [
        {
            "element": site.specie.symbol,
            "position": [round(float(x), 4) for x in site.frac_coords],
            "contribution": round(part, 4),
        }
        for site, part in zip(structure, parts, strict=True)
    ]


def _write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    with locked_folder(out, TABLE):
        with atomic_write(out / TABLE) as draft:
            text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)
            draft.write_text(text + "\n", encoding="utf-8")
        for number, row in enumerate(rows, start=1):
            if "reason" not in row:
                label = re.sub(r"[^A-Za-z0-9.+-]+", "-", row["label"])[:80]
                draw_drivers(row, out / f"{number:04d}_{label}.png")
