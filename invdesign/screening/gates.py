"""What can be said of compositions before any structure: gates, cheap first, and estimates of what passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.composition.formula import composition_key, text_hash
from invdesign.composition.oxidation_state_arrays import ChargeCode
from invdesign.composition.oxidation_states_batch import likeliest_states
from invdesign.composition.supply import TOXIC, scarcest, supply_risk
from invdesign.core.properties import STABILITY
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.filters.charge_balance import assignments
from invdesign.filters.charge_balance_batch import charge_verdicts
from invdesign.filters.novelty import KnownMaterials, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from invdesign.composition.batch import CompositionBatch
    from invdesign.core.candidate import Estimates
    from invdesign.core.target import Target
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
"""What the table says of each code."""


@dataclass(slots=True)
class Judged:
    """A batch and what was found out.

    Attributes:
        batch: the compositions (n).
        verdict: ``passed``, or the gate that rejected, (n,).
        columns: of the table, (n,) each, in order; nan, or None in text, where nothing was asked.
        seconds: by gate.
    """

    batch: CompositionBatch
    verdict: np.ndarray
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
        """Set a property's columns: its figure, the ends of its 90 % interval."""
        self.put(name, rows, found.value)
        self.put(f"{name}_low", rows, found.quantile(0.05))
        self.put(f"{name}_high", rows, found.quantile(0.95))


def judge(batch: CompositionBatch, config: ScreenConfig) -> Judged:
    """Send a batch through the gates; what one rejects does not reach the next."""
    judged = Judged(batch, np.full(len(batch), PASSED, dtype=object))
    for name, gate in GATES.items():
        start = perf_counter()
        rows = np.flatnonzero(judged.verdict == PASSED)
        judged.verdict[rows[~gate(judged, rows, config)]] = name
        judged.seconds[name] = perf_counter() - start
    return judged


def _target(judged: Judged, rows: np.ndarray, config: ScreenConfig) -> Flags:
    """Elements and supply."""
    target, counts = config.target, judged.batch.take(rows).counts()
    risk, abundance = supply_risk(counts), scarcest(counts)
    judged.put("hhi_production", rows, risk[:, 0])
    judged.put("hhi_reserves", rows, risk[:, 1])
    judged.put("abundance", rows, abundance)
    judged.put("toxic", rows, _toxic(counts))
    fits = _only(counts, config) & (counts[:, _numbers(target.required)] > 0).all(axis=1)
    if target.hhi_max is not None:
        fits &= risk.max(axis=1) <= target.hhi_max  # unknown is nan, and not under it
    if target.abundance_min is not None:
        fits &= abundance >= target.abundance_min
    if target.anonymous_formula is not None:
        fits &= _of_type(judged.batch.take(rows).amounts, target)
    if target.formula is not None:
        fits &= judged.batch.take(rows).keys() == np.uint64(text_hash(composition_key(target.formula)))
    return np.asarray(fits)


def _charge(judged: Judged, rows: np.ndarray, config: ScreenConfig) -> Flags:
    if config.rules is None:
        return np.ones(len(rows), bool)
    batch = judged.batch.take(rows)
    codes = charge_verdicts(batch, config.rules)
    judged.put(
        "charge", rows, np.array([CHARGE[code] for code in ChargeCode], object)[codes - min(ChargeCode)]
    )
    if config.states != "none":
        texts, shares = likeliest_states(batch, codes, config.rules)
        judged.put("states", rows, np.array([text or None for text in texts], object))
        judged.put("rarest_state_share", rows, shares)
    if config.states == "all":
        balanced = np.flatnonzero((codes == ChargeCode.NEUTRAL) | (codes == ChargeCode.MIXED_VALENCE))
        every = [
            "; ".join(map(str, assignments(formula, config.rules)))
            for formula in batch.take(balanced).formulas()
        ]
        judged.put("all_states", rows[balanced], np.array(every, object))
    return np.asarray(codes > 0)


def _novelty(judged: Judged, rows: np.ndarray, config: ScreenConfig) -> Flags:
    batch = judged.batch.take(rows)
    sources = _known(config.known).known_compositions(batch.keys())
    new = (sources == 0) & ((batch.numbers > 0).sum(axis=1) > 1)
    told = np.select([new, sources == Source.HYPOTHETICAL], ["no", "hypothetical"], "yes")
    judged.put("known", rows, told.astype(object))
    return np.asarray(new | (not config.novel))


