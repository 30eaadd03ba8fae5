"""How well the stability model does on chemical systems that it has not seen, and its card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.predictors.stability.analogues import composition_keys
from invdesign.predictors.stability.model import Stabilities
from invdesign.training.metrics import auc, calibration_error
from invdesign.training.predictors.decoys import KINDS, decoys
from invdesign.training.predictors.stability_data import (
    EXISTS,
    SOURCES,
    Heights,
    joined,
    parts_of,
    read_generated,
    read_wbm,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from invdesign.composition.batch import CompositionBatch
    from invdesign.predictors.stability.context_features import HullContext
    from invdesign.predictors.stability.model import StabilityModel
    from invdesign.training.predictors.stability_data import Sources, StabilityConfig
    from invdesign.training.predictors.table import Table

THRESHOLDS = (0.0, 0.05, 0.1)
TIMES = 100
"""Decoys for a hidden compound."""
HIDDEN_COMPOUNDS = 300
TOP = 0.01


def answers(model: StabilityModel, around: HullContext, batch: CompositionBatch) -> Stabilities:
    """The model's answers with given surroundings instead of its own."""
    mean, sigma, p_exists = model.judge(around.features(batch))
    return Stabilities(mean, sigma, p_exists, model.quantiles)


def energy_metrics(said: Stabilities, height: NDArray[np.floating]) -> dict[str, float]:
    """Errors, intervals and verdicts of heights, eV/atom, (n,)."""
    error = np.abs(said.e_above_hull - height)
    result = {
        "n": len(height),
        "mae": float(error.mean()),
        "median_error": float(np.median(error)),
        "mae_of_median": float(np.abs(height - np.median(height)).mean()),
        "coverage_90": float(((height >= said.low) & (height <= said.high)).mean()),
        "mean_width_90": float((said.high - said.low).mean()),
    }
    for threshold in THRESHOLDS:
        probability, under = said.p_stable(threshold), height <= threshold
        result |= {
            f"{name} at {threshold:g}": value
            for name, value in classification_metrics(probability > 0.5, under).items()
        }
        result[f"auc at {threshold:g}"] = auc(probability, under)
        result[f"ece at {threshold:g}"] = calibration_error(probability, under)
    return result


