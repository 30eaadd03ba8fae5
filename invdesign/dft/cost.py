"""Cost of a calculation before it starts: the value, and what the estimates of all codes share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

COMPLEX = 16  # bytes
PROGRAM = 0.16e9  # bytes without any crystal


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimated time and memory of a calculation, and what they depend on.

    Attributes:
        n_atoms: in the cell.
        n_kpoints: irreducible ones, twice as many with spin.
        n_waves: basis functions per band.
        steps: geometries that are expected; 1 where nothing moves.
        seconds: on one core.
        memory: peak, bytes.
    """

    n_atoms: int
    n_kpoints: int
    n_waves: int
    steps: int
    seconds: float
    memory: float

    @property
    def time(self) -> str:
        """Return the time with its unit."""
        return f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"

    def __str__(self) -> str:
        """Return one line."""
        size = f"{self.n_atoms} atoms, {self.n_kpoints} k-points, {self.n_waves} plane waves"
        return f"about {self.time}, {self.memory / 1e9:.1f} GB ({size}, {self.steps} geometries)"


def n_plane_waves(atoms: Atoms, largest: float) -> int:
    """Count the plane waves up to a wave vector (Å⁻¹)."""
    return round(float(atoms.cell.volume) * largest**3 / (6 * math.pi**2))


def n_path(atoms: Atoms, density: float) -> int:
    """Count the k-points of the path between special points, at a density in Å (2π included)."""
    return len(atoms.cell.bandpath(density=density).kpts)


def n_irreducible(atoms: Atoms, grid: Sequence[int]) -> int:
    """Count the symmetry-irreducible k-points of a grid."""
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    analyzer = SpacegroupAnalyzer(AseAtomsAdaptor.get_structure(atoms), symprec=1e-3)
    return len(analyzer.get_ir_reciprocal_mesh(tuple(grid)))  # type: ignore[arg-type]


def expected_steps(atoms: Atoms) -> int:
    """Estimate the geometries of a relaxation from the symmetry-adapted degrees of freedom."""
    from invdesign.potentials.interface import Frame
    from invdesign.relaxation.symmetry_coordinates import DegreesOfFreedom

    frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array)
    return 2 + 2 * len(DegreesOfFreedom.symmetric(frame, relax_cell=True))
