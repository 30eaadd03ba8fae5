"""The output of a job, if it is of the crystal and the inputs that were written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.matching import same_crystal
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.dft.codes.reading import USABLE, guarded
from invdesign.dft.codes.registry import get_code
from invdesign.dft.manifest import Job

if TYPE_CHECKING:
    from pymatgen.core import Structure


def read_job(job: Job) -> ParsedOutput:
    """Parse the output in a job's folder; whatever is wrong with it is in the status."""
    return stale_output(job) or guarded(partial(_output, job))(job.folder)


def stale_output(job: Job) -> ParsedOutput | None:
    """Return that a job's results do not count, since it or its candidate changed; None where they do."""
    if reason := job.source_changed():
        return ParsedOutput("changed", reason)
    if not job.folder.is_dir():
        return ParsedOutput("not run", "its folder is gone")
    if get_code(job.code).inputs_are_fixed and (reason := job.inputs_changed()):
        return ParsedOutput("changed", reason)
    return None


def _output(job: Job, folder: Path) -> ParsedOutput:
    output = guarded(get_code(job.code).read)(folder)
    if output.status in USABLE and (other := _foreign(output, job.structure())):
        return ParsedOutput("unrelated", f"it is of another crystal ({other}), not of what was written")
    if reason := job.inputs_changed():
        return replace(output, notes=(*output.notes, reason))
    return output


def _foreign(output: ParsedOutput, written: Structure) -> str | None:
    """Return the formula of a run that is not of the crystal that was written; None where it is.

    A run that does not say from where it started is known by its composition alone.
    """
    for structure in filter(None, (output.first, output.structure)):
        if structure.composition.reduced_composition != written.composition.reduced_composition:
            return formula_of(structure.composition)
    if output.first and not same_crystal(written, output.first):
        return f"{formula_of(output.first.composition)} of another structure"
    return None
