"""Whether a structure can be one: shortest contact, volume per atom, density; no energy needed.

Contacts are measured as in :mod:`invdesign.crystal.contacts`.

Of the crystals in our data 99.98 % (mp20, every third), 99.95 % (mpts52, every sixth) and 99.5 % (WBM,
every second) pass; what fails in WBM are nearly all contacts of Np and Pu. The 0.1 % quantile of the
shortest contact is 0.73 in mp20.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.contacts import MIN_CONTACT, shortest_contact
from invdesign.crystal.elements import element_table, volume_estimate
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure

GATE = "geometry"
VOLUME_RATIO = (0.35, 2.5)
"""Volume relative to :func:`invdesign.crystal.elements.volume_estimate` (diamond: 0.39, mp20: from 0.68)."""
DENSITY = (0.3, 25.0)
"""g/cm³; osmium has 22.6, lithium 0.53."""

_GRAM_PER_CM3 = 1.66053907  # 1 u/Å³


def geometry_check(structure: Structure) -> Verdict:
    """Check an ordered structure by its volume, density and shortest contact.

    Returns:
        The verdict; its value is the least ratio of a distance to the sum of radii (absent where the
        cell itself is rejected), its threshold :data:`MIN_CONTACT`.
    """
    numbers = np.array(structure.atomic_numbers)
    volume = float(structure.volume)
    if not (np.isfinite(volume) and np.isfinite(structure.frac_coords).all()):
        return Verdict(GATE, passed=False, reason="the cell or a position is not a finite number")
    size = f"{volume / len(numbers):.1f} Å³ per atom"
    ratio = volume / volume_estimate(structure.composition)
    if not VOLUME_RATIO[0] <= ratio <= VOLUME_RATIO[1]:
        low, high = VOLUME_RATIO
        reason = f"{size} is {ratio:.2g} times what its atoms need ({low} to {high})"
        return Verdict(GATE, passed=False, reason=reason)
    density = float(element_table()["mass"][numbers].sum()) / volume * _GRAM_PER_CM3
    if not DENSITY[0] <= density <= DENSITY[1]:
        reason = f"density {density:.3g} g/cm³ is outside {DENSITY[0]} to {DENSITY[1]}"
        return Verdict(GATE, passed=False, reason=reason)
    first, second, distance, share = shortest_contact(structure)
    reason = f"shortest contact {first}-{second} {distance:.2f} Å, {share:.2f} of the sum of radii; {size}"
    return Verdict(GATE, share >= MIN_CONTACT, reason, value=round(share, 4), threshold=MIN_CONTACT)
