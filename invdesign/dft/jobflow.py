"""The same VASP calculations as a jobflow of atomate2's makers, for those who have them (and a database)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.vasp.write import make_set
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from invdesign.dft.codes.kpoints import Task
    from invdesign.dft.codes.vasp.write import InputSet
    from invdesign.dft.inputs import Subject

FLOW = "flow.json"


def check_flow(code: str, task: str) -> None:
    """See that a flow can be made.

    Raises:
        InputError: another code or task than atomate2 takes from here, or it is not installed.
    """
    if code != "vasp" or task not in {"relax", "static"}:
        raise InputError(
            f"flow: not for {code} with task {task}; give --code vasp with --task relax or static."
        )
    if find_spec("atomate2") is None:
        raise InputError(
            "flow: atomate2 is not installed; pip install atomate2, best in an environment of its own."
        )


def write_flow(subjects: Sequence[Subject], task: Task, input_set: InputSet, path: Path) -> None:
    """Write a flow of one job per crystal, with exactly our inputs, as JSON.

    Args:
        subjects: crystals; each job carries its candidate's id as metadata.
        task: ``relax`` or ``static``.
        input_set: ``mp`` or ``matpes``.
        path: to be read by ``monty.serialization.loadfn``.
    """
    from jobflow import Flow

    jobs = [_job(subject, task, input_set) for subject in subjects]
    path.write_text(Flow(jobs, name="invdesign").to_json() + "\n", encoding="utf-8")


def _job(subject: Subject, task: Task, input_set: InputSet) -> Any:  # noqa: ANN401 - jobflow's Job
    from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker

    inputs = make_set(subject.structure, task, input_set)
    inputs.structure = None  # the maker sets it
    maker = (RelaxMaker if task == "relax" else StaticMaker)(
        name=f"{input_set} {task} {subject.formula}", input_set_generator=inputs
    )
    job = maker.make(subject.structure)
    job.update_metadata({"candidate": subject.id, "formula": subject.formula})
    return job
