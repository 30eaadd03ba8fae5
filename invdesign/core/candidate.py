"""Candidates with a verdict per gate, and estimates with uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, hypot, inf, log
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.core.dft_result import DftResult
from invdesign.core.placement import Placement
from invdesign.core.properties import Window
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure


Z90 = 1.6448536269514722  # half width of a normal's 90 % interval, in standard deviations


@dataclass(frozen=True, slots=True, repr=False)
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

    def __repr__(self) -> str:
        """Return the point estimate with its 90 % interval."""
        return f"<{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]>"

    @property
    def value(self) -> float:
        """Return the point estimate: 0 where zero is likelier than not, else the mean."""
        if self.p_zero == 0.0:
            return self.mean
        return 0.0 if self.p_zero > 0.5 else max(0.0, self.mean)

    @property
    def low(self) -> float:
        """Return the lower end of the 90 % interval."""
        return self._quantile(0.05)

    @property
    def high(self) -> float:
        """Return the upper end of the 90 % interval."""
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
        """Return the probability that the property lies inside ``window`` (both ends included)."""
        return float(_probability(self, window))


@dataclass(frozen=True, slots=True)
class Estimates:
    """Many estimates of one property as arrays (n,); fields as in :class:`Estimate`."""

    mean: np.ndarray
    sigma: np.ndarray
    p_zero: np.ndarray
    in_domain: np.ndarray
    lognormal: bool = False

    def __getitem__(self, row: int) -> Estimate:
        """Return one estimate."""
        mean, sigma, p_zero, inside = (
            a[row].item() for a in (self.mean, self.sigma, self.p_zero, self.in_domain)
        )
        return Estimate(mean, sigma, p_zero, inside, self.lognormal)

    def __len__(self) -> int:
        """Return the number of estimates."""
        return len(self.mean)

    def rows(self) -> list[Estimate]:
        """Return all estimates as a list."""
        fields = (self.mean.tolist(), self.sigma.tolist(), self.p_zero.tolist(), self.in_domain.tolist())
        return [Estimate(*row, self.lognormal) for row in zip(*fields, strict=True)]

    @property
    def value(self) -> np.ndarray:
        """Return the point estimates."""
        mixed = np.where(self.p_zero > 0.5, 0.0, np.maximum(0.0, self.mean))
        return np.asarray(np.where(self.p_zero == 0.0, self.mean, mixed))

    def quantile(self, level: float) -> np.ndarray:
        """Return the quantile of probability ``level``; 0.05 and 0.95 give the ends of the 90 % interval."""
        from scipy.special import ndtri

        if self.lognormal:
            return np.asarray(self.mean * np.exp(ndtri(level) * self.sigma / self.mean))
        with np.errstate(divide="ignore", invalid="ignore"):
            mixed = np.maximum(0.0, self.mean + self.sigma * ndtri((level - self.p_zero) / (1 - self.p_zero)))
        mixed = np.where(level <= self.p_zero, 0.0, mixed)
        return np.asarray(np.where(self.p_zero == 0.0, self.mean + self.sigma * ndtri(level), mixed))

    def probability(self, window: Window) -> np.ndarray:
        """Return the probability that each lies inside ``window`` (both ends included)."""
        return np.asarray(_probability(self, window))


def _probability(estimate: Estimate | Estimates, window: Window) -> Any:  # noqa: ANN401 - a number or an array
    from scipy.special import ndtr

    mean, sigma, low, high = estimate.mean, estimate.sigma, window.low, window.high
    if estimate.lognormal:
        mean, sigma = np.log(mean), sigma / mean
        low, high = (log(end) if end > 0 else -inf for end in (low, high))
        return ndtr((high - mean) / sigma) - ndtr((low - mean) / sigma)
    below = ndtr((low - mean) / sigma)
    if low <= 0:  # the part of the normal below 0 is zero too, for a quantity that has zeros
        below = below * (estimate.p_zero == 0)
    inside = (1 - estimate.p_zero) * (ndtr((high - mean) / sigma) - below)
    return inside + estimate.p_zero if window.holds_zero else inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a candidate comes from.

    Attributes:
        generator: its name.
        batch: number of the unit of work that generated it, part of the seed; None outside campaigns.
        conditions: value of each property that guided the generator.
        parent: identifier of the known crystal that it was made from.
        geometry: source of its geometry.
        details: further facts by name, as the generator records them.
        round: the round of active learning that added it; None: the campaign itself.
    """

    generator: str = ""
    batch: int | None = None
    conditions: Mapping[str, float] = field(default_factory=dict)
    parent: str | None = None
    geometry: str | None = None
    details: Mapping[str, str | float] = field(default_factory=dict)
    round: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """How the structure of a candidate was relaxed.

    Attributes:
        energy: total energy of the cell by the potential, eV.
        fmax: largest force, eV/Å.
        n_steps: of the relaxation that gave the structure.
        symmetry_kept: whether the crystal keeps the gene's symmetry when released; None where not tested.
        n_starting_structures: relaxed for this candidate.
        proposed_gene: the gene as generated.
    """

    energy: float
    fmax: float
    n_steps: int
    symmetry_kept: bool | None
    n_starting_structures: int
    proposed_gene: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """By what the candidates that passed every gate are ranked.

    Attributes:
        p_hit: probability that all properties lie in their windows and E above hull under its limit.
        worth: that times how likely such a compound is real; the shortlist is in its order. None in campaigns
            that are older than it.
        synthesizability: score, 0 to 1.
        pareto_rank: front among several goals, from 1; None with a single goal.
        rank: place on the shortlist, from 1; None: not on it.
        why: what drove the first property of the target, in a phrase.
        dimensionality: directions in which the relaxed crystal is connected, 0 to 3.
        members: what is the same idea, of most worth first; see :mod:`invdesign.campaign.ideas`.
    """

    p_hit: float
    worth: float | None = None
    synthesizability: float = 0.0
    pareto_rank: int | None = None
    rank: int | None = None
    why: str = ""
    dimensionality: int = 3
    members: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSelection:
    """What a round of active learning predicted for a candidate that it selected.

    Attributes:
        p_hit: probability of a hit.
        estimates: corrected value and ends of the 90 % interval by property.
    """

    p_hit: float
    estimates: Mapping[str, tuple[float, float, float]]


