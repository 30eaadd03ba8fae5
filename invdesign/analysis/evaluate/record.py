"""What an evaluation finds out about each crystal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class SampleRecord:
    """What was found out about one sample; energies in eV/atom, lengths in Å.

    ``gene``, ``structure_known``, ``prototype_known`` and ``alloy`` (the known crystals whose mixture this
    orders) are those of the relaxed structure where relaxation converged, else of the sampled one; so is
    ``crystal`` (cell, atomic numbers, fractional coordinates), empty where unreadable.
    ``group`` and ``final_group`` number distinct crystals, as sampled and in the end; -1 where unreadable.
    ``second_…`` is by the potential of the second opinion, where one was asked for.
    """

    label: str
    fault: str = ""
    formula: str = ""
    n_atoms: int = 0
    charge_balanced: bool = False
    charge_reason: str = ""
    plausible: bool = False
    geometry_reason: str = ""
    composition_known: bool = False
    sampled_gene: str = ""
    gene: str = ""
    structure_known: bool = False
    prototype_known: bool = False
    alloy: str = ""
    converged: bool = False
    n_steps: int = 0
    relaxation: str = ""
    formation_energy_per_atom: float | None = None
    e_above_hull: float | None = None
    sigma: float | None = None
    n_phases: int | None = None
    second_relaxation: str = ""
    second_e_above_hull: float | None = None
    second_sigma: float | None = None
    rmsd: float | None = None
    allowed: bool = False
    properties: dict[str, tuple[float, float, float, bool]] = field(default_factory=dict)
    crystal: dict[str, Any] = field(default_factory=dict)
    group: int = -1
    final_group: int = -1

    @property
    def valid(self) -> bool:
        """Charge balanced and geometrically plausible, as sampled."""
        return self.charge_balanced and self.plausible

    @property
    def e_above_hull_both(self) -> float | None:
        """Return the higher of both energies above hull, eV/atom; None where one is not known."""
        if self.e_above_hull is None or self.second_e_above_hull is None:
            return None
        return max(self.e_above_hull, self.second_e_above_hull)

    def stable(self, limit: float) -> bool:
        """Whether its energy above the hull is known and at most ``limit`` eV/atom."""
        return self.e_above_hull is not None and self.e_above_hull <= limit
