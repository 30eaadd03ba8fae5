"""GPAW as a DFT code."""

# ruff: noqa: D102 - the interface documents the methods
from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.gpaw.job import PATH_DENSITY, RESULT
from invdesign.dft.codes.gpaw.read import read_gpaw
from invdesign.dft.codes.gpaw.write import settings, unsupported_reason, write_gpaw
from invdesign.dft.codes.interface import InputWriter, LocalCode, ParsedOutput, SlurmJob
from invdesign.dft.codes.kpoints import Task
from invdesign.dft.cost import COMPLEX, PROGRAM, Cost, expected_steps, n_irreducible, n_path, n_plane_waves
from invdesign.dft.manifest import Job

if TYPE_CHECKING:
    from pymatgen.core import Structure

# fitted to the processor seconds of GPAW 26.7 on one core for cells of 1 to 16 atoms
FIXED, PER_PAIR = 12.2, 5.8e-7  # s; s per k-point, plane wave and pair of bands
HBAR2_2M = 3.80998  # ħ²/2m, eV Å²
PROJECTORS = 30  # per element
PER_WAVE = 16e3  # bytes of the real-space grids per plane wave
_SETUP = """\
# source the environment that has GPAW (not invdesign); killed jobs go on where they were when submitted again
export OMP_NUM_THREADS=1
"""


class GPAW(LocalCode):
    """GPAW in plane waves, by the script ``job.py`` that is copied into each folder."""

    name, label = "gpaw", "GPAW"
    tasks = ("relax", "static", "gap", "phonon-check")
    output_files = RESULT
    inputs_are_fixed = True
    decisive_settings = ("cutoff_ev", "smearing", "setups")
    elements_unavailable = None
    command = (sys.executable, "run.py")  # the script holds the lock
    how_to_install = (
        "apt-get install libxc-dev libopenblas-dev, then pip install 'invdesign[dft]' with GPAW_CONFIG "
        "naming the siteconfig.py of docs/reference/dft-codes.md"
    )

    def prepare(
        self,
        task: Task,
        elements: Iterable[str],  # noqa: ARG002
        pseudos: Path | None,  # noqa: ARG002
        input_set: str | None,  # noqa: ARG002
    ) -> InputWriter:
        return InputWriter(settings(task), partial(write_gpaw, task=task))

    def slurm_job(self, task: Task, settings: Mapping[str, Any]) -> SlurmJob:  # noqa: ARG002
        return SlurmJob("python run.py > run.log 2>&1", _SETUP, cores=1)

    def unsupported_reason(self, structure: Structure) -> str | None:
        return unsupported_reason(structure)

    def recognizes(self, folder: Path) -> bool:
        return (folder / RESULT).is_file()

    def read(self, folder: Path) -> ParsedOutput:
        return read_gpaw(folder)

    def is_installed(self) -> bool:
        return find_spec("gpaw") is not None and find_spec("gpaw_data") is not None

    def has_ended(self, folder: Path) -> bool:
        return (folder / RESULT).is_file()

    def estimate_cost(self, job: Job) -> Cost:
        """Estimate the cost from what dominates: orthogonalization, bands² times plane waves."""
        from ase.io import read

        atoms = read(job.folder / "structure.vasp", format="vasp")
        written = json.loads((job.folder / "input.json").read_text(encoding="utf-8"))
        spins = 2 if written["magmoms"] else 1
        on_grid = n_irreducible(atoms, written["kpoints"]) * spins
        on_path = n_path(atoms, PATH_DENSITY) * spins if job.task == "gap" else 0
        bands = written["bands"]
        waves = n_plane_waves(atoms, (written["cutoff_ev"] / HBAR2_2M) ** 0.5)
        steps = expected_steps(atoms) if job.task == "relax" else 1
        seconds = FIXED + PER_PAIR * waves * bands**2 * (steps * on_grid + on_path)
        projectors = PROJECTORS * len(set(atoms.symbols)) / spins
        kept = max(on_grid, on_path) * (bands + projectors) + 4 * bands
        memory = PROGRAM + waves * (COMPLEX * kept + PER_WAVE)
        return Cost(len(atoms), on_grid, waves, steps, seconds, memory)