def _stability(judged: Judged, rows: np.ndarray, config: ScreenConfig) -> Flags:
    if not config.estimates:
        return np.ones(len(rows), bool)
    found = stability_model(config.stability).predict(judged.batch.take(rows))
    limit = config.target.e_above_hull_max
    judged.put(STABILITY, rows, found.e_above_hull)
    judged.put(f"{STABILITY}_low", rows, found.low)
    judged.put(f"{STABILITY}_high", rows, found.high)
    judged.put("p_stable", rows, found.p_stable(limit))
    judged.put("p_exists", rows, found.p_exists)
    judged.put("p_hit", rows, found.p_hit(limit))
    return np.asarray(judged.columns["p_hit"][rows] >= config.min_stability)


def _properties(judged: Judged, rows: np.ndarray, config: ScreenConfig) -> Flags:
    if not config.estimates:
        return np.ones(len(rows), bool)
    from invdesign.predictors.features.composition_and_gene import composition_matrix

    features = composition_matrix(judged.batch.take(rows).counts())
    likely, inside = np.ones(len(rows)), np.ones(len(rows), bool)
    for model in dict.fromkeys(config.estimated.values()):
        for name, found in predictor(model).estimates(features).items():
            if config.estimated.get(name) != model:
                continue
            judged.estimate(name, rows, found)
            inside &= found.in_domain
            if found.p_zero.any():
                judged.put(f"{name}_p_zero", rows, found.p_zero)
            if name in config.target.windows:
                likely *= found.probability(config.target.windows[name])
    judged.put("p_hit", rows, judged.columns["p_hit"][rows] * likely)
    judged.put("in_domain", rows, np.where(inside, "yes", "no").astype(object))
    return np.asarray((likely >= config.min_probability) | (not config.target.windows))


GATES: dict[str, Callable[[Judged, np.ndarray, ScreenConfig], Flags]] = {
    "target": _target,
    "novelty": _novelty,
    "charge balance": _charge,
    "stability": _stability,
    "properties": _properties,
}
"""In order; each takes what is judged so far and the rows that are left, and says which of these pass."""


def _numbers(symbols: Iterable[str]) -> list[int]:
    return [ATOMIC_NUMBER[symbol] for symbol in sorted(symbols)]


def _only(counts: np.ndarray, config: ScreenConfig) -> Flags:
    open_ = frozenset(SYMBOLS[1:]) if config.target.allowed is None else config.target.allowed
    shut = frozenset(SYMBOLS[1:]) - open_ | config.excluded
    return np.asarray(~(counts[:, _numbers(shut)] > 0).any(axis=1))


def _toxic(counts: np.ndarray) -> np.ndarray:
    """Symbols of the toxic elements of each composition, (n,)."""
    told = np.full(len(counts), None, dtype=object)
    for symbol in sorted(TOXIC):
        for row in np.flatnonzero(counts[:, ATOMIC_NUMBER[symbol]] > 0).tolist():
            told[row] = symbol if told[row] is None else f"{told[row]} {symbol}"
    return told


def _of_type(amounts: np.ndarray, target: Target) -> Flags:
    """Whether amounts (n, k) are those of the target's anonymous formula, in any order."""
    from invdesign.core.target_parser import amounts_of

    assert target.anonymous_formula is not None  # noqa: S101 - the caller's
    wanted = sorted(amounts_of(target.anonymous_formula, "anonymous").values(), reverse=True)
    width = max(amounts.shape[1], len(wanted))
    given = -np.sort(-np.pad(amounts, ((0, 0), (0, width - amounts.shape[1]))), axis=1)
    return np.asarray((given == np.pad(wanted, (0, width - len(wanted)))).all(axis=1))


@lru_cache(maxsize=2)
def _known(name: str) -> KnownMaterials:
    return KnownMaterials.load(name)


@lru_cache(maxsize=2)
def stability_model(name: str) -> StabilityModel:
    """A model of stability, loaded once."""
    from invdesign.predictors.stability.model import StabilityModel

    return StabilityModel.load(name)


@lru_cache(maxsize=8)
def predictor(name: str) -> PropertyPredictor:
    """A model of properties, loaded once."""
    from invdesign.predictors.property_predictor import PropertyPredictor

    return PropertyPredictor.load(name)
