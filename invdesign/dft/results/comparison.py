"""What was predicted against what DFT found: errors, intervals that held, hits that came.

A handful of results says little, and this says how little: every rate comes with its exact (Clopper-Pearson)
90 % interval, and over-confidence is only spoken of where chance would show as much in fewer than one case
out of twenty.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log, sqrt
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.campaign.active_learning.correction import LEAST
from invdesign.campaign.ranking import hit_probability
from invdesign.core.candidate import Z90
from invdesign.core.properties import PROPERTIES, STABILITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from invdesign.core.candidate import Candidate, Estimate
    from invdesign.core.target import Target

LEVEL = 0.9  # of the predictors' intervals, and of those given here
CHANCE = 0.05  # below it, over-confidence is said
FEW = 10  # results, below which nothing is sure
SHOWN = 5  # names in a sentence
VOLUME, SHIFT = "volume_per_atom", "rmsd"
HIT = "hit"
PREDICTED = ("band_gap", STABILITY)
"""What models predict with an interval and DFT computes."""
COMPARED = (*PREDICTED, VOLUME, SHIFT)
"""What is confronted. The formation energy is not: its error is that of the height above the hull."""
WORDS = {VOLUME: ("volume", "Å³/atom"), SHIFT: ("RMSD", "Å"), HIT: ("hit", "probability")}


@dataclass(frozen=True, slots=True)
class Compared:
    """One property of one candidate.

    Attributes:
        prop: its name.
        predicted: the single best figure.
        low, high: ends of its 90 % interval; None where nothing was said.
        computed: by DFT.
        z: error in standard deviations of the prediction; above 0 where it was too high; None where it
            has none.
    """

    candidate: str
    formula: str
    prop: str
    predicted: float
    low: float | None
    high: float | None
    computed: float
    z: float | None

    @property
    def error(self) -> float:
        """Predicted less computed."""
        return self.predicted - self.computed

    @property
    def inside(self) -> bool | None:
        """Whether the interval held."""
        return None if self.low is None or self.high is None else self.low <= self.computed <= self.high

    @property
    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "candidate": self.candidate,
            "formula": self.formula,
            "property": self.prop,
            "unit": words(self.prop)[1],
            "predicted": _rounded(self.predicted),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "computed": _rounded(self.computed),
            "error": _rounded(self.error),
            "inside": self.inside,
            "z": _rounded(self.z),
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether a candidate is the hit that it was said to be.

    Attributes:
        p_hit: as said before.
        hit: all of the target's windows and its limit hold in DFT; None where that is open.
        whole: whether DFT computed all that is asked for. Only such candidates enter the hit rate: one
            figure can show a miss, but never a hit.
        why: what does not hold, or is not known.
    """

    candidate: str
    formula: str
    p_hit: float
    hit: bool | None
    whole: bool
    why: str


