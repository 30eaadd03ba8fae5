"""How far above or below the hull a composition's best structure would lie, and whether there is one at all.

Two questions, answered apart, because the second is the one where models of composition fail:

- *if* somebody proposes a compound of this composition (as the Materials Project and WBM do), how high does
  it lie? A distribution: mean, 90 % interval, probability of lying under a threshold;
- is there such a compound rather than none? Learned from known compounds against made-up compositions that
  nobody has reported (positive and unlabelled): the score to rank hypothetical formulas by.

The model sees the composition, the hull of its competitors and the known compounds like it, never the
compound of the composition itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from invdesign.composition.batch import CompositionBatch
from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.predictors.models.ensemble import Ensemble
from invdesign.predictors.models.files import FILES
from invdesign.predictors.stability.analogues import Known
from invdesign.predictors.stability.context_features import BATCH, VERSION, HullContext
from invdesign.stability.hull.hull import Hull

KIND = "stability"
KNOWN = "known.npz"
E_ABOVE_HULL, NOTHING = "e_above_hull", "nothing"
"""Heads: energy above hull of a compound; that there is none (its zero), in ``NOTHING``."""
BASE_RATE = 0.01
"""Compounds among the formulas that ``p_exists`` reckons with: one in a hundred."""
EXISTING = 0.1
"""Energy above hull up to which a compound counts as being there, eV/atom."""
LEVELS = np.concatenate([[0.002, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.998]])
"""Of the quantiles that the calibrated distribution is made of."""


@dataclass(frozen=True, slots=True)
class Stabilities:
    """Answers for n compositions.

    Attributes:
        e_above_hull: expected energy above hull of the lowest structure, eV/atom, (n,); below zero: under the
            hull of its competitors.
        sigma: unit of the distribution around it, eV/atom, (n,).
        p_exists: chance that a compound at most 0.1 eV/atom above the hull is there, where one formula in a
            hundred is one, (n,).
        quantiles: of the distribution in units of ``sigma``, at ``LEVELS``.
    """

    e_above_hull: NDArray[np.float64]
    sigma: NDArray[np.float64]
    p_exists: NDArray[np.float64]
    quantiles: NDArray[np.float64]

    @property
    def low(self) -> NDArray[np.float64]:
        """Lower end of the 90 % interval, eV/atom, (n,)."""
        return self.e_above_hull + self.sigma * np.interp(0.05, LEVELS, self.quantiles)

    @property
    def high(self) -> NDArray[np.float64]:
        """Upper end of the 90 % interval, eV/atom, (n,)."""
        return self.e_above_hull + self.sigma * np.interp(0.95, LEVELS, self.quantiles)

    def p_stable(self, threshold: float = 0.0) -> NDArray[np.float64]:
        """Probability that a compound of this composition has E above hull of at most this, eV/atom, (n,)."""
        at = (threshold - self.e_above_hull) / self.sigma
        return np.asarray(np.interp(at, self.quantiles, LEVELS))

    def p_hit(self, threshold: float = 0.0) -> NDArray[np.float64]:
        """Probability that there is a compound at or under an energy above hull, (n,): to rank by.

        ``p_exists`` reckons with compounds up to ``EXISTING``: above it nothing is added.
        """
        share = self.p_stable(threshold) / self.p_stable(EXISTING)
        return np.asarray(self.p_exists * np.minimum(share, 1.0))


class StabilityModel:
    """The trained networks and what they look things up in.

    Example:
        >>> StabilityModel.load().predict(["MgAl2O4", "MgAl5O3"]).p_exists  # doctest: +SKIP
        array([0.99, 0.01])
    """

    def __init__(self, ensemble: Ensemble, hull: Hull, known: Known) -> None:
        self.ensemble = ensemble
        self._hull, self._known = hull, known
        self.quantiles = np.asarray(ensemble.about["quantiles"])
        self.trained_rate = float(ensemble.about["rate"])

    @classmethod
    def load(cls, name: str | Path = "stability-composition") -> StabilityModel:
        """Return a released model by name, or a model from a folder.

        Raises:
            InputError: the folder or a file of it is missing, damaged, or of other features than these.
        """
        folder = find("models", name, needs=(*FILES, KNOWN))
        ensemble = Ensemble.load(folder, KIND)
        if ensemble.about.get("context_version") != VERSION:
            raise InputError(
                f"models folder {str(folder)!r} was trained on other features than these; retrain it."
            )
        return cls(ensemble, Hull.load(), read_known(folder / KNOWN))

    @cached_property
    def context(self) -> HullContext:
        """The look-up tables (made at the first prediction)."""
        return HullContext(self._hull, self._known)

    def predict(self, given: CompositionBatch | Sequence[str]) -> Stabilities:
        """Answers for compositions, or for formulas.

        A pure element is on the hull by definition.

        Raises:
            InputError: one of the formulas is none.
        """
        if isinstance(given, CompositionBatch):
            batch = given
        else:
            batch, wrong = CompositionBatch.of(given)
            if wrong:
                raise InputError(next(iter(wrong.values())))
        parts = [batch.take(slice(i, i + BATCH)) for i in range(0, len(batch), BATCH)]
        predictions = [self.evaluate(self.context.features(part)) for part in parts]
        mean, sigma, exists = (
            (np.concatenate([[], *columns]) for columns in zip(*predictions, strict=True))
            if (predictions)
            else (np.zeros(0),) * 3
        )
        elements = (batch.amounts > 0).sum(axis=1) == 1
        mean[elements], sigma[elements], exists[elements] = -1e-9, 1e-12, 1.0  # stable at 0, surely
        return Stabilities(mean, sigma, exists, self.quantiles)

    def evaluate(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean, sigma and ``p_exists`` of rows of features (n, d), (3, n)."""
        found = self.ensemble.distributions(self.ensemble.standardise(features))
        exists = logit(np.clip(1.0 - found[NOTHING].p_zero, 1e-12, 1 - 1e-12))
        shift = logit(BASE_RATE) - logit(self.trained_rate)
        energy = found[E_ABOVE_HULL]
        return np.stack([energy.mean, energy.sigma, expit(exists + shift)]).astype(float)


def write_known(known: Known, path: Path) -> None:
    """Write compounds: energies in half precision (0.001 eV/atom)."""
    np.savez_compressed(
        path,
        numbers=known.batch.numbers,
        amounts=known.batch.amounts.astype(np.uint16),
        formation=known.formation.astype(np.float16),
        decomposition=known.decomposition.astype(np.float16),
    )


def read_known(path: Path) -> Known:
    """Read what :func:`write_known` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            batch = CompositionBatch(data["numbers"], data["amounts"].astype(np.int32))
            return Known(
                batch, data["formation"].astype(np.float32), data["decomposition"].astype(np.float32)
            )
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise InputError(f"models: {path} cannot be read ({error}); restore it or retrain.") from error
