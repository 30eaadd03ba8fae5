"""The command ``evaluate``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from invdesign.cli.app import (
    Calibration,
    Files,
    Json,
    Potential,
    Seed,
    Workers,
    app,
    budget_option,
    passed_on,
    print_json,
)
from invdesign.errors import InputError, quoted
from invdesign.io.progress import shown_progress


@app.command("evaluate")
def evaluate_command(
    files: Files,
    target: Annotated[
        list[str] | None,
        typer.Option(help='Target that the set was made for: "band_gap=1.5±0.25"; repeatable.'),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for evaluation.json and structures.csv; with it a run resumes."),
    ] = None,
    potential: Potential = "chgnet",
    calibration: Calibration = None,
    second_opinion: Annotated[
        str | None,
        typer.Option(
            help="Second potential, such as 7net-0: it relaxes on and places the crystals too, and the rates "
            "stand side by side."
        ),
    ] = None,
    second_calibration: Annotated[
        str | None, typer.Option(help="Calibration of the second potential: name or folder.")
    ] = None,
    hull: Annotated[str, typer.Option(help="Reference hull: name, folder or CSV.")] = "mp-hull",
    reference: Annotated[
        str, typer.Option(help="Known materials, for novelty: name or folder.")
    ] = "known-materials",
    predictor: Annotated[
        list[str] | None,
        typer.Option(
            help="Model of a property in place of the one that design uses: band_gap=band-gap-evaluator, or "
            "PROPERTY=FOLDER; repeatable."
        ),
    ] = None,
    relax: Annotated[bool, typer.Option(help="Relax first, or take the crystals as they are.")] = True,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="Show another set's evaluation.json as a further column; repeatable."),
    ] = None,
    limit: Annotated[int | None, budget_option(help="Evaluate only this many, drawn at random.")] = None,
    seed: Seed = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Evaluate a set of crystals, regardless of source: valid, unique, novel, stable, and on target.

    **Examples**

    invdesign evaluate samples.csv.gz --out evaluation

    invdesign evaluate cifs/ --target "band_gap>3" --limit 200 --json

    invdesign evaluate samples.csv.gz --second-opinion 7net-0

    invdesign evaluate mine.extxyz --compare evaluation/evaluation.json

    invdesign evaluate run --target "band_gap=1.5±0.25" --predictor band_gap=band-gap-evaluator
    """
    options = passed_on(locals(), "files", "predictor", "compare", "as_json")
    from invdesign.analysis.evaluate.report import read_evaluations, show
    from invdesign.api import evaluate

    others, predictors = read_evaluations(compare or []), _predictors(predictor or [])
    with shown_progress() as progress:
        result = evaluate(files, predictors=predictors, progress=progress, **options)
    if as_json:
        print_json(result.as_json())
        return
    from rich.console import Console

    show(result, Console(), others)


def _predictors(texts: list[str]) -> dict[str, str]:
    """Return the model of each property that is named, once."""
    given = [_named(piece) for text in texts for piece in re.split(r",(?=\w+=)", text)]
    models = dict(given)
    if len(models) < len(given):
        raise InputError("predictor: a property has two models; give one a property.")
    return models


def _named(text: str) -> tuple[str, str]:
    """Return a property and its model."""
    prop, equals, model = text.partition("=")
    if not (prop and equals and model):
        raise InputError(
            f"predictor: {quoted(text)} is not PROPERTY=MODEL; give such as band_gap=band-gap-evaluator."
        )
    return prop, model
