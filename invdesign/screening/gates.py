"""Gates on compositions, cheap ones first, and estimates for those that pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

from invdesign.composition.assignment import assignments
from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import composition_key, text_hash
from invdesign.composition.oxidation_state_arrays import ChargeCode
from invdesign.composition.supply import TOXIC, scarcest, supply_risk
from invdesign.core.candidate import Estimates
from invdesign.core.measured_gap import agreeing
from invdesign.core.properties import STABILITY
from invdesign.core.target import Target
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.filters.charge_balance_batch import (
    assigned_states,
    charge_verdicts,
    likeliest_states,
    searched_states,
    words_of,
)
from invdesign.filters.novelty import KnownMaterials, Source
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.predictors.stability.model import StabilityModel
from invdesign.screening.config import ScreenConfig

Flags = np.ndarray

PASSED = "passed"
CHARGE = {
    ChargeCode.NEUTRAL: "neutral",
    ChargeCode.MIXED_VALENCE: "mixed valence",
    ChargeCode.INTERMETALLIC: "intermetallic",
    ChargeCode.METALLIC: "metallic",
    ChargeCode.SINGLE_ELEMENT: "element",
    ChargeCode.NOT_NEUTRAL: "not neutral",
    ChargeCode.AGAINST_ELECTRONEGATIVITY: "neutral only against electronegativity",
    ChargeCode.UNKNOWN_STATES: "no known oxidation state",
    ChargeCode.NO_ELECTRONEGATIVITY: "no electronegativity",
}
"""Texts of the table for each code."""


@dataclass(slots=True)
class ScreenedBatch:
    """A batch of compositions and its results.

    Attributes:
        batch: the compositions (n).
        verdict: ``passed``, or the gate that rejected, (n,).
        columns: of the table, (n,) each, in order; nan, or None for text, where not computed.
        codes: outcome of the charge balance by smact's rules, (n,); 0 where not checked.
        assignments: the likeliest oxidation states as far as they were searched for, (n,).
        seconds: by gate.
    """

    batch: CompositionBatch
    verdict: np.ndarray
    codes: np.ndarray
    assignments: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def put(self, name: str, rows: np.ndarray, values: Any) -> None:  # noqa: ANN401 - what an array takes
        """Set a column on some rows."""
        values = np.asarray(values)
        if name not in self.columns:
            empty = (None, object) if values.dtype.kind in "OUS" else (np.nan, float)
            self.columns[name] = np.full(len(self.batch), *empty)
        self.columns[name][rows] = values

    def estimate(self, name: str, rows: np.ndarray, found: Estimates) -> None:
        """Set the columns of a property: point estimate and 90 % interval."""
        self.put(name, rows, found.value)
        self.put(f"{name}_low", rows, found.quantile(0.05))
        self.put(f"{name}_high", rows, found.quantile(0.95))


def screen_batch(batch: CompositionBatch, config: ScreenConfig) -> ScreenedBatch:
    """Pass a batch through the gates; a composition that one rejects does not reach the next."""
    n = len(batch)
    screened = ScreenedBatch(
        batch,
        np.full(n, PASSED, dtype=object),
        codes=np.zeros(n, dtype=np.int8),
        assignments=np.full(n, None, dtype=object),
    )
    for name, gate in GATES.items():
        start = perf_counter()
        rows = np.flatnonzero(screened.verdict == PASSED)
        screened.verdict[rows[~gate(screened, rows, config)]] = name
        screened.seconds[name] = perf_counter() - start
    return screened


def _target(screened: ScreenedBatch, rows: np.ndarray, config: ScreenConfig) -> Flags:
    """Check elements, formula and supply."""
    target, counts = config.target, screened.batch.take(rows).counts()
    risk, abundance = supply_risk(counts), scarcest(counts)
    screened.put("hhi_production", rows, risk[:, 0])
    screened.put("hhi_reserves", rows, risk[:, 1])
    screened.put("abundance", rows, abundance)
    screened.put("toxic", rows, _toxic(counts))
    fits = _only(counts, config) & (counts[:, _numbers(target.required)] > 0).all(axis=1)
    for elements in target.unmet:
        fits &= (counts[:, _numbers(elements)] > 0).any(axis=1)
    if target.hhi_max is not None:
        fits &= risk.max(axis=1) <= target.hhi_max  # unknown is nan, and not under it
    if target.abundance_min is not None:
        fits &= abundance >= target.abundance_min
    if target.anonymous_formula is not None:
        fits &= _of_type(screened.batch.take(rows).amounts, target)
    if target.formula is not None:
        fits &= screened.batch.take(rows).keys() == np.uint64(text_hash(composition_key(target.formula)))
    return np.asarray(fits)


def _charge(screened: ScreenedBatch, rows: np.ndarray, config: ScreenConfig) -> Flags:
    batch = screened.batch.take(rows)
    if config.rules is None:
        return np.ones(len(rows), bool)
    if config.rules == "likeliest":
        found = screened.assignments[rows] = searched_states(batch)
        words = words_of(found)
        screened.put("charge", rows, words)
        return np.asarray(words != "none")
    codes = screened.codes[rows] = charge_verdicts(batch, config.rules)
    screened.put(
        "charge", rows, np.array([CHARGE[code] for code in ChargeCode], object)[codes - min(ChargeCode)]
    )
    return np.asarray(codes > 0)


def put_states(screened: ScreenedBatch, rows: np.ndarray, config: ScreenConfig) -> None:
    """Set the oxidation states of what is reported."""
    if config.rules is None or config.states == "none":
        return
    batch = screened.batch.take(rows)
    if config.rules == "likeliest":
        found = screened.assignments[rows]
        left = np.array([one is None for one in found], dtype=bool)
        found[left] = assigned_states(batch.take(left))
        texts = [str(one) or None for one in found]
        screened.put("state_likelihood", rows, [one.likelihood for one in found])
    else:
        said, shares = likeliest_states(batch, screened.codes[rows], config.rules)
        texts = [text or None for text in said]
        screened.put("rarest_state_share", rows, shares)
    screened.put("states", rows, np.array(texts, object))
    if config.states == "all":
        every = ["; ".join(map(str, assignments(formula))) or None for formula in batch.formulas()]
        screened.put("all_states", rows, np.array(every, object))


def _novelty(screened: ScreenedBatch, rows: np.ndarray, config: ScreenConfig) -> Flags:
    batch = screened.batch.take(rows)
    sources = _known(config.known).known_compositions(batch.keys())
    new = (sources == 0) & ((batch.numbers > 0).sum(axis=1) > 1)
    labels = np.select([new, sources == Source.HYPOTHETICAL], ["no", "hypothetical"], "yes")
    screened.put("known", rows, labels.astype(object))
    return np.asarray({"new": new, "any": np.ones_like(new), "known": ~new}[config.novelty])


def _stability(screened: ScreenedBatch, rows: np.ndarray, config: ScreenConfig) -> Flags:
    if not config.estimates:
        return np.ones(len(rows), bool)
    found = stability_model(config.stability).predict(screened.batch.take(rows))
    limit = config.target.e_above_hull_max
    screened.put(STABILITY, rows, found.e_above_hull)
    screened.put(f"{STABILITY}_low", rows, found.low)
    screened.put(f"{STABILITY}_high", rows, found.high)
    screened.put("p_stable", rows, found.p_stable(limit))
    screened.put("p_exists", rows, found.p_exists)
    screened.put("p_hit", rows, found.p_hit(limit))
    return np.asarray(screened.columns["p_hit"][rows] >= config.min_stability)


def _properties(screened: ScreenedBatch, rows: np.ndarray, config: ScreenConfig) -> Flags:
    if not config.estimates:
        return np.ones(len(rows), bool)
    from invdesign.predictors.features.composition_and_gene import composition_matrix

    features = composition_matrix(screened.batch.take(rows).counts())
    likely, inside = np.ones(len(rows)), np.ones(len(rows), bool)
    estimates = {
        name: found
        for model in dict.fromkeys(config.estimated.values())
        for name, found in predictor(model).estimates(features).items()
        if config.estimated.get(name) == model
    }
    for name, found in agreeing(estimates).items():
        screened.estimate(name, rows, found)
        inside &= found.in_domain
        if found.p_zero.any():
            screened.put(f"{name}_p_zero", rows, found.p_zero)
        if name in config.target.windows:
            likely *= found.probability(config.target.windows[name])
    screened.put("p_hit", rows, screened.columns["p_hit"][rows] * likely)
    screened.put("in_domain", rows, np.where(inside, "yes", "no").astype(object))
    return np.asarray((likely >= config.min_probability) | (not config.target.windows))


GATES: dict[str, Callable[[ScreenedBatch, np.ndarray, ScreenConfig], Flags]] = {
    "target": _target,
    "novelty": _novelty,
    "charge balance": _charge,
    "stability": _stability,
    "properties": _properties,
}
"""Gates in order; each takes the batch, the rows that are left and the settings, and returns which pass."""


def _numbers(symbols: Iterable[str]) -> list[int]:
    return [ATOMIC_NUMBER[symbol] for symbol in sorted(symbols)]


def _only(counts: np.ndarray, config: ScreenConfig) -> Flags:
    open_ = frozenset(SYMBOLS[1:]) if config.target.allowed is None else config.target.allowed
    shut = frozenset(SYMBOLS[1:]) - open_ | config.excluded
    return np.asarray(~(counts[:, _numbers(shut)] > 0).any(axis=1))


def _toxic(counts: np.ndarray) -> np.ndarray:
    """Return the symbols of the toxic elements of each composition, (n,)."""
    toxic = np.full(len(counts), None, dtype=object)
    for symbol in sorted(TOXIC):
        for row in np.flatnonzero(counts[:, ATOMIC_NUMBER[symbol]] > 0).tolist():
            toxic[row] = symbol if toxic[row] is None else f"{toxic[row]} {symbol}"
    return toxic


def _of_type(amounts: np.ndarray, target: Target) -> Flags:
    """Whether amounts (n, k) are those of the target's anonymous formula, in any order."""
    from invdesign.core.target_parser import amounts_of

    assert target.anonymous_formula is not None  # noqa: S101 - checked by the caller
    wanted = sorted(amounts_of(target.anonymous_formula, "anonymous").values(), reverse=True)
    width = max(amounts.shape[1], len(wanted))
    given = -np.sort(-np.pad(amounts, ((0, 0), (0, width - amounts.shape[1]))), axis=1)
    return np.asarray((given == np.pad(wanted, (0, width - len(wanted)))).all(axis=1))


@lru_cache(maxsize=2)
def _known(name: str) -> KnownMaterials:
    return KnownMaterials.load(name)


@lru_cache(maxsize=2)
def stability_model(name: str) -> StabilityModel:
    """Load a stability model once."""
    from invdesign.predictors.stability.model import StabilityModel

    return StabilityModel.load(name)


@lru_cache(maxsize=8)
def predictor(name: str) -> PropertyPredictor:
    """Load a property model once."""
    from invdesign.predictors.property_predictor import PropertyPredictor

    return PropertyPredictor.load(name)