def classification_metrics(said: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Share of what is true, and precision and recall of what is said."""
    hits = float((said & true).sum())
    return {
        "share": float(true.mean()),
        "precision": hits / max(1.0, float(said.sum())),
        "recall": hits / max(1.0, float(true.sum())),
    }


def enrichment(score: NDArray[np.floating], real: NDArray[np.bool_], top: float = TOP) -> float:
    """How many times as many real ones are in the best ``top`` as among all."""
    best = np.argsort(-score, kind="stable")[: max(1, round(top * len(score)))]
    return float(real[best].mean() / real.mean())


def hidden_compounds(
    sources: Sources, around: HullContext, n: int, seed: int
) -> dict[str, tuple[CompositionBatch, NDArray[np.int64], NDArray[np.float32]]]:
    """By kind of decoy: hidden compounds and their decoys.

    Returns:
        Compositions, to which compound each belongs (-1 - i the compound i itself), and their features.
    """
    rng = np.random.default_rng(seed)
    low = np.flatnonzero((sources.part == "test") & (sources.known.decomposition <= EXISTS))
    real = sources.known.batch.take(np.sort(rng.choice(low, min(n, len(low)), replace=False)))
    of_real = around.features(real)
    found = {}
    for way, neutral in KINDS:
        made, of = decoys((way, neutral), real, sources.all_known, TIMES, rng)
        features = np.concatenate([of_real, around.features(made)])
        owner = np.concatenate([-1 - np.arange(len(real)), of])
        found[f"{way}{', neutral' if neutral else ''}"] = joined([real, made]), owner, features
    return found


def existence_metrics(
    score: NDArray[np.floating], owner: NDArray[np.int64], p_exists: NDArray[np.floating] | None = None
) -> dict[str, float]:
    """How well a score finds hidden compounds among decoys.

    Args:
        score: higher is likelier, (n,).
        owner: as :func:`hidden_compounds` gives it.
        p_exists: calibrated probabilities, where the score has them.
    """
    real = owner < 0
    order = np.random.default_rng(0).permutation(len(score))  # ties fall by chance
    score, real, owner = score[order], real[order], owner[order]
    n = int(real.sum())
    own = np.empty(n)
    own[-1 - owner[real]] = score[real]
    better = np.bincount(owner[~real], score[~real] >= own[owner[~real]], n)
    figures = {
        "n_real": n,
        "n_decoys": int((~real).sum()),
        "auc": auc(score, real),
        "enrichment_top_1_percent": enrichment(score, real),
        "first_of_its_own_decoys": float((better == 0).mean()),
    }
    if p_exists is not None:
        figures["ece"] = calibration_error(p_exists[order], real)
        figures["mean_p_exists"] = float(p_exists.mean())
        figures["share_real"] = float(real.mean())
    return figures


def measure(
    model: StabilityModel, sources: Sources, config: StabilityConfig, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Figures on the held-out systems: of heights by source, of existence by kind of decoy."""
    progress("heights of held-out systems")
    hidden = sources.without("test")
    rows = np.flatnonzero(sources.part == "test")
    real = sources.known.take(rows)
    heights: dict[str, Any] = {
        "mp, system unknown": energy_metrics(answers(model, hidden, real.batch), real.decomposition),
        "mp, rest of its system known": energy_metrics(
            answers(model, model.context, real.batch), real.decomposition
        ),
    }
    for name, own in hypothetical(sources, config, model.context).items():
        heights[name] = energy_metrics(answers(model, hidden, own.batch), own.height)
    exists = {}
    for kind, (_, owner, features) in hidden_compounds(
        sources, hidden, HIDDEN_COMPOUNDS, config.seed
    ).items():
        progress(f"hidden compounds: {kind}")
        p_exists = model.judge(features)[2]
        exists[kind] = existence_metrics(p_exists, owner, p_exists)
    return {"heights": heights, "exists": exists}


def hypothetical(sources: Sources, config: StabilityConfig, around: HullContext) -> dict[str, Heights]:
    """Novel hypothetical compositions of held-out systems, by source."""
    taken = composition_keys(sources.all_known)
    found = {}
    for source, own in zip(
        SOURCES[1:], (read_wbm(config.data, around), read_generated(config.generated)), strict=True
    ):
        used = ~np.isin(composition_keys(own.batch), taken)
        used &= parts_of(own.batch.numbers, config.seed) == "test"
        found[source] = Heights(own.batch.take(used), own.height[used])
    return found


_ROWS = {
    "n": "held out",
    "mae": "**MAE**, eV/atom",
    "median_error": "median error",
    "mae_of_median": "MAE of the median for every one",
    "coverage_90": "90 % interval holds",
    "mean_width_90": "its mean width, eV/atom",
} | {
    f"{name} at {threshold:g}": f"{words} {threshold:g} eV/atom"
    for threshold in THRESHOLDS
    for name, words in (
        ("share", "share truly at or under"),
        ("precision", "… precision of P > 0.5 at"),
        ("recall", "… recall at"),
        ("auc", "… AUC at"),
        ("ece", "… calibration error at"),
    )
}


def card(figures: dict[str, Any], table: Table, config: StabilityConfig, seconds: float) -> str:
    """The model's card."""
    heights = figures["heights"]
    lines = [
        f"| | {' | '.join(heights)} |",
        "| --- |" + " --- |" * len(heights),
        *(
            f"| {words} | " + " | ".join(_number(own[key]) for own in heights.values()) + " |"
            for key, words in _ROWS.items()
        ),
    ]
    exists = [
        f"| {kind} | {own['n_real']} and {own['n_decoys']} | {own['auc']:.3f} | "
        f"{own['enrichment_top_1_percent']:.0f} | {own['first_of_its_own_decoys']:.2f} | {own['ece']:.3f} |"
        for kind, own in figures["exists"].items()
    ]
    counts = {
        source: [int(((table.source == source) & (table.part == part)).sum()) for part in ("train", "test")]
        for source in (*SOURCES, "decoy")
    }
    told = ", ".join(f"{name} {train} and {test}" for name, (train, test) in counts.items())
    return _TEXT.format(
        members=config.network.members,
        told=told,
        heights="\n".join(lines),
        exists="\n".join(exists),
        minutes=seconds / 60,
        times=TIMES,
        mp=heights["mp, system unknown"],
        wbm=heights["wbm"],
    )


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"


_TEXT = """# stability-composition: is there a stable compound of this composition?

Two answers for a formula. `e_above_hull` with a 90 % interval and `p_stable`: how high its lowest structure
would lie, *if* somebody proposes one as the Materials Project and WBM do (below zero: under the hull of its
competitors). `p_exists`: whether there is a compound at most 0.1 eV/atom above the hull at all, where one
formula in a hundred is one. Rank made-up formulas by `p_exists`, or by `p_hit`, which asks for a lower
height too.

{members} small networks. They see the composition, the hull of its competitors (`mp-hull`), and the
known compounds like it: with one element replaced, or the same stoichiometry in like elements. They never see
the composition's own compound: a known formula is judged as if it were novel.

**Data.** Compounds of the Materials Project (`mp_hull.csv.gz`), hypothetical ones of WBM on the same scale,
generated crystals relaxed with two potentials (`relaxed-genes`), and decoys: the same elements in other
stoichiometries, the same stoichiometry with other elements, half of them balanced by usual oxidation states.
All CC BY 4.0. Split by chemical system: those of compounds are in one part only; a decoy goes with the
compound that it was made from, so that of those with other elements about a quarter lie in held-out systems.
Train and test: {told}.
The tables that it looks things up in hold all known compounds. {minutes:.0f} minutes of one core.

## Its limit

**A composition does not know its structure. Do not call a formula stable by this model.** On reported
compounds in unseen systems it is off by {mp[mae]:.3f} eV/atom (in the middle {mp[median_error]:.3f}), which
is as much as stability is about; of those that it calls stable (P > 0.5 of at most 0)
{mp[precision at 0]:.0%} are. **On hypothetical crystals, which is what one screens, it is off by
{wbm[mae]:.3f}; {wbm[precision at 0]:.0%} of those that it calls stable are** ({wbm[share at 0]:.0%} of all
are), and it finds {wbm[recall at 0]:.0%} of the stable ones. Its `p_stable` is off by {wbm[ece at 0]:.2f} on
average there, and too high. `p_exists` does not know heights: it tells what looks like a compound, and orders
WBM's by height worse than `p_stable` does. The model thins millions out; relaxation and the hull have the
last word. On crystals of our generators heights are no better than one figure for all, and 90 % intervals
hold less (last column).

## Heights in held-out systems

{heights}

"System unknown": all compounds of its chemical system are hidden, as of a novel system. A height in `wbm`
and `generated` is of the one or few structures that were tried: the lowest may lie lower. Those of
`generated` are of potentials, not of DFT.

## Compounds hidden among {times} decoys each

Known compounds of at most 0.1 eV/atom in held-out systems, everything in these systems hidden.

| decoys | compounds and decoys | AUC | enrichment in the top 1 % | first of its own decoys | ECE |
| --- | --- | --- | --- | --- | --- |
{exists}

ECE: calibration error of `p_exists`. "Neutral": balanced by usual oxidation states, or all-metal (fewer
than {times} where there are not so many). Enrichment is among all systems at once, at most about {times}.
Decoys are compositions that nobody has reported: some may exist. They are of the kinds that the model was
taught with; on decoys of another maker it was not measured. Among neutral ones, which is what comes through
charge balance, `p_exists` says about twice what is true.

## What it is not for

Polymorphs, temperature, pressure. Elements that hardly any known compound has. Saying that something cannot
be made: a chemistry unlike all that is known gets a low `p_exists` for that alone.
"""
