"""Predictions compared with DFT: errors, coverage of the intervals, hit rate.

Every rate comes with its exact (Clopper-Pearson) 90 % interval, since a handful of results tells little;
over-confidence is reported only where chance would show as much in fewer than one case out of twenty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from invdesign.campaign.active_learning.correction import LEAST
from invdesign.campaign.ranking import hit_probability
from invdesign.core.candidate import Z90, Candidate, Estimate
from invdesign.core.dft_result import DftResult
from invdesign.core.properties import PROPERTIES, STABILITY
from invdesign.core.target import Target
from invdesign.crystal.matching import same_crystal
from invdesign.dft.results.store import Campaign, RunRecord, merge_runs

LEVEL = 0.9  # of the predictors' intervals, and of those given here
CHANCE = 0.05  # below it, over-confidence is reported
FEW = 10  # results, below which the statistics are poor
SHOWN = 5  # names in a sentence
VOLUME, RMSD = "volume_per_atom", "rmsd"
HIT = "hit"
PREDICTED = ("band_gap", STABILITY)
"""Properties that models predict with an interval and DFT computes."""
COMPARED = (*PREDICTED, VOLUME, RMSD)
"""Quantities that are compared; the formation energy's error is that of the energy above the hull."""
DESCRIPTIONS = {VOLUME: ("volume", "Å³/atom"), RMSD: ("RMSD", "Å"), HIT: ("hit", "probability")}


@dataclass(frozen=True, slots=True)
class Interval:
    """A prediction of which the distribution is unknown: value, and ends of the 90 % interval if any."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class PropertyComparison:
    """One property of one candidate, predicted and computed.

    Attributes:
        predicted: point estimate.
        low, high: ends of its 90 % interval; None without one.
        computed: by DFT.
        z: error in standard deviations of the prediction, positive where it was too high; None without one.
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
        """Return the predicted minus the computed value."""
        return self.predicted - self.computed

    @property
    def inside(self) -> bool | None:
        """Return whether the interval contains the computed value."""
        return None if self.low is None or self.high is None else self.low <= self.computed <= self.high

    @property
    def row(self) -> dict[str, Any]:
        """Return the row of a table."""
        return {
            "candidate": self.candidate,
            "formula": self.formula,
            "property": self.prop,
            "unit": describe(self.prop)[1],
            "predicted": _rounded(self.predicted),
            "low": _rounded(self.low),
            "high": _rounded(self.high),
            "computed": _rounded(self.computed),
            "error": _rounded(self.error),
            "inside": self.inside,
            "z": _rounded(self.z),
        }


@dataclass(frozen=True, slots=True)
class HitComparison:
    """Whether a candidate is a hit by DFT.

    Attributes:
        p_hit: predicted probability.
        hit: all of the target's windows and its limit hold in DFT; None where that is unknown.
        complete: whether DFT computed everything that the target names. Only such candidates enter the hit
            rate: one value can show a miss, but never a hit.
        reason: what does not hold, or is unknown.
    """

    candidate: str
    formula: str
    p_hit: float
    hit: bool | None
    complete: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Predictions and results of some candidates."""

    properties: list[PropertyComparison]
    hits: list[HitComparison]

    def of(self, prop: str) -> list[PropertyComparison]:
        """Return all comparisons of one property."""
        return [one for one in self.properties if one.prop == prop]

    @property
    def names(self) -> list[str]:
        """Return the properties that were compared."""
        found = {one.prop for one in self.properties}
        return [prop for prop in COMPARED if prop in found]

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: a row per candidate and property, then one per hit or miss."""
        hits = [
            PropertyComparison(one.candidate, one.formula, HIT, one.p_hit, None, None, float(one.hit), None)
            for one in self.hits
            if one.hit is not None
        ]
        return [one.row for one in (*self.properties, *hits)]

    def sentences(self) -> list[str]:
        """Return the conclusions, with their uncertainty."""
        summary = self.summary()
        sentences = [
            sentence
            for prop, metrics in summary["properties"].items()
            for sentence in _of_property(prop, metrics, self.of(prop))
        ]
        if summary["hits"]:
            sentences += _of_hits(summary["hits"])
        sentences += _listed("No hit", [one for one in self.hits if one.hit is False])
        sentences += _listed("Unknown whether a hit", [one for one in self.hits if one.hit is None])
        n = len({one.candidate for one in self.properties})
        if 0 < n < FEW:
            sentences.append(f"{n} {'result is' if n == 1 else 'results are'} too few to assess a model.")
        return sentences

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
                "words": describe(prop)[0][:1].upper() + describe(prop)[0][1:],
                "unit": describe(prop)[1],
                "points": [one.row for one in self.of(prop)],
                "caption": _caption(prop, _errors(self.of(prop))),
                "bars": prop == RMSD,
            }
            for prop in self.names
        ]
        n = len({one.candidate for one in self.properties})
        title = f"Predicted against DFT: {n} candidate{'s' * (n != 1)}"
        draw_parity(panels, path, title=title, below=below)

    def summary(self) -> dict[str, Any]:
        """Return all metrics."""
        return {
            "properties": {prop: _errors(self.of(prop)) for prop in self.names},
            "hits": _hit_rate([one for one in self.hits if one.complete]),
        }


