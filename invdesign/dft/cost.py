"""What a GPAW or Elk calculation costs, roughly, before it starts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invdesign.dft.codes.elk.write import RGKMAX
from invdesign.dft.codes.gpaw.job import PATH_DENSITY

if TYPE_CHECKING:
    from ase import Atoms

    from invdesign.dft.manifest import Job

# fitted to the processor seconds of GPAW 26.7 on one core for cells of 1 to 16 atoms (docs/guide/dft.md)
FIXED, PER_PAIR = 12.2, 5.8e-7  # s; s per k-point, plane wave and pair of bands
HBAR2_2M = 3.80998  # ħ²/2m, eV Å²
COMPLEX = 16  # bytes
PROGRAM = 0.16e9  # bytes without any crystal
PROJECTORS = 30  # per element
PER_WAVE = 16e3  # bytes of the real-space grids per plane wave
# fitted to Elk 8.4 on one core: MgO, SrTe, CdSe
ELK_FIXED, ELK_PER_CUBE = 5.0, 3.7e-8  # s; s per k-point and cubed size of the basis
RADIUS = 0.45  # smallest muffin tin by the shortest distance between atoms
LOCAL_ORBITALS = 15  # per atom
FAR = 6.0  # Å: there is always a neighbour within it


@dataclass(frozen=True, slots=True)
class Cost:
    """What the time depends on, and the time.

    Attributes:
        n_atoms: in the cell.
        n_kpoints: irreducible ones, twice as many with spin.
        n_waves: basis functions per band.
        steps: geometries that are expected; 1 where nothing moves.
        seconds: on one core.
        memory: bytes, at most of the time.
    """

    n_atoms: int
    n_kpoints: int
    n_waves: int
    steps: int
    seconds: float
    memory: float

    @property
    def time(self) -> str:
        """The time as a person reads it."""
        return f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"

    def __str__(self) -> str:
        """One line."""
        size = f"{self.n_atoms} atoms, {self.n_kpoints} k-points, {self.n_waves} plane waves"
        return f"about {self.time}, {self.memory / 1e9:.1f} GB ({size}, {self.steps} geometries)"


def estimate(job: Job) -> Cost:
    """The cost of a calculation that ``dft write`` wrote for GPAW or Elk: within a factor of two or three."""
    from ase.io import read

    atoms = read(job.folder / "structure.vasp", format="vasp")
    return (_of_elk if job.code == "elk" else _of_gpaw)(job, atoms)


def _of_gpaw(job: Job, atoms: Atoms) -> Cost:
    """Keeping bands orthogonal, bands² times plane waves, is what grows; per k-point and geometry."""
    settings = json.loads((job.folder / "input.json").read_text(encoding="utf-8"))
    spins = 2 if settings["magmoms"] else 1
    on_grid = _irreducible(atoms, settings["kpoints"]) * spins
    on_path = _on_path(atoms) * spins if job.task == "gap" else 0
    bands = settings["bands"]
    waves = _n_waves(atoms, (settings["cutoff_ev"] / HBAR2_2M) ** 0.5)
    steps = expected_steps(atoms) if job.task == "relax" else 1
    seconds = FIXED + PER_PAIR * waves * bands**2 * (steps * on_grid + on_path)
    projectors = PROJECTORS * len(set(atoms.symbols)) / spins
    kept = max(on_grid, on_path) * (bands + projectors) + 4 * bands
    memory = PROGRAM + waves * (COMPLEX * kept + PER_WAVE)
    return Cost(len(atoms), on_grid, waves, steps, seconds, memory)


def _of_elk(job: Job, atoms: Atoms) -> Cost:
    """The eigenvalue problem of the basis, per k-point."""
    from ase.neighborlist import neighbor_list

    radius = RADIUS * min([FAR, *neighbor_list("d", atoms, FAR)])
    basis = _n_waves(atoms, RGKMAX / radius) + LOCAL_ORBITALS * len(atoms)
    on_grid = _irreducible(atoms, job.entry["kpoints"])
    on_path = _on_path(atoms) if job.task == "gap" else 0
    seconds = ELK_FIXED + ELK_PER_CUBE * basis**3 * (on_grid + on_path)
    return Cost(len(atoms), on_grid, basis, 1, seconds, PROGRAM + 10 * COMPLEX * basis**2)


def _n_waves(atoms: Atoms, largest: float) -> int:
    """Plane waves up to a wave vector (Å⁻¹)."""
    return round(float(atoms.cell.volume) * largest**3 / (6 * math.pi**2))


def _on_path(atoms: Atoms) -> int:
    return len(atoms.cell.bandpath(density=PATH_DENSITY).kpts)


def _irreducible(atoms: Atoms, grid: list[int]) -> int:
    """k-points of a grid that symmetry leaves."""
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    analyzer = SpacegroupAnalyzer(AseAtomsAdaptor.get_structure(atoms), symprec=1e-3)
    return len(analyzer.get_ir_reciprocal_mesh(tuple(grid)))  # type: ignore[arg-type]


def expected_steps(atoms: Atoms) -> int:
    """Geometries of a relaxation, by the number of coordinates that symmetry leaves free."""
    from invdesign.potentials.interface import Frame
    from invdesign.relaxation.symmetry_coordinates import Freedom

    frame = Frame(atoms.numbers, atoms.positions, atoms.cell.array)
    return 2 + 2 * len(Freedom.symmetric(frame, relax_cell=True))
