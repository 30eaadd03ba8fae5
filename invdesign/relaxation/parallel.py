"""Relaxations of given structures on all cores, in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from invdesign.io.parallel import default_workers, one_thread, run_tasks
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import Relaxed, relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

CHUNK = 16  # structures relaxed together; fixed, so that the number of workers changes no result


@dataclass(frozen=True)
class RelaxationTask:
    """A chunk of structures for a worker process."""

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
    """Relax cells and positions, yielding each structure's index and result as chunks end.

    Args:
        structures: ordered crystals.
        potential: what ``load_potential`` takes.
        workers: processes; default one per core.
        **options: those of ``relax.relax`` that hold for all of them.

    Raises:
        InputError: the potential cannot be loaded, or an option makes no sense.
    """
    load_potential(potential)  # a wrong name fails before any process starts
    tasks = [
        RelaxationTask(first, structures[first : first + CHUNK], potential, options)
        for first in range(0, len(structures), CHUNK)
    ]
    for first, relaxed in run_tasks(_relax, tasks, workers=min(workers or default_workers(), len(tasks))):
        yield from enumerate(relaxed, start=first)


def _relax(task: RelaxationTask) -> tuple[int, list[Relaxed]]:
    with one_thread():
        return task.first, relax(task.structures, load_potential(task.potential), **task.options)
