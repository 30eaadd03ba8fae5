"""Where the gap models fail: error on non-metals by kind of crystal, on their test compositions.

``python benchmarks/gap-errors/gap_errors.py ../shared/data`` (a minute) writes ``gap_errors.json`` and
``README.md`` beside this file. The crystals are mp20's and WBM's of the compositions that both released
models hold out (seed 0), with a PBE gap above zero.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.candidate import Z90
from invdesign.crystal.dimensionality import WORDS, dimensionality
from invdesign.crystal.elements import element_table
from invdesign.data.dataset import read_dataset
from invdesign.io.provenance import git_revision, hardware
from invdesign.predictors.features.structure import describe, embedded
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.training.predictors.table import parts_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

SEED = 0  # of the models' split
MODELS = ("band-gap", "band-gap-finished")
SOURCES = ("mp20", "wbm")
HEAVY = 72  # atomic number from which on spin-orbit coupling and relativity move gaps
LONE_PAIRS = frozenset({"Sn", "Sb", "Te", "Tl", "Pb", "Bi", "In", "As", "Ge", "Se"})
GAPS = (0, 0.5, 1, 2, 3, 5, np.inf)  # eV
ANIONS = ("O", "F", "Cl", "Br", "I", "S", "Se", "Te", "N", "P", "As", "H", "C")
LEAST = 15  # crystals of a row
HERE = Path(__file__).parent


def main(data: Path) -> None:
    """Predict, sort by kind, write figures and table."""
    names, structures, gaps = _held_out(data)
    described = embedded(describe(structures), structures, PropertyPredictor.load(MODELS[1]).embeddings)
    models = {name: PropertyPredictor.load(name) for name in MODELS}
    found = {}
    for name, model in models.items():
        estimates = model.estimates(model.features(described))["band_gap"]
        found[name] = (np.abs(estimates.mean - gaps), Z90 * estimates.sigma, estimates.mean)
    finished = models[MODELS[1]]
    standardised = finished.ensemble.standardise(finished.features(described))
    assert finished.ensemble.domain is not None  # noqa: S101 - released models have one
    distance = finished.ensemble.domain.distance(standardised)
    kinds = [*_kinds(structures, gaps), *_by("predicted", found[MODELS[1]][2], GAPS)]
    third = np.digitize(distance, np.quantile(distance, [1 / 3, 2 / 3]))
    kinds += [
        (f"distance to training, {word} third", third == place)
        for place, word in enumerate(("nearest", "middle", "farthest"))
    ]
    rows = [
        {
            "kind": kind,
            "source": source,
            "n": int(chosen.sum()),
            **{
                name: {
                    "mae": float(error[chosen].mean()),
                    "bias": float((mean - gaps)[chosen].mean()),
                    "interval_holds": float((error <= width)[chosen].mean()),
                }
                for name, (error, width, mean) in found.items()
            },
        }
        for kind, of_kind in [("all", np.ones(len(gaps), bool)), *kinds]
        for source in SOURCES
        for chosen in [of_kind & (names == source)]
        if chosen.sum() >= LEAST
    ]
    out = {"rows": rows, "seed": SEED, "hardware": hardware(), "revision": git_revision()}
    (HERE / "gap_errors.json").write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    (HERE / "README.md").write_text(_table(rows), encoding="utf-8")


def _held_out(data: Path) -> tuple[np.ndarray, list[Structure], np.ndarray]:
    """Source, crystal and gap, eV, of the test rows that are no metals."""
    rows = [
        (source, entry.structure, entry.properties["band_gap"])
        for source in SOURCES
        for entry in read_dataset(data / f"structures/{source}.csv.gz")
        if entry.properties.get("band_gap", 0) >= 0.001  # as the recipes
    ]
    part = parts_of([structure.composition.reduced_formula for _, structure, _ in rows], SEED)
    kept = [row for row, its in zip(rows, part, strict=True) if its == "test"]
    names, structures, gaps = zip(*kept, strict=True)
    return np.array(names), list(structures), np.array(gaps)


def _kinds(structures: list[Structure], gaps: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Kinds of crystals by name, (n,) bool."""
    chi = element_table()["electronegativity"]
    anion = np.array([max(s.elements, key=lambda e: chi[e.Z]).symbol for s in structures])
    for symbol in ANIONS:
        yield f"anion {symbol}", anion == symbol
    yield "anion: none of these", ~np.isin(anion, ANIONS)
    heaviest = np.array([max(e.Z for e in s.elements) for s in structures])
    yield f"an element from Z = {HEAVY} on", heaviest >= HEAVY
    yield f"none from Z = {HEAVY} on", heaviest < HEAVY
    pairs = [
        bool(LONE_PAIRS & ({e.symbol for e in s.elements} - {a}))
        for s, a in zip(structures, anion, strict=True)
    ]
    yield "a cation that may have a lone pair", np.array(pairs)
    connected = np.array([dimensionality(s) for s in structures])
    for number, word in enumerate(WORDS):
        yield f"connectivity: {word}", connected == number
    yield from _by("PBE gap", gaps, GAPS)


def _by(what: str, values: np.ndarray, edges: tuple[float, ...]) -> list[tuple[str, np.ndarray]]:
    """Intervals of values, (n,) bool each."""
    return [
        (
            f"{what} {low:g} to {high:g} eV" if high < np.inf else f"{what} above {low:g} eV",
            (values >= low) & (values < high),
        )
        for low, high in pairwise(edges)
    ]


def _table(rows: list[dict]) -> str:
    head = "".join(f" | {model}: MAE, eV | mean error | interval holds" for model in MODELS)
    text = f"""# Where the gap models fail

Made by `python benchmarks/gap-errors/gap_errors.py ../shared/data`. Non-metals of the test compositions
(seed 0): mean absolute error, mean error, share in the 90 % interval. Kinds of fewer than {LEAST} crystals
are left out.

| crystals | n{head} |
| --- | --- |{" --- |" * 3 * len(MODELS)}
"""
    for row in rows:
        figures = " | ".join(
            f"{row[m]['mae']:.2f} | {row[m]['bias']:+.2f} | {row[m]['interval_holds']:.2f}" for m in MODELS
        )
        text += f"| {row['source']}, {row['kind']} | {row['n']} | {figures} |\n"
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]))