@dataclass(frozen=True, slots=True)
class Confrontation:
    """Predictions and results of some candidates."""

    compared: list[Compared]
    judged: list[Judged]

    def of(self, prop: str) -> list[Compared]:
        """All comparisons of one property."""
        return [one for one in self.compared if one.prop == prop]

    @property
    def properties(self) -> list[str]:
        """Those that were compared."""
        found = {one.prop for one in self.compared}
        return [prop for prop in COMPARED if prop in found]

    def rows(self) -> list[dict[str, Any]]:
        """The table: a row per candidate and property, then one per candidate that was judged."""
        hits = [
            Compared(one.candidate, one.formula, HIT, one.p_hit, None, None, float(one.hit), None).row
            for one in self.judged
            if one.hit is not None
        ]
        return [one.row for one in self.compared] + hits

    def sentences(self) -> list[str]:
        """What is to be learnt from it, and how sure that is."""
        figures = self.summary()
        told = [
            sentence
            for prop, found in figures["properties"].items()
            for sentence in _of_property(prop, found, self.of(prop))
        ]
        if figures["hits"]:
            told += _of_hits(figures["hits"])
        told += _listed("No hit", [one for one in self.judged if one.hit is False])
        told += _listed("Open, whether a hit", [one for one in self.judged if one.hit is None])
        n = len({one.candidate for one in self.compared})
        if 0 < n < FEW:
            told.append(
                f"{n} {'result says' if n == 1 else 'results say'} little: a model is known by tens of them."
            )
        return told

    def draw(self, path: Path) -> None:
        """Draw a panel per property.

        Args:
            path: the PNG; replaced whole.
        """
        from invdesign.report.plots.parity import draw_parity

        hits = self.summary()["hits"]
        below = "; ".join(_of_hits(hits)[:1]) if hits else ""
        panels = [
            {
                "words": words(prop)[0].capitalize() if prop != SHIFT else words(prop)[0],
                "unit": words(prop)[1],
                "points": [one.row for one in self.of(prop)],
                "caption": _caption(prop, _errors(self.of(prop))),
                "bars": prop == SHIFT,
            }
            for prop in self.properties
        ]
        n = len({one.candidate for one in self.compared})
        title = f"Predicted against DFT: {n} candidate{'s' * (n != 1)}"
        draw_parity(panels, path, title=title, below=below)

    def summary(self) -> dict[str, Any]:
        """Everything in figures."""
        return {
            "properties": {prop: _errors(self.of(prop)) for prop in self.properties},
            "hits": _hits([one for one in self.judged if one.whole]),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5) + 0.0  # no -0.0


def words(prop: str) -> tuple[str, str]:
    """A property's name in a sentence, and its unit."""
    known = PROPERTIES.get(prop)
    return (known.words, known.unit) if known else WORDS[prop]


def compare(candidate: str, formula: str, prop: str, said: Estimate, computed: float) -> Compared:
    """A prediction with its distribution against a result.

    Where zero was thought possible and came, there is no distance from the rest of the distribution.
    """
    if said.p_zero > 0 and abs(computed) <= LEAST:
        z = None
    elif said.lognormal:
        z = log(said.mean / computed) / (said.sigma / said.mean) if computed > 0 else None
    else:
        z = (said.mean - computed) / said.sigma if said.sigma > 0 else None
    return Compared(candidate, formula, prop, said.value, said.low, said.high, computed, z)


def compare_interval(
    candidate: str, formula: str, prop: str, said: tuple[float, float | None, float | None], computed: float
) -> Compared:
    """A prediction of which only value and 90 % interval are known, against a result."""
    value, low, high = said
    width = None if low is None or high is None else high - low
    z = (value - computed) / (width / (2 * Z90)) if width else None
    return Compared(candidate, formula, prop, value, low, high, computed, z)


def judge(candidate: Candidate, result: Mapping[str, Any], target: Target) -> Judged:
    """Whether DFT finds what was asked for."""
    missed, unknown = [], []
    for name, window in target.windows.items():
        value = result.get(name)
        if value is None:
            unknown.append(words(name)[0] if name in PROPERTIES else name)
        elif value not in window:
            missed.append(f"{words(name)[0]} {value:.3f} {words(name)[1]} ({window} asked)")
    height = result.get(STABILITY)
    if height is None:
        unknown.append(words(STABILITY)[0])
    elif height > target.e_above_hull_max:
        missed.append(f"{words(STABILITY)[0]} {height:.3f} eV/atom")
    why = "; ".join([*missed, *(f"{name} not computed" for name in unknown)])
    hit = False if missed else None if unknown else True
    said = _said(candidate, target)
    return Judged(candidate.id, candidate.gene.formula, said, hit, not unknown, why or "as asked")


def _said(candidate: Candidate, target: Target) -> float:
    """The probability of a hit by which it was chosen: of the last round that did, else the campaign's."""
    if candidate.rounds:
        return candidate.rounds[max(candidate.rounds)].p_hit
    if candidate.selection is not None:
        return candidate.selection.p_hit
    return float(hit_probability(candidate.properties, target))


