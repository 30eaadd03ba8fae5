"""What invdesign asks of a DFT code, and what its output says once parsed.

A plug-in derives a class from :class:`Code` and names it in its distribution under the entry-point group
``invdesign.dft_codes``. It must say how inputs are written and how Slurm runs them; a code that is to be
read as well, or run by ``dft run``, gives more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from invdesign.dft.codes.kpoints import Task
from invdesign.dft.cost import Cost
from invdesign.dft.manifest import Job
from invdesign.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from pymatgen.core import Structure

    from invdesign.stability.hull.vasp import VaspRun

Status = Literal[
    "done",
    "not converged",
    "failed",
    "unfinished",
    "truncated",
    "unrelated",
    "changed",
    "not run",
    "not read",
]
ODD_GRID = "odd k-point grid {}: the gap may miss a band edge"
LOCK, LOG = "lock", "run.log"  # in the folder of a local calculation; gpaw/job.py uses the same names


@dataclass(frozen=True, slots=True)
class ParsedOutput:
    """The parsed output of one calculation.

    Attributes:
        status: ``done``; ``not converged``: ended, not to be trusted; ``failed``: ended without a result;
            ``unfinished``: running or killed; ``truncated``: its files are damaged; ``unrelated``: of
            another crystal or not of this code; ``changed``: inputs or candidate are not as written;
            ``not run``: no output; ``not read``: invdesign cannot read this code's output.
        reason: why it is not done, as a sentence.
        first: initial structure, if known.
        structure: final structure.
        energy: of the cell, eV, on the code's energy scale.
        band_gap: eV; None if unknown.
        direct: whether the gap is direct.
        max_force: eV/Å.
        forces: on each atom of ``structure``, (n, 3) eV/Å.
        pressure: GPa, positive where the cell would expand.
        moment: of the cell, μB; None without spin.
        functional: as the output names it; None where it names none.
        hubbard_u: eV by element, as the output gives it; None where it does not.
        settings: that the output gives, with the manifest's keys; they take precedence over the manifest.
        vasp: what the Materials Project's corrections depend on; VASP only.
        notes: remarks for the user.
    """

    status: Status
    reason: str | None = None
    first: Structure | None = None
    structure: Structure | None = None
    energy: float | None = None
    band_gap: float | None = None
    direct: bool | None = None
    max_force: float | None = None
    forces: np.ndarray | None = None
    pressure: float | None = None
    moment: float | None = None
    functional: str | None = None
    hubbard_u: dict[str, float] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    vasp: VaspRun | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InputWriter:
    """A code with checked options, ready to write.

    Attributes:
        settings: common to all folders, for the manifest.
        write: writes the inputs of a cell into a folder (created if missing), and returns the entries of
            that folder for the manifest.
    """

    settings: dict[str, Any]
    write: Callable[[Structure, Path], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SlurmJob:
    """How a Slurm job runs the code in the current folder.

    Attributes:
        command: shell line that starts the code.
        setup: shell lines before it, such as modules to load.
        cores: tasks of the job (``--ntasks``).
    """

    command: str
    setup: str = ""
    cores: int = 16


class Code(ABC):
    """One DFT code.

    Attributes:
        name: as ``--code`` and manifests have it.
        label: as a sentence has it.
        tasks: that it has inputs for. ``gap`` falls back on ``static`` where that is listed and ``gap`` not.
        input_sets: values of ``--set``, the default first.
        takes_pseudopotentials: whether ``--pseudos`` applies.
        flow_tasks: tasks that ``--flow`` can write.
        output_files: by which a folder is recognized, as an error message names them.
        inputs_are_fixed: whether results count only with the inputs as written; else edits are noted.
        decisive_settings: keys of the manifest that must be equal for energies to compare, beside the
            code and its pseudopotentials.
        second_opinion: whether its results count only where no other code has any.
        on_hull_scale: whether its energies meet the hull by the Materials Project's corrections and elements.
        elements_unavailable: why elements computed with this code give no formation energies, as a clause;
            None where they do.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]]
    input_sets: ClassVar[tuple[str, ...]] = ()
    takes_pseudopotentials: ClassVar[bool] = False
    flow_tasks: ClassVar[tuple[Task, ...]] = ()
    output_files: ClassVar[str] = ""
    inputs_are_fixed: ClassVar[bool] = False
    decisive_settings: ClassVar[tuple[str, ...]] = ()
    second_opinion: ClassVar[bool] = False
    on_hull_scale: ClassVar[bool] = False
    elements_unavailable: ClassVar[str | None] = "its energies compare with none here"

    @abstractmethod
    def prepare(
        self, task: Task, elements: Iterable[str], pseudos: Path | None, input_set: str | None
    ) -> InputWriter:
        """Prepare to write.

        Args:
            task: one of ``tasks``.
            elements: symbols of all crystals.
            pseudos: folder of pseudopotentials; None unless ``takes_pseudopotentials``.
            input_set: one of ``input_sets``; None where there are none.

        Raises:
            InputError: unsuitable pseudopotentials.
        """

    @abstractmethod
    def slurm_job(self, task: Task, settings: Mapping[str, Any]) -> SlurmJob:
        """How Slurm runs it; ``settings`` are those of :class:`InputWriter`."""

    def unsupported_reason(self, structure: Structure) -> str | None:  # noqa: ARG002 - for those that need it
        """Why this code cannot compute a crystal, as a clause; None where it can."""
        return None

    def write_flow(
        self, crystals: Sequence[tuple[str, Structure]], task: Task, input_set: str | None, path: Path
    ) -> None:
        """Write the calculations of crystals (label, cell) as a jobflow; for ``flow_tasks`` only."""
        raise NotImplementedError

    def recognizes(self, folder: Path) -> bool:  # noqa: ARG002 - for those that are read
        """Whether a folder holds this code's output."""
        return False

    def read(self, folder: Path) -> ParsedOutput:  # noqa: ARG002 - for those that are read
        """Parse the output in a folder; whatever is wrong with it is in the status, never raised."""
        return ParsedOutput("not read", f"{self.label} results cannot be read, only its inputs are written")


class LocalCode(Code):
    """A code that ``dft run`` can run on this machine, one core a job.

    Attributes:
        command: run in the folder of the job; it holds an exclusive lock on ``LOCK`` while it runs.
        how_to_install: for the error message.
    """

    command: ClassVar[Sequence[str]]
    how_to_install: ClassVar[str]

    @abstractmethod
    def is_installed(self) -> bool:
        """Whether it can run here."""

    @abstractmethod
    def has_ended(self, folder: Path) -> bool:
        """Whether a folder holds a result, good or bad."""

    @abstractmethod
    def estimate_cost(self, job: Job) -> Cost:
        """Estimate the cost of a job, within a factor of two or three."""


def check_options(code: Code, task: str, pseudos: Path | None, input_set: str | None) -> None:
    """Check that options go together.

    Raises:
        InputError: which one does not.
    """
    if task not in code.tasks:
        raise InputError(f"task: {code.name} has no {task!r}; give one of {', '.join(code.tasks)}.")
    if pseudos is not None and not code.takes_pseudopotentials:
        raise InputError(f"pseudos: {code.name} takes no pseudopotentials from here; leave --pseudos out.")
    if input_set is not None and not code.input_sets:
        raise InputError(f"set: {code.name} has no input sets; leave --set out.")
    if input_set is not None and input_set not in code.input_sets:
        raise InputError(f"set: {input_set!r} is not known; give one of {', '.join(code.input_sets)}.")