def compare_campaign(campaign: Campaign) -> Comparison:
    """Compare all candidates of a campaign that have DFT results."""
    properties: list[PropertyComparison] = []
    hits = []
    for candidate in campaign.computed:
        result, structure = candidate.dft, candidate.structure
        if result is None or result.failed:
            continue
        volume = structure.volume / len(structure) if structure else None
        properties += _compare_all(candidate.id, candidate.gene.formula, candidate.properties, volume, result)
        hits.append(compare_hit(candidate, result, campaign.target))
    return Comparison(properties, hits)


def compare_records(records: Sequence[RunRecord]) -> Comparison:
    """Compare the candidates of manifests with the predictions in there; hits need a campaign's target."""
    properties: list[PropertyComparison] = []
    for group in _by_candidate(records):
        result = merge_runs([one.run for one in group])
        if result is None or result.failed:
            continue
        first = group[0]
        written = next((one.written for one in group if not one.relaxed), None)
        volume = written.volume / len(written) if written else None
        predicted: dict[str, Estimate | Interval] = {
            name: Interval(value, first.predicted.get(f"{name}_low"), first.predicted.get(f"{name}_high"))
            for name, value in first.predicted.items()
        }
        properties += _compare_all(
            first.candidate, first.formula, predicted | dict(first.distributions), volume, result
        )
    return Comparison(properties, [])


def _by_candidate(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Group the runs of each candidate; the same id of another campaign is another candidate."""
    groups: list[list[RunRecord]] = []
    for one in records:
        group = next((group for group in groups if _same_candidate(group, one)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def _same_candidate(group: Sequence[RunRecord], one: RunRecord) -> bool:
    first = group[0]
    if (first.candidate, first.formula, first.predicted) != (one.candidate, one.formula, one.predicted):
        return False
    crystals = [other.written for other in (*group, one) if not other.relaxed]
    return one.relaxed or same_crystal(crystals[0], one.written)


def _compare_all(
    candidate: str,
    formula: str,
    predicted: Mapping[str, Estimate | Interval],
    volume: float | None,
    result: DftResult,
) -> list[PropertyComparison]:
    """Compare predicted properties, the volume, and the positions, whose error is the RMSD."""
    predicted = {name: predicted[name] for name in PREDICTED if name in predicted}
    if volume is not None:
        predicted |= {VOLUME: Interval(volume), RMSD: Interval(0.0)}
    return [
        compare(candidate, formula, prop, prediction, computed)
        for prop, prediction in predicted.items()
        if (computed := result.value(prop)) is not None
    ]


def compare(
    candidate: str, formula: str, prop: str, predicted: Estimate | Interval, computed: float
) -> PropertyComparison:
    """Compare one prediction with one result."""
    z = _z(predicted, computed)
    return PropertyComparison(
        candidate, formula, prop, predicted.value, predicted.low, predicted.high, computed, z
    )


def _z(predicted: Estimate | Interval, computed: float) -> float | None:
    """Return the error in standard deviations.

    There is none where zero was predicted as possible and found: it lies apart from the rest of the
    distribution.
    """
    if isinstance(predicted, Interval):
        width = None if predicted.low is None or predicted.high is None else predicted.high - predicted.low
        return (predicted.value - computed) / (width / (2 * Z90)) if width else None
    if predicted.p_zero > 0 and abs(computed) <= LEAST:
        return None
    if predicted.lognormal:
        return log(predicted.mean / computed) / (predicted.sigma / predicted.mean) if computed > 0 else None
    return (predicted.mean - computed) / predicted.sigma if predicted.sigma > 0 else None


def compare_hit(candidate: Candidate, result: DftResult, target: Target) -> HitComparison:
    """Compare a candidate's probability of a hit with what DFT finds."""
    missed, unknown = [], []
    for name, window in target.windows.items():
        value = result.value(name)
        if value is None:
            unknown.append(describe(name)[0] if name in PROPERTIES else name)
        elif value not in window:
            missed.append(f"{describe(name)[0]} {value:.3f} {describe(name)[1]} ({window} asked)")
    if result.e_above_hull is None:
        unknown.append(describe(STABILITY)[0])
    elif result.e_above_hull > target.e_above_hull_max:
        missed.append(f"{describe(STABILITY)[0]} {result.e_above_hull:.3f} eV/atom")
    reason = "; ".join([*missed, *(f"{name} not computed" for name in unknown)])
    hit = False if missed else None if unknown else True
    p_hit = _p_hit(candidate, target)
    return HitComparison(candidate.id, candidate.gene.formula, p_hit, hit, not unknown, reason or "as asked")


def _p_hit(candidate: Candidate, target: Target) -> float:
    """Return the probability of a hit by which the last round, else the campaign, chose the candidate."""
    if candidate.rounds:
        return candidate.rounds[max(candidate.rounds)].p_hit
    if candidate.selection is not None:
        return candidate.selection.p_hit
    return float(hit_probability(candidate.properties, target))


def describe(prop: str) -> tuple[str, str]:
    """Return a property's name in a sentence, and its unit."""
    known = PROPERTIES.get(prop)
    return (known.words, known.unit) if known else DESCRIPTIONS[prop]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5) + 0.0  # no -0.0


