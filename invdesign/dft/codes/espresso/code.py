"""Quantum ESPRESSO (pw.x) as a DFT code."""

# ruff: noqa: D102 - the interface documents the methods
from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from invdesign.dft.codes.espresso.read import read_espresso
from invdesign.dft.codes.espresso.write import INPUTS, find_pseudopotentials, settings, write_espresso
from invdesign.dft.codes.interface import Code, InputWriter, ParsedOutput, SlurmJob
from invdesign.dft.codes.kpoints import Task

_SETUP = """\
# module load quantum-espresso
# pseudo_dir of the inputs must be where the pseudopotentials are on this cluster
"""


class QuantumESPRESSO(Code):
    """Quantum ESPRESSO with PBE pseudopotentials of the user."""

    name, label = "espresso", "Quantum ESPRESSO"
    tasks = ("relax", "static", "phonon-check")
    takes_pseudopotentials = True
    output_files = "output of pw.x"
    decisive_settings = ("ecutwfc_ry", "ecutrho_ry", "smearing")
    elements_unavailable = None

    def prepare(
        self,
        task: Task,
        elements: Iterable[str],
        pseudos: Path | None,
        input_set: str | None,  # noqa: ARG002
    ) -> InputWriter:
        files = find_pseudopotentials(elements, pseudos)
        return InputWriter(settings(files), partial(write_espresso, task=task, pseudos=files))

    def slurm_job(self, task: Task, settings: Mapping[str, Any]) -> SlurmJob:  # noqa: ARG002
        name = INPUTS[task][0].removesuffix(".in")
        return SlurmJob(f"srun pw.x -in {name}.in > {name}.out", _SETUP)

    def recognizes(self, folder: Path) -> bool:
        return any(any(folder.glob(pattern)) for pattern in ("*.xml", "out/*.xml", "*.out"))

    def read(self, folder: Path) -> ParsedOutput:
        return read_espresso(folder)