def rate(found: int, n: int) -> dict[str, Any]:
    """A rate with its exact 90 % interval."""
    from scipy.stats import binomtest

    interval = binomtest(found, n).proportion_ci(LEVEL, method="exact")
    return {
        "n": n,
        "found": found,
        "rate": found / n,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def _errors(compared: Sequence[Compared]) -> dict[str, Any]:
    errors = [one.error for one in compared]
    found: dict[str, Any] = {
        "n": len(errors),
        "mae": fmean(map(abs, errors)),
        "bias": fmean(errors),
        "worst": max(errors, key=abs),
    }
    held = [one.inside for one in compared if one.inside is not None]
    scores = [one.z for one in compared if one.z is not None and isfinite(one.z)]
    if held:
        from scipy.stats import binom

        found["coverage"] = rate(sum(held), len(held))
        # of so few intervals holding, if 90 % do in the long run
        found["coverage"]["chance"] = float(binom.cdf(sum(held), len(held), LEVEL))
    if scores:
        found["rms_z"] = sqrt(fmean(z * z for z in scores))
    return found


def _hits(judged: Sequence[Judged]) -> dict[str, Any] | None:
    if not judged:
        return None
    found = sum(bool(one.hit) for one in judged)
    said = [one.p_hit for one in judged]
    return rate(found, len(judged)) | {"expected": sum(said), "chance": float(_at_most(found, said))}


def _at_most(found: int, said: Sequence[float]) -> float:
    """Probability of so few hits, if every candidate hits as likely as was said (Poisson-binomial)."""
    distribution = np.ones(1)
    for p in said:
        distribution = np.convolve(distribution, [1 - p, p])
    return float(distribution[: found + 1].sum())


def _of_property(prop: str, found: Mapping[str, Any], compared: Sequence[Compared]) -> list[str]:
    name, unit = words(prop)
    if prop == SHIFT:
        mean, worst = fmean(one.computed for one in compared), max(one.computed for one in compared)
        return [
            f"RMSD between predicted and relaxed positions: {mean:.3f} Å on average, {worst:.3f} at most."
        ]
    each = f"off by {found['mae']:.3g} {unit} on average (n = {found['n']}), bias {found['bias']:+.3g}"
    if prop == VOLUME:
        share = fmean(one.predicted / one.computed - 1 for one in compared)
        return [f"Volume: {each}, or {share:+.1%}."]
    if "coverage" not in found:
        return [f"{name.capitalize()}: {each}."]
    held = found["coverage"]
    first = f"{name.capitalize()}: {each}; {held['found']} of {held['n']} 90 % intervals held "
    told = [f"{first}({_percent(held)})."]
    if held["chance"] < CHANCE:
        outside = [one for one in compared if one.inside is False]
        names = ", ".join(
            f"{one.formula} ({one.computed:.2f}{'' if one.z is None else f', z {one.z:+.1f}'})"
            for one in outside[:SHOWN]
        )
        told.append(
            f"Over-confident on the {name}: so few hold by chance in {held['chance']:.1%} of cases; "
            f"outside: {names}."
        )
    return told


def _caption(prop: str, found: Mapping[str, Any]) -> str:
    if prop == SHIFT:
        return f"of the predicted positions; mean {found['mae']:.3f} Å"
    told = f"MAE {found['mae']:.3g}, bias {found['bias']:+.3g}"
    if "coverage" not in found:
        return told
    held = found["coverage"]
    return f"{told}; {held['found']} of {held['n']} intervals held"


def _listed(what: str, judged: Sequence[Judged]) -> list[str]:
    if not judged:
        return []
    names = ", ".join(f"{one.formula} ({one.why})" for one in judged[:SHOWN])
    return [f"{what}: {names}{f' and {len(judged) - SHOWN} more' if len(judged) > SHOWN else ''}."]


def _of_hits(found: Mapping[str, Any]) -> list[str]:
    told = [
        f"Hits: {found['found']} of {found['n']} ({_percent(found)}); {found['expected']:.1f} were expected."
    ]
    if found["chance"] < CHANCE:
        told.append(
            f"Over-confident on hits: so few come by chance in {found['chance']:.1%} of cases, had the "
            "probabilities been right."
        )
    return told


def _percent(found: Mapping[str, Any]) -> str:
    return f"{found['rate']:.0%}; {found['low']:.0%} to {found['high']:.0%} at 90 % confidence"
