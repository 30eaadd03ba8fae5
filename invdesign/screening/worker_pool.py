"""Processes that screen: forked from one that has imported everything and has no threads."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from invdesign.io.parallel import pool_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import ProcessPoolExecutor

# one thread a process; large arrays go back to the system when they are freed (glibc would soon keep them)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 20),
}


def default_workers() -> int:
    """One per core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def forked_pool(workers: int, *, models: bool) -> Iterator[ProcessPoolExecutor]:
    """Workers of one thread each that end when this process does.

    Args:
        workers: processes.
        models: have the released models in memory once for all, not modules alone.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"invdesign.screening.preload{'_models' if models else ''}"])
    with pool_in(context, workers, ENVIRONMENT) as pool:
        yield pool
