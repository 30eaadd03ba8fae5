"""Relaxations of given structures on all cores, chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from invdesign.io.parallel import default_workers, one_thread, run_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure

    from invdesign.relaxation.relax import Relaxed

CHUNK = 16  # structures relaxed together; fixed, so that the number of workers changes no figure


@dataclass(frozen=True)
class Task:
    """A chunk of structures: travels to a worker."""

    first: int
    structures: Sequence[Structure]
    potential: str
    options: dict[str, Any] = field(default_factory=dict)


def relax_structures(
    structures: Sequence[Structure],
    potential: str = "chgnet",
    *,
    workers: int | None = None,
    **options: Any,  # noqa: ANN401 - passed on
) -> Iterator[tuple[int, Relaxed]]:
    """Relax cells and positions, giving each structure's number and outcome as chunks end.

    Args:
        structures: ordered crystals.
        potential: what ``load_potential`` takes.
        workers: processes; default one per core.
        **options: those of ``relaxation.relax`` that hold for all of them.

    Raises:
        InputError: the potential cannot be loaded, or a figure makes no sense.
    """
    from invdesign.potentials.registry import load_potential

    load_potential(potential)  # a wrong name is told before any process starts
    tasks = [
        Task(first, structures[first : first + CHUNK], potential, options)
        for first in range(0, len(structures), CHUNK)
    ]
    for first, relaxed in run_tasks(_relax, tasks, workers=min(workers or default_workers(), len(tasks))):
        yield from enumerate(relaxed, start=first)


def _relax(task: Task) -> tuple[int, list[Relaxed]]:
    from invdesign.potentials.registry import load_potential
    from invdesign.relaxation.relax import relax

    with one_thread():
        return task.first, relax(task.structures, load_potential(task.potential), **task.options)
