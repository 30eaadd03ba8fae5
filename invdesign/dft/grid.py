"""The k-point grid of all codes: centred at Γ and even along every axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pymatgen.core import Structure

Task = Literal["relax", "static", "gap"]
Grid = tuple[int, int, int]

DENSITY: dict[Task, int] = {"relax": 64, "static": 100, "gap": 100}
"""k-points per reciprocal volume (Å³), the Materials Project's for its relaxations and static runs."""


def k_grid(structure: Structure, task: Task) -> Grid:
    """The Materials Project's density, each division rounded up to an even number.

    Even grids about Γ hold Γ and the zone boundary, where band edges mostly lie; an odd one can miss them
    (CsPbI3: a gap of 3.44 eV on 3x3x3, 1.42 eV on 4x4x4), and a shifted one misses Γ.
    """
    from pymatgen.io.vasp import Kpoints

    a, b, c = Kpoints.automatic_density_by_vol(structure, DENSITY[task], force_gamma=True).kpts[0]
    return int(a + a % 2), int(b + b % 2), int(c + c % 2)
