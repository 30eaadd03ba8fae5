"""The codes that inputs are written for: what each computes, and who writes its files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.elk import write as elk
from invdesign.dft.codes.espresso import write as espresso
from invdesign.dft.codes.gpaw import write as gpaw
from invdesign.dft.codes.vasp import write as vasp
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pymatgen.core import Structure

TASKS = {
    "vasp": ("relax", "static", "phonon-check"),
    "espresso": ("relax", "static", "phonon-check"),
    "gpaw": ("relax", "static", "gap", "phonon-check"),
    "elk": ("static", "gap"),
}
"""What each code is asked for."""
GAP_BY_STATIC = ("vasp", "espresso")
"""Codes that compute the gap on the denser grid of `static`: the path needs a second run after the first."""
SETS = ("mp", "matpes")


@dataclass(frozen=True, slots=True)
class Code:
    """A code with its options, ready to write.

    Attributes:
        settings: what all folders have in common, for the manifest.
        write: writes the files of a cell into a folder, and returns its entries of the manifest.
        unfit: why it should not compute a crystal, as a sentence; None where nothing speaks against it.
    """

    settings: dict[str, Any]
    write: Callable[[Structure, Path], dict[str, Any]]
    unfit: Callable[[Structure], str | None] = lambda _: None


def check(code: str, task: str, pseudos: Path | None, input_set: str | None) -> None:
    """See that the options go together.

    Raises:
        InputError: which one does not, and what would.
    """
    if code not in TASKS:
        raise InputError(f"code: {code!r} is not known; give one of {', '.join(TASKS)}.")
    known = dict.fromkeys(task for tasks in TASKS.values() for task in tasks)
    if task not in known:
        raise InputError(f"task: {task!r} is not known; give one of {', '.join(known)}.")
    if task not in TASKS[code]:
        able = [name for name, tasks in TASKS.items() if task in tasks]
        raise InputError(f"task: {task} is for {', '.join(able)}, not for {code}; give --code {able[0]}.")
    if pseudos is not None and code != "espresso":
        raise InputError(f"pseudos: {code} takes none from here; leave it out, or give --code espresso.")
    if input_set is not None and code != "vasp":
        raise InputError(f"set: {input_set!r} is of VASP's input sets; leave it out, or give --code vasp.")
    if input_set is not None and input_set not in SETS:
        raise InputError(f"set: {input_set!r} is not known; give one of {', '.join(SETS)}.")


def prepared(
    code: str, task: str, elements: Iterable[str], pseudos: Path | None, input_set: str | None
) -> Code:
    """A code with checked options.

    Args:
        code: of :data:`TASKS`.
        task: of the code's.
        elements: symbols of all crystals.
        pseudos: folder of pseudopotentials; Quantum ESPRESSO only.
        input_set: VASP only; ``mp`` where None.

    Raises:
        InputError: pseudopotentials that do not suit.
    """
    if code == "vasp":
        chosen: Any = input_set or "mp"
        return Code(vasp.settings(chosen), partial(vasp.write_vasp, task=task, input_set=chosen))  # type: ignore[arg-type]
    if code == "gpaw":
        return Code(gpaw.settings(task), partial(gpaw.write_gpaw, task=task), gpaw.unfit)  # type: ignore[arg-type]
    if code == "elk":
        return Code(elk.settings(), partial(elk.write_elk, task=task), elk.unfit)  # type: ignore[arg-type]
    files = espresso.find_pseudopotentials(elements, pseudos)
    return Code(espresso.settings(files), partial(espresso.write_espresso, task=task, pseudos=files))  # type: ignore[arg-type]
