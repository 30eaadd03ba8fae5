"""Errors of a potential on crystals outside its fit, by element and by energy above hull.

The error of a hypothetical crystal is taken as normal about an offset, with the standard deviation

    σ = (mean over its atoms of the element's σ) × (1 + growth × E above hull)

with the predicted E above hull, cut to 0 … ``GROWTH_ENDS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.candidate import Z90
from invdesign.crystal.elements import SYMBOLS
from invdesign.data.splits import grouped_split
from invdesign.stability.calibration import GROWTH_ENDS
from invdesign.stability.energy_corrections import design_matrix, fractions

if TYPE_CHECKING:
    from pymatgen.core import Composition

PRIOR = 20.0  # atoms' worth of the mean residual in an element's spread
POWER = 2.0  # atoms of "hard" elements dominate: with 1, intervals of the hardest quarter hold 83 %, not 90
COVERAGE = 0.90
FOLDS = 5
MOST_GROWTH = 50.0  # 1/(eV/atom): bound of the search; potentials have 3 to 5


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of a potential on n hypothetical crystals.

    Attributes:
        formulas: group crystals in cross-validation.
        compositions: n.
        residual: formation energy of the potential minus DFT's, eV/atom, (n,).
        e_above_hull: energy above hull by DFT, eV/atom, (n,).
        gain: by how much relaxing with the potential changes its energy, eV/atom, (n,); nan where unknown.
    """

    formulas: list[str]
    compositions: list[Composition]
    residual: np.ndarray
    e_above_hull: np.ndarray
    gain: np.ndarray

    def take(self, chosen: np.ndarray) -> Errors:
        """Take some of the crystals, by index."""
        return Errors(
            [self.formulas[i] for i in chosen],
            [self.compositions[i] for i in chosen],
            self.residual[chosen],
            self.e_above_hull[chosen],
            self.gain[chosen],
        )

    def relaxed(self) -> Errors:
        """Return the crystals relaxed with the potential, as a campaign does."""
        done = self.take(np.flatnonzero(np.isfinite(self.gain)))
        return Errors(
            done.formulas, done.compositions, done.residual + done.gain, done.e_above_hull, 0.0 * done.gain
        )


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Offset (eV/atom), spread by element (eV) and growth (1/(eV/atom)): see the module."""

    offset: float
    spread: dict[str, float]
    growth: float

    def sigmas(self, compositions: Sequence[Composition], predicted: np.ndarray) -> np.ndarray:
        """Return standard deviations at predicted energies above hull (n,), eV/atom."""
        mean = float(np.mean(list(self.spread.values())))
        on_hull = [
            sum(self.spread.get(symbol, mean) * part for symbol, part in fractions(composition).items())
            for composition in compositions
        ]
        return np.array(on_hull) * (1.0 + self.growth * _reach(predicted))


def _reach(predicted: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(predicted, 0.0, GROWTH_ENDS))


def fit_uncertainty(errors: Errors) -> Uncertainty:
    """Fit offset, spread and growth.

    The shape is fitted on single points at DFT's geometries. Relaxing with the potential makes it err
    further on the low side: the crystals for which this was computed shift the offset and scale the spread.
    """
    offset = -float(np.median(errors.residual))
    size, reach = np.abs(errors.residual + offset), _reach(errors.e_above_hull + errors.residual + offset)
    symbols = sorted({symbol for c in errors.compositions for symbol in fractions(c)}, key=SYMBOLS.index)
    matrix = design_matrix(errors.compositions, symbols)
    growth = 0.0
    for _ in range(2):  # the second time with the spread free of what E above hull explains
        raw = _by_element(matrix, size / (1.0 + growth * reach))
        growth = _growth(size / (matrix @ raw), reach)
    width = (matrix @ raw) * (1.0 + growth * reach)
    factor = float(np.quantile(size / width, COVERAGE)) / Z90
    found = Uncertainty(offset, dict(zip(symbols, (factor * raw).tolist(), strict=True)), growth)
    return _after_relaxing(found, errors) if np.isfinite(errors.gain).any() else found


def _by_element(matrix: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Mean absolute residual by element, weighted by fraction, shrunk to the mean over all, to a power."""
    mean = (matrix.T @ size + PRIOR * size.mean()) / (matrix.sum(axis=0) + PRIOR)
    return np.asarray(mean**POWER)


