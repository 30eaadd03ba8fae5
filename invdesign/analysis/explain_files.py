"""Explain predictions: contributions of elements, bonds and sites, and the nearest known materials."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.inputs import Sample, read_samples
from invdesign.crystal.chemical_formula import formula_of
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.lock import locked_folder
from invdesign.io.progress import Progress, no_progress
from invdesign.io.tables import Results
from invdesign.predictors.explain.explainer import Explainer
from invdesign.report.plots.attribution import draw_drivers

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.predictors.explain.explainer import Explanation

CHUNK = 16
TABLE = "explanations.json"


def explain(
    structures: Any,  # noqa: ANN401 - one or several paths or pymatgen structures
    *,
    name: str | None = None,
    model: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = no_progress,
) -> Results[dict[str, Any]]:
    """Explain the prediction of a property for each crystal.

    >>> (found,) = explain([structure])  # doctest: +SKIP
    >>> {driver["name"]: driver["contribution"] for driver in found["drivers"]}  # doctest: +SKIP

    Args:
        structures: pymatgen structures, or files, folders and tables of them; one or a list.
        name: the property; default: the band gap, or the first property of ``model``.
        model: folder of a custom model in place of the released one.
        out: folder for a bar chart (PNG) per crystal and ``explanations.json``.
        progress: receives the share done and a message.

    Returns:
        A dictionary per crystal: label, formula, value with its 90 % interval, ``baseline`` (the prediction
        for ``start``), ``expected``, ``drivers``, ``sites`` and the ``residual`` between their sum and the
        expected value, in the property's unit, ``neighbors``, ``why``; or label and ``reason`` where the
        crystal cannot be read or explained.

    Raises:
        InputError: a file or the property cannot be used, or no crystal can be read and explained.
    """
    explainer = Explainer.load(name, model)
    samples = read_samples(structures)
    readable = [sample for sample in samples if sample.structure is not None]
    rows: list[dict[str, Any]] = []
    for start in range(0, len(readable), CHUNK):
        chunk = readable[start : start + CHUNK]
        explanations = explainer.explain(
            [sample.structure for sample in chunk if sample.structure is not None]
        )
        rows += [_row(explainer, *pair) for pair in zip(chunk, explanations, strict=True)]
        progress(len(rows) / len(readable), f"{len(rows)} of {len(readable)} explained")
    explained = iter(rows)
    found = [
        next(explained) if sample.structure is not None else {"label": sample.label, "reason": sample.fault}
        for sample in samples
    ]
    if all("reason" in row for row in found):
        raise InputError(found[0]["reason"])
    if out is not None:
        _write(found, Path(out))
    return Results(found, summary=f"explain: {explainer.name} of {len(rows)} crystals")


def _row(explainer: Explainer, sample: Sample, explanation: Explanation) -> dict[str, Any]:
    estimate, attribution, structure = explanation.estimate, explanation.attribution, sample.structure
    assert structure is not None  # noqa: S101 - only readable crystals are explained
    formula = formula_of(structure.composition)
    if isinstance(attribution, str):
        return {"label": sample.label, "reason": f"{formula} cannot be explained: {attribution}"}
    return {
        "label": sample.label,
        "formula": formula,
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
        "sites": _sites(structure, attribution.sites.tolist()),
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


def _sites(structure: Structure, contributions: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {
            "element": site.specie.symbol,
            "position": [round(float(x), 4) for x in site.frac_coords],
            "contribution": round(contribution, 4),
        }
        for site, contribution in zip(structure, contributions, strict=True)
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
