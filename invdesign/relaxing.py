"""Files of structures in, relaxed structures and a table of how each ended out, on all cores."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from invdesign.campaign.executor import cores, run_tasks
from invdesign.crystal.files import read_structures, write_cif
from invdesign.errors import InputError
from invdesign.report import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.validators.relaxation import Relaxed

CHUNK = 16  # structures relaxed together; fixed, so that the number of workers changes no figure
TABLE = "relaxed.csv"


@dataclass(frozen=True)
class Task:
    """A chunk of structures: travels to a worker."""

    first: int
    structures: Sequence[Structure]
    potential: str
    fmax: float
    max_steps: int


def relax_files(
    files: Sequence[Path],
    out: Path,
    potential: str = "chgnet",
    *,
    fmax: float = 0.05,
    max_steps: int = 500,
    workers: int | None = None,
    progress: Callable[[float, str], None],
) -> list[dict[str, Any]]:
    """Relax every structure of some files; write one CIF each and ``relaxed.csv``.

    Args:
        files: anything that :func:`invdesign.crystal.files.read_structures` reads.
        out: folder, made if need be.
        potential: ``chgnet``, a matgl folder, or a hub name.
        fmax: largest force at convergence, eV/Å.
        max_steps: of one relaxation.
        workers: processes; default one per core.
        progress: is told the share that is done and a word on it.

    Returns:
        One row per structure, in order: label, formula, energies in eV and eV/atom, ``fmax`` in eV/Å,
        steps, volume in Å³, whether it converged and why not, its CIF.

    Raises:
        InputError: a file or the potential cannot be read, or a figure makes no sense.
    """
    labelled = [pair for file in files for pair in read_structures(file)]
    if not labelled:
        msg = "files: they hold no structure; give at least one."
        raise InputError(msg)
    structures = [structure for _, structure in labelled]
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = [{} for _ in labelled]
    done = relax_structures(structures, potential, fmax=fmax, max_steps=max_steps, workers=workers)
    for count, (number, relaxed) in enumerate(done, start=1):
        label = labelled[number][0]
        name = f"{number + 1:04d}_{re.sub(r'[^A-Za-z0-9.+-]+', '-', label)[:80]}.cif"
        write_cif(relaxed.structure, out / name, symmetrised=False)
        rows[number] = _row(label, relaxed, name)
        progress(count / len(rows), f"{count} of {len(rows)} structures")
    with replaced(out / TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _row(label: str, relaxed: Relaxed, name: str) -> dict[str, Any]:
    structure = relaxed.structure
    evaluated = isfinite(relaxed.energy)
    return {
        "label": label,
        "formula": structure.composition.reduced_formula,
        "n_atoms": len(structure),
        "energy_ev": round(relaxed.energy, 6) if evaluated else None,
        "energy_ev_per_atom": round(relaxed.energy / len(structure), 6) if evaluated else None,
        "fmax": round(relaxed.fmax, 5) if isfinite(relaxed.fmax) else None,
        "n_steps": relaxed.n_steps,
        "volume": round(structure.volume, 4),
        "converged": relaxed.converged,
        "reason": relaxed.reason,
        "cif_file": name,
    }


def relax_structures(
    structures: Sequence[Structure],
    potential: str = "chgnet",
    *,
    fmax: float = 0.05,
    max_steps: int = 500,
    workers: int | None = None,
) -> Iterator[tuple[int, Relaxed]]:
    """Relax cells and positions, giving each structure's number and outcome as chunks end.

    Args:
        structures: ordered crystals.
        potential: ``chgnet``, a matgl folder, or a hub name.
        fmax: largest force at convergence, eV/Å.
        max_steps: of one relaxation.
        workers: processes; default one per core.

    Raises:
        InputError: the potential cannot be loaded, or a figure makes no sense.
    """
    from invdesign.validators.potential import load_potential

    load_potential(potential)  # a wrong name is told before any process starts
    tasks = [
        Task(first, structures[first : first + CHUNK], potential, fmax, max_steps)
        for first in range(0, len(structures), CHUNK)
    ]
    for first, relaxed in run_tasks(_relax, tasks, workers=min(workers or cores(), len(tasks))):
        yield from enumerate(relaxed, start=first)


def _relax(task: Task) -> tuple[int, list[Relaxed]]:
    import torch

    from invdesign.validators.potential import load_potential
    from invdesign.validators.relaxation import relax

    torch.set_num_threads(1)  # wherever it runs: sums over threads differ in the last bit
    potential = load_potential(task.potential)
    return task.first, relax(task.structures, potential, fmax=task.fmax, max_steps=task.max_steps)
