"""Whether a structure can be one: shortest contact, volume per atom, density; no energy needed.

Contacts are measured by the ratio of distance to the sum of covalent radii (Cordero). His radii are too long
for Ce and the light actinides, whose shortest bonds (uranyl, 1.8 Å) would otherwise set the limit for
everything else; they get 1.75 Å here.

Of the crystals in our data 99.98 % (mp20, every third), 99.95 % (mpts52, every sixth) and 99.5 % (WBM,
every second) pass; what fails in WBM are nearly all contacts of Np and Pu. The 0.1 % quantile of the
shortest contact is 0.73 in mp20.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table, volume_estimate
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure

GATE = "geometry"
MIN_CONTACT = 0.70
"""Least distance between two atoms, as a share of the sum of their radii."""
VOLUME_RATIO = (0.35, 2.5)
"""Volume relative to :func:`invdesign.crystal.elements.volume_estimate` (diamond: 0.39, mp20: from 0.68)."""
DENSITY = (0.3, 25.0)
"""g/cm³; osmium has 22.6, lithium 0.53."""

_SHORT_BONDED = 1.75  # Å, radius of Ce, U, Np and Pu
_GRAM_PER_CM3 = 1.66053907  # 1 u/Å³


@lru_cache(maxsize=1)
def _radii() -> np.ndarray:
    """Radius by atomic number, Å, shape (104,)."""
    radii = element_table()["covalent_radius"].copy()
    radii[[ATOMIC_NUMBER[element] for element in ("Ce", "U", "Np", "Pu")]] = _SHORT_BONDED
    return radii


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


def shortest_contact(structure: Structure) -> tuple[str, str, float, float]:
    """Find the two elements that are closest for their size, their distance (Å) and its share of the radii.

    Periodic images of the same atom count. Where no two atoms are within the sum of their radii, the pair
    that is nearest to it is found by looking further.
    """
    numbers = np.array(structure.atomic_numbers)
    radii = _radii()[numbers]
    largest, edge = float(radii.max()), min(structure.lattice.abc)
    # also keeps a collapsed cell from having millions of neighbours
    if edge < MIN_CONTACT * 2 * largest:
        symbol = SYMBOLS[int(numbers[radii.argmax()])]
        return symbol, symbol, edge, edge / (2 * largest)
    reach = 2 * largest
    while True:
        centres, others, _, distances = structure.get_neighbor_list(reach, exclude_self=True)
        if len(distances):
            shares = distances / (radii[centres] + radii[others])
            nearest = int(shares.argmin())
            first, second = SYMBOLS[int(numbers[centres[nearest]])], SYMBOLS[int(numbers[others[nearest]])]
            return first, second, float(distances[nearest]), float(shares[nearest])
        reach *= 1.5