@dataclass(slots=True, repr=False)
class Candidate:
    """One proposed crystal and everything the funnel has found out about it.

    Attributes:
        id: unique in its campaign.
        gene: of the relaxed structure where there is one, else as generated.
        origin: where it comes from.
        geometry: cell and free coordinates.
        structure: relaxed, in campaigns.
        verdicts: by gate, in the order of the funnel.
        properties: estimates by property.
        place: order in which it is relaxed among its generator's candidates, from 0; None: it is not.
        relaxation: how it was relaxed; None where no relaxation succeeded.
        relaxation_steps: of all its starting structures together.
        placement: on the convex hull.
        first_placement: by the campaign's potential, where a finishing potential placed it again.
        selection: by what it is ranked; None where a gate rejected it before.
        rounds: what each round that selected it predicted.
        round_checks: verdicts of the checks and of the finishing that rounds made, its site states included.
        dft: result of DFT.
    """

    id: str
    gene: Gene
    origin: Origin = Origin()
    geometry: Geometry | None = None
    structure: Structure | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    properties: dict[str, Estimate] = field(default_factory=dict)
    place: int | None = None
    relaxation: Relaxation | None = None
    relaxation_steps: int | None = None
    placement: Placement | None = None
    first_placement: Placement | None = None
    selection: Selection | None = None
    rounds: dict[int, RoundSelection] = field(default_factory=dict)
    round_checks: dict[str, Verdict] = field(default_factory=dict)
    dft: DftResult | None = None

    def __repr__(self) -> str:
        """Return id, gene and how far it came."""
        rejected = next((v.gate for v in self.verdicts.values() if not v.passed), None)
        rank = f", rank {self.selection.rank}" if self.selection and self.selection.rank else ""
        return f"<{self.id or 'candidate'}: {self.gene}{f', rejected by {rejected}' if rejected else rank}>"

    @property
    def shortlisted(self) -> bool:
        """Whether it is on the shortlist."""
        return self.selection is not None and self.selection.rank is not None

    @property
    def potentials_agree(self) -> bool | None:
        """Whether both placements agree within their intervals; None where there is one alone."""
        if self.first_placement is None or self.placement is None:
            return None
        apart = abs(self.first_placement.e_above_hull - self.placement.e_above_hull)
        # the errors of two potentials go together, so this is wider than the interval of their difference
        return apart <= Z90 * hypot(self.first_placement.sigma, self.placement.sigma)

    def record(self, verdict: Verdict) -> bool:
        """Keep a gate's verdict; returns whether the candidate passed."""
        self.verdicts[verdict.gate] = verdict
        return verdict.passed

    @property
    def alive(self) -> bool:
        """Whether no gate has rejected it."""
        return all(verdict.passed for verdict in self.verdicts.values())