def _growth(score: np.ndarray, reach: np.ndarray) -> float:
    """Growth of the scale of a Laplace distribution with E above hull, by maximum likelihood."""
    from scipy.optimize import minimize_scalar

    def cost(growth: float) -> float:
        shape = 1.0 + growth * reach
        return float(np.log(shape).mean() + np.log((score / shape).mean()))

    return float(minimize_scalar(cost, bounds=(0.0, MOST_GROWTH), method="bounded").x)


def _after_relaxing(found: Uncertainty, errors: Errors) -> Uncertainty:
    before = errors.take(np.flatnonzero(np.isfinite(errors.gain)))
    after = errors.relaxed()
    more = float(np.median(before.residual) - np.median(after.residual))
    widths = [
        float(np.quantile(np.abs(score(shifted, part)), COVERAGE))
        for shifted, part in (
            (found, before),
            (Uncertainty(found.offset + more, found.spread, found.growth), after),
        )
    ]
    factor = widths[1] / widths[0]
    spread = {symbol: factor * value for symbol, value in found.spread.items()}
    return Uncertainty(found.offset + more, spread, found.growth)


def score(found: Uncertainty, errors: Errors) -> np.ndarray:
    """Errors in standard deviations, (n,)."""
    residual = errors.residual + found.offset
    return np.asarray(residual / found.sigmas(errors.compositions, errors.e_above_hull + residual))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predicted energies above hull of held-out crystals, their σ, and DFT's values; eV/atom, (n,) each."""

    predicted: np.ndarray
    sigma: np.ndarray
    truth: np.ndarray

    def probability_below(self, limit: float) -> np.ndarray:
        """Return the predicted probability of lying under ``limit``, (n,)."""
        from scipy.special import ndtr

        return np.asarray(ndtr((limit - self.predicted) / self.sigma))

    def metrics(self) -> list[float]:
        """Measure how well the distributions fit.

        Returns:
            Coverage of 90 % overall and by thirds of the predicted E above hull; mean log-likelihood; mean
            continuous ranked probability score, meV/atom (Gneiting and Raftery 2007: a proper score that
            outliers do not rule); Brier scores of the probability of lying under 0.05 and 0.1 eV/atom.
        """
        from scipy.special import ndtr

        error = (self.predicted - self.truth) / self.sigma
        inside = np.abs(error) <= Z90
        third = np.digitize(self.predicted, np.quantile(self.predicted, [1 / 3, 2 / 3]))
        density = np.exp(-(error**2) / 2) / np.sqrt(2 * np.pi)
        likelihood = -(error**2) / 2 - np.log(self.sigma * np.sqrt(2 * np.pi))
        crps = self.sigma * (error * (2 * ndtr(error) - 1) + 2 * density - 1 / np.sqrt(np.pi))
        brier = [
            float(((self.probability_below(limit) - (self.truth <= limit)) ** 2).mean())
            for limit in (0.05, 0.1)
        ]
        return [
            float(inside.mean()),
            *(float(inside[third == t].mean()) for t in range(3)),
            float(likelihood.mean()),
            1000 * float(crps.mean()),
            *brier,
        ]


def cross_validate(errors: Errors, seed: int) -> HeldOut:
    """Predict crystals with fits without their composition; the relaxed ones if there are any."""
    relaxed = bool(np.isfinite(errors.gain).any())
    parts: list[HeldOut] = []
    for part in grouped_split(errors.formulas, [1 / FOLDS] * FOLDS, seed):
        rest = np.setdiff1d(np.arange(len(errors.formulas)), part)
        found = fit_uncertainty(errors.take(rest))
        held_out = errors.take(part).relaxed() if relaxed else errors.take(part)
        predicted = held_out.e_above_hull + held_out.residual + found.offset
        parts.append(
            HeldOut(predicted, found.sigmas(held_out.compositions, predicted), held_out.e_above_hull)
        )
    return HeldOut(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("predicted", "sigma", "truth"))
    )