def rate(found: int, n: int) -> dict[str, Any]:
    """Return a rate with its exact 90 % interval."""
    from scipy.stats import binomtest

    interval = binomtest(found, n).proportion_ci(LEVEL, method="exact")
    return {
        "n": n,
        "found": found,
        "rate": found / n,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def _errors(compared: Sequence[PropertyComparison]) -> dict[str, Any]:
    errors = [one.error for one in compared]
    found: dict[str, Any] = {
        "n": len(errors),
        "mae": fmean(map(abs, errors)),
        "bias": fmean(errors),
        "worst": max(errors, key=abs),
    }
    inside = [one.inside for one in compared if one.inside is not None]
    scores = [one.z for one in compared if one.z is not None and isfinite(one.z)]
    if inside:
        from scipy.stats import binom

        found["coverage"] = rate(sum(inside), len(inside))
        # that so few contain the value, if 90 % do in the long run
        found["coverage"]["chance"] = float(binom.cdf(sum(inside), len(inside), LEVEL))
    if scores:
        found["rms_z"] = sqrt(fmean(z * z for z in scores))
    return found


def _hit_rate(hits: Sequence[HitComparison]) -> dict[str, Any] | None:
    if not hits:
        return None
    found = sum(bool(one.hit) for one in hits)
    predicted = [one.p_hit for one in hits]
    return rate(found, len(hits)) | {"expected": sum(predicted), "chance": _at_most(found, predicted)}


def _at_most(found: int, predicted: Sequence[float]) -> float:
    """Return the probability of so few hits if the predicted ones are right (Poisson-binomial)."""
    distribution = np.ones(1)
    for p in predicted:
        distribution = np.convolve(distribution, [1 - p, p])
    return float(distribution[: found + 1].sum())


def _of_property(prop: str, found: Mapping[str, Any], compared: Sequence[PropertyComparison]) -> list[str]:
    name, unit = describe(prop)
    if prop == RMSD:
        mean, worst = fmean(one.computed for one in compared), max(one.computed for one in compared)
        return [
            f"RMSD between predicted and relaxed positions: {mean:.3f} Å on average, {worst:.3f} at most."
        ]
    each = f"off by {found['mae']:.3g} {unit} on average (n = {found['n']}), bias {found['bias']:+.3g}"
    if prop == VOLUME:
        share = fmean(one.predicted / one.computed - 1 for one in compared)
        return [f"Volume: {each}, or {share:+.1%}."]
    if "coverage" not in found:
        return [f"{name[:1].upper()}{name[1:]}: {each}."]
    coverage = found["coverage"]
    counts = f"{coverage['found']} of {coverage['n']} 90 % intervals contain it"
    sentences = [f"{name[:1].upper()}{name[1:]}: {each}; {counts} ({_percent(coverage)})."]
    if coverage["chance"] < CHANCE:
        outside = [one for one in compared if one.inside is False]
        names = ", ".join(
            f"{one.formula} ({one.computed:.2f}{'' if one.z is None else f', z {one.z:+.1f}'})"
            for one in outside[:SHOWN]
        )
        sentences.append(
            f"Over-confident on the {name}: so few do by chance in {coverage['chance']:.1%} of cases; "
            f"outside: {names}."
        )
    return sentences


def _caption(prop: str, found: Mapping[str, Any]) -> str:
    if prop == RMSD:
        return f"of the predicted positions; mean {found['mae']:.3f} Å"
    text = f"MAE {found['mae']:.3g}, bias {found['bias']:+.3g}"
    if "coverage" not in found:
        return text
    coverage = found["coverage"]
    return f"{text}; {coverage['found']} of {coverage['n']} intervals contain it"


def _listed(what: str, hits: Sequence[HitComparison]) -> list[str]:
    if not hits:
        return []
    names = ", ".join(f"{one.formula} ({one.reason})" for one in hits[:SHOWN])
    return [f"{what}: {names}{f' and {len(hits) - SHOWN} more' if len(hits) > SHOWN else ''}."]


def _of_hits(found: Mapping[str, Any]) -> list[str]:
    sentences = [
        f"Hits: {found['found']} of {found['n']} ({_percent(found)}); {found['expected']:.1f} were expected."
    ]
    if found["chance"] < CHANCE:
        sentences.append(
            f"Over-confident on hits: so few come by chance in {found['chance']:.1%} of cases, had the "
            "probabilities been right."
        )
    return sentences


def _percent(found: Mapping[str, Any]) -> str:
    return f"{found['rate']:.0%}; {found['low']:.0%} to {found['high']:.0%} at 90 % confidence"
