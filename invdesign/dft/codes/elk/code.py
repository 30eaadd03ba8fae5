"""Elk as a DFT code: all electrons, so an independent check of a band gap."""

# ruff: noqa: D102 - the interface documents the methods
from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.elk.read import INFO, has_stopped, read_elk
from invdesign.dft.codes.elk.write import COMMAND, RGKMAX, settings, unsupported_reason, write_elk
from invdesign.dft.codes.gpaw.job import PATH_DENSITY
from invdesign.dft.codes.interface import LOCK, InputWriter, LocalCode, ParsedOutput, SlurmJob
from invdesign.dft.codes.kpoints import Task
from invdesign.dft.cost import COMPLEX, PROGRAM, Cost, n_irreducible, n_path, n_plane_waves
from invdesign.dft.manifest import Job

if TYPE_CHECKING:
    from pymatgen.core import Structure

# fitted to Elk 8.4 on one core: MgO, SrTe, CdSe
FIXED, PER_CUBE = 5.0, 3.7e-8  # s; s per k-point and cubed size of the basis
RADIUS = 0.45  # smallest muffin tin by the shortest distance between atoms
LOCAL_ORBITALS = 15  # per atom
FAR = 6.0  # Å: there is always a neighbour within it
_SETUP = """\
# sppath in elk.in must be where Elk's species files are on this cluster
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
"""


class Elk(LocalCode):
    """Elk, non-magnetic and without +U."""

    name, label = "elk", "Elk"
    tasks = ("static", "gap")
    output_files = INFO
    decisive_settings = ("smearing",)
    second_opinion = True
    elements_unavailable = "Elk's energies compare only at the same muffin-tin radii"
    command = ("flock", "-F", "-n", LOCK, COMMAND)  # flock locks, then becomes Elk
    how_to_install = "apt-get install elk-lapw"

    def prepare(
        self,
        task: Task,
        elements: Iterable[str],  # noqa: ARG002
        pseudos: Path | None,  # noqa: ARG002
        input_set: str | None,  # noqa: ARG002
    ) -> InputWriter:
        return InputWriter(settings(), partial(write_elk, task=task))

    def slurm_job(self, task: Task, settings: Mapping[str, Any]) -> SlurmJob:  # noqa: ARG002
        return SlurmJob("elk-lapw > elk.out 2>&1", _SETUP, cores=1)

    def unsupported_reason(self, structure: Structure) -> str | None:
        return unsupported_reason(structure)

    def recognizes(self, folder: Path) -> bool:
        return (folder / INFO).is_file()

    def read(self, folder: Path) -> ParsedOutput:
        return read_elk(folder)

    def is_installed(self) -> bool:
        return shutil.which(COMMAND) is not None

    def has_ended(self, folder: Path) -> bool:
        return has_stopped(folder)

    def estimate_cost(self, job: Job) -> Cost:
        """Estimate the cost from the eigenvalue problem of the basis, per k-point."""
        from ase.io import read
        from ase.neighborlist import neighbor_list

        atoms = read(job.folder / "structure.vasp", format="vasp")
        radius = RADIUS * min([FAR, *neighbor_list("d", atoms, FAR)])
        basis = n_plane_waves(atoms, RGKMAX / radius) + LOCAL_ORBITALS * len(atoms)
        on_grid = n_irreducible(atoms, job.entry["kpoints"])
        on_path = n_path(atoms, PATH_DENSITY) if job.task == "gap" else 0
        seconds = FIXED + PER_CUBE * basis**3 * (on_grid + on_path)
        return Cost(len(atoms), on_grid, basis, 1, seconds, PROGRAM + 10 * COMPLEX * basis**2)
