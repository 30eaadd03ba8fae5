"""The same VASP calculations as a jobflow of atomate2's makers, for those who have them (and a database)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.chemical_formula import formula_of
from invdesign.dft.codes.kpoints import Task
from invdesign.dft.codes.vasp.write import InputSet, make_set
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure


def write_flow(
    crystals: Sequence[tuple[str, Structure]], task: Task, input_set: InputSet, path: Path
) -> None:
    """Write a flow of one job per crystal, with exactly the inputs of ``dft write``, as JSON.

    Args:
        crystals: candidate id, kept as the job's metadata, and cell.
        task: ``relax`` or ``static``.
        input_set: ``mp`` or ``matpes``.
        path: to be read by ``monty.serialization.loadfn``.

    Raises:
        InputError: atomate2 is not installed.
    """
    if find_spec("atomate2") is None:
        raise InputError(
            "flow: atomate2 is not installed; pip install atomate2, best in an environment of its own."
        )
    from jobflow import Flow

    jobs = [_job(candidate, structure, task, input_set) for candidate, structure in crystals]
    path.write_text(Flow(jobs, name="invdesign").to_json() + "\n", encoding="utf-8")


def _job(candidate: str, structure: Structure, task: Task, input_set: InputSet) -> Any:  # noqa: ANN401 - jobflow's Job
    from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker

    formula = formula_of(structure.composition)
    inputs = make_set(structure, task, input_set)
    inputs.structure = None  # the maker sets it
    maker = (RelaxMaker if task == "relax" else StaticMaker)(
        name=f"{input_set} {task} {formula}", input_set_generator=inputs
    )
    job = maker.make(structure)
    job.update_metadata({"candidate": candidate, "formula": formula})
    return job
