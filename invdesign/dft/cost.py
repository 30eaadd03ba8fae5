"""What a GPAW calculation costs, roughly, before it starts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invdesign.dft.gpaw_job import PATH_DENSITY

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from invdesign.dft.manifest import Job

# fitted to the processor seconds of GPAW 26.7 on one core for cells of 1 and 2 atoms (docs/dft.md)
FIXED, PER_PAIR = 12.2, 5.8e-7  # s; s per k-point, plane wave and pair of bands
HBAR2_2M = 3.80998  # ħ²/2m, eV Å²


@dataclass(frozen=True, slots=True)
class Cost:
    """What the time depends on, and the time.

    Attributes:
        n_atoms: in the cell.
        n_electrons: valence electrons.
        n_kpoints: irreducible ones, twice as many with spin.
        n_waves: plane waves per band.
        steps: geometries that are expected; 1 where nothing moves.
        seconds: on one core.
    """

    n_atoms: int
    n_electrons: int
    n_kpoints: int
    n_waves: int
    steps: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        took = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        size = f"{self.n_atoms} atoms, {self.n_electrons} electrons, {self.n_kpoints} k-points"
        return f"about {took} ({size}, {self.n_waves} plane waves, {self.steps} geometries)"


def estimate(job: Job) -> Cost:
    """The cost of a folder that ``dft write --code gpaw`` made: within a factor of two or three.

    Keeping bands orthogonal, bands² times plane waves, is what grows; per k-point and geometry.
    """
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    settings = json.loads((job.folder / "input.json").read_text(encoding="utf-8"))
    atoms = read(job.folder / "structure.vasp", format="vasp")
    spins = 2 if settings["magmoms"] else 1
    structure = AseAtomsAdaptor.get_structure(atoms)
    on_grid = irreducible(structure, settings["kpoints"]) * spins
    on_path = len(atoms.cell.bandpath(density=PATH_DENSITY).kpts) * spins if job.task == "gap" else 0
    electrons = int(job.entry["n_electrons"])
    bands = settings["bands"]
    waves = atoms.cell.volume * (settings["cutoff_ev"] / HBAR2_2M) ** 1.5 / (6 * math.pi**2)
    steps = expected_steps(atoms) if job.task == "relax" else 1
    seconds = FIXED + PER_PAIR * waves * bands**2 * (steps * on_grid + on_path)
    return Cost(len(atoms), electrons, on_grid, round(waves), steps, seconds)


def irreducible(structure: Structure, grid: list[int]) -> int:
    """k-points of a grid that symmetry leaves."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    return len(SpacegroupAnalyzer(structure, symprec=1e-3).get_ir_reciprocal_mesh(tuple(grid)))  # type: ignore[arg-type]


def expected_steps(atoms: Atoms) -> int:
    """Geometries of a relaxation, by the number of coordinates that symmetry leaves free."""
    from invdesign.validators.degrees_of_freedom import Freedom
    from invdesign.validators.potential import Frame

    frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array)
    return 2 + 2 * len(Freedom.symmetric(frame, relax_cell=True))
