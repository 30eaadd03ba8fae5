"""VASP as a DFT code."""

# ruff: noqa: D102 - the interface documents the methods
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.interface import Code, InputWriter, ParsedOutput, SlurmJob
from invdesign.dft.codes.kpoints import Task
from invdesign.dft.codes.vasp import jobflow
from invdesign.dft.codes.vasp.read import read_vasp, vasprun_of
from invdesign.dft.codes.vasp.write import STATIC, settings, write_vasp

if TYPE_CHECKING:
    from pymatgen.core import Structure

_SETUP = """\
# module load vasp
# POTCARs are licensed, so each folder lists their symbols only; pymatgen makes the file from your own copies:
[ -f POTCAR ] || pmg potcar -s $(cat POTCAR.spec) -f {release}
"""


_RUN = "srun vasp_std > vasp.out"
# a relaxation stopped by NSW is not followed: relax it again first
_THEN_STATIC = f""" && grep -q "reached required accuracy" OUTCAR \\
  && cp CONTCAR {STATIC}/POSCAR && cp POTCAR {STATIC}/ && cd {STATIC} && {_RUN}"""


class VASP(Code):
    """VASP, with the Materials Project's or MatPES's input sets."""

    name, label = "vasp", "VASP"
    tasks = ("relax", "static", "phonon-check")
    input_sets = ("mp", "matpes")
    flow_tasks = ("relax", "static")
    output_files = "vasprun.xml"
    decisive_settings = ("input_set", "encut_ev")
    on_hull_scale = True
    elements_unavailable = "VASP's energies are counted from the Materials Project's elements"

    def prepare(
        self,
        task: Task,
        elements: Iterable[str],  # noqa: ARG002
        pseudos: Path | None,  # noqa: ARG002
        input_set: str | None,
    ) -> InputWriter:
        chosen: Any = input_set
        return InputWriter(settings(chosen), partial(write_vasp, task=task, input_set=chosen))

    def slurm_job(self, task: Task, settings: Mapping[str, Any]) -> SlurmJob:
        setup = _SETUP.format(release=settings["potcar_release"])
        return SlurmJob(_RUN + (_THEN_STATIC if task == "relax" else ""), setup)

    def write_flow(
        self, crystals: Sequence[tuple[str, Structure]], task: Task, input_set: str | None, path: Path
    ) -> None:
        jobflow.write_flow(crystals, task, input_set, path)  # type: ignore[arg-type]

    def recognizes(self, folder: Path) -> bool:
        return vasprun_of(folder) is not None

    def read(self, folder: Path) -> ParsedOutput:
        return read_vasp(folder)
