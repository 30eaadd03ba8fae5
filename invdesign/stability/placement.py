"""The one way from a potential's total energy to an energy above hull.

Every command places crystals here, so that one crystal has one energy above hull. A reported crystal is of
the kind that the potential was trained on; every other one gets the calibration's hypothetical offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invdesign.core.placement import Placement
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull

if TYPE_CHECKING:
    from pymatgen.core import Composition


def compute_placement(
    composition: Composition,
    energy: float,
    calibration: EnergyCalibration,
    hull: Hull,
    *,
    crystal_known: bool,
) -> Placement:
    """Place a crystal on the hull.

    Args:
        composition: of the cell, with its amounts of atoms.
        energy: the potential's total energy of the cell, eV.
        calibration: of this potential.
        hull: on the calibration's energy scale.
        crystal_known: whether the crystal is a reported one (``KnownMaterials.is_reported``).

    Raises:
        InputError: calibration or hull lack one of the elements.
    """
    formation = float(calibration.formation_energy(composition, energy, hypothetical=not crystal_known))
    found = hull.e_above_hull(composition, formation)
    return Placement(
        formation_energy=formation,
        e_above_hull=float(found.e_above_hull),
        sigma=float(calibration.sigma(composition, found.e_above_hull)),
        decomposition={phase: float(share) for phase, share in found.decomposition.items()},
        n_phases=int(found.n_phases),
        composition_known=bool(found.composition_known),
        crystal_known=crystal_known,
    )
