"""The k-point grid of all codes: centred at Γ and even along every axis.

Even grids about Γ hold Γ and the zone boundary, where band edges mostly lie; an odd one can miss them
(CsPbI3: a gap of 3.44 eV on 3x3x3, 1.42 eV on 4x4x4), and a shifted one misses Γ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pymatgen.core import Structure

Task = Literal["relax", "static", "gap", "phonon-check"]
Grid = tuple[int, int, int]

DENSITY: dict[Task, int] = {"relax": 64, "static": 100, "gap": 100, "phonon-check": 64}
"""k-points per reciprocal volume (Å³), the Materials Project's for its relaxations and static runs."""


def k_grid(structure: Structure, task: Task) -> Grid:
    """Return a grid of the Materials Project's density, each division rounded up to an even number."""
    from pymatgen.io.vasp import Kpoints

    return _even(Kpoints.automatic_density_by_vol(structure, DENSITY[task], force_gamma=True).kpts[0])


def spaced_grid(structure: Structure, spacing: float) -> Grid:
    """Points at most ``spacing`` (Å⁻¹, 2π included) apart, each division rounded up to an even number."""
    return _even(math.ceil(length / spacing) for length in structure.lattice.reciprocal_lattice.abc)


def _even(divisions: Iterable[float]) -> Grid:
    a, b, c = (int(n) + int(n) % 2 for n in divisions)
    return a, b, c
