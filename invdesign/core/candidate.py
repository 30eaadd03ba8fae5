"""What flows through the funnel: candidates, a verdict per gate, estimates with uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.core.properties import Window
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.crystal.gene import Gene
    from invdesign.crystal.geometry import Geometry

Z90 = 1.6448536269514722  # half width of a normal's 90 % interval, in standard deviations


@dataclass(frozen=True, slots=True)
class Estimate:
    """A property as a distribution: a share ``p_zero`` at exactly 0, the rest normal.

    ``sigma`` is calibrated, so that ``mean ± 1.645 sigma`` holds 90 % of held-out cases.
    ``in_domain`` is False where the candidate lies outside the training data. ``lognormal``: the logarithm
    is normal, ``mean`` its median's exponential and ``sigma / mean`` its deviation.
    """

    mean: float
    sigma: float
    p_zero: float = 0.0
    in_domain: bool = True
    lognormal: bool = False

    @property
    def value(self) -> float:
        """The single best figure: 0 where zero is likelier than not, else the mean."""
        if self.p_zero == 0.0:
            return self.mean
        return 0.0 if self.p_zero > 0.5 else max(0.0, self.mean)

    @property
    def low(self) -> float:
        """Lower end of the 90 % interval."""
        return self._quantile(0.05)

    @property
    def high(self) -> float:
        """Upper end of the 90 % interval."""
        return self._quantile(0.95)

    def _quantile(self, level: float) -> float:
        if self.lognormal:
            return self.mean * exp(NormalDist(0.0, self.sigma / self.mean).inv_cdf(level))
        normal = NormalDist(self.mean, self.sigma)
        if self.p_zero == 0.0:
            return normal.inv_cdf(level)
        # zero-or-positive quantity: the normal part is cut at 0
        if level <= self.p_zero:
            return 0.0
        return max(0.0, normal.inv_cdf((level - self.p_zero) / (1 - self.p_zero)))

    def probability(self, window: Window) -> float:
        """Probability that the property lies inside ``window`` (both ends included)."""
        if self.lognormal:
            normal = NormalDist(log(self.mean), self.sigma / self.mean)
            ends = [log(end) if end > 0 else -inf for end in (window.low, window.high)]
            return normal.cdf(ends[1]) - normal.cdf(ends[0])
        normal = NormalDist(self.mean, self.sigma)
        zero = self.p_zero if window.holds_zero else 0.0
        # the part of the normal below 0 is zero too, for a quantity that has zeros
        low = -inf if self.p_zero > 0 and window.low <= 0 else window.low
        return zero + (1 - self.p_zero) * (normal.cdf(window.high) - normal.cdf(low))


@dataclass(frozen=True, slots=True)
class Estimates:
    """Many estimates of one property as arrays (n,), meaning what an :class:`Estimate` means."""

    mean: np.ndarray
    sigma: np.ndarray
    p_zero: np.ndarray
    in_domain: np.ndarray
    lognormal: bool = False

    def __getitem__(self, row: int) -> Estimate:
        """One of them."""
        mean, sigma, p_zero, inside = (
            a[row].item() for a in (self.mean, self.sigma, self.p_zero, self.in_domain)
        )
        return Estimate(mean, sigma, p_zero, inside, self.lognormal)

    def __len__(self) -> int:
        """How many."""
        return len(self.mean)

    def rows(self) -> list[Estimate]:
        """All of them, one by one."""
        fields = (self.mean.tolist(), self.sigma.tolist(), self.p_zero.tolist(), self.in_domain.tolist())
        return [Estimate(*one, self.lognormal) for one in zip(*fields, strict=True)]

    @property
    def value(self) -> np.ndarray:
        """The single best figures."""
        mixed = np.where(self.p_zero > 0.5, 0.0, np.maximum(0.0, self.mean))
        return np.asarray(np.where(self.p_zero == 0.0, self.mean, mixed))

    def quantile(self, level: float) -> np.ndarray:
        """What a share ``level`` lies under: 0.05 and 0.95 are the ends of the 90 % interval."""
        from scipy.special import ndtri

        if self.lognormal:
            return np.asarray(self.mean * np.exp(ndtri(level) * self.sigma / self.mean))
        with np.errstate(divide="ignore", invalid="ignore"):
            mixed = np.maximum(0.0, self.mean + self.sigma * ndtri((level - self.p_zero) / (1 - self.p_zero)))
        mixed = np.where(level <= self.p_zero, 0.0, mixed)
        return np.asarray(np.where(self.p_zero == 0.0, self.mean + self.sigma * ndtri(level), mixed))

    def probability(self, window: Window) -> np.ndarray:
        """Probability that each lies inside ``window`` (both ends included)."""
        from scipy.special import ndtr

        if self.lognormal:
            ends = [log(end) if end > 0 else -inf for end in (window.low, window.high)]
            middle, unit = np.log(self.mean), self.sigma / self.mean
            return np.asarray(ndtr((ends[1] - middle) / unit) - ndtr((ends[0] - middle) / unit))
        zero = self.p_zero if window.holds_zero else 0.0
        low = np.where((self.p_zero > 0) & (window.low <= 0), -inf, window.low)
        normal = ndtr((window.high - self.mean) / self.sigma) - ndtr((low - self.mean) / self.sigma)
        return np.asarray(zero + (1 - self.p_zero) * normal)


@dataclass(slots=True)
class Candidate:
    """One proposed crystal and everything the funnel has found out about it."""

    id: str
    gene: Gene
    provenance: dict[str, Any]
    geometry: Geometry | None = None
    structure: Structure | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    properties: dict[str, Estimate] = field(default_factory=dict)

    def record(self, verdict: Verdict) -> bool:
        """Keep a gate's verdict; returns whether the candidate passed."""
        self.verdicts[verdict.gate] = verdict
        return verdict.passed

    @property
    def alive(self) -> bool:
        """Whether no gate has rejected it."""
        return all(verdict.passed for verdict in self.verdicts.values())
