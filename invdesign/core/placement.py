"""Where a crystal lies with respect to the convex hull of known phases."""

from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Placement:
    """Formation energy and energy above hull of a relaxed crystal.

    Attributes:
        formation_energy: eV/atom, on the hull's scale.
        e_above_hull: eV/atom; negative below the known hull. On MP2020's scale it has the overcorrection of
            anions (``stability/anion_overcorrection``), which ``formation_energy`` has not.
        sigma: standard deviation of both energies, eV/atom.
        decomposition: competing phases, atomic fraction by formula.
        n_phases: compositions known in the chemical system, its elements among them.
        composition_known: whether the hull has a phase of this composition.
        crystal_known: whether the crystal is a reported one; its energy has no hypothetical offset.
    """

    formation_energy: float
    e_above_hull: float
    sigma: float
    decomposition: dict[str, float]
    n_phases: int
    composition_known: bool
    crystal_known: bool

    def probability_below(self, limit: float) -> float:
        """Return the probability that DFT puts the crystal at most ``limit`` eV/atom above the hull."""
        return NormalDist(self.e_above_hull, self.sigma).cdf(limit)
