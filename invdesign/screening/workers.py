"""Processes that screen: forked from one that has imported everything and has no threads."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from invdesign.campaign.executor import start_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE_THREAD = "OMP_NUM_THREADS"


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
    context.set_forkserver_preload([f"invdesign.screening.preloaded{'_models' if models else ''}"])
    before = os.environ.get(ONE_THREAD)
    os.environ[ONE_THREAD] = "1"
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if before is None:
            del os.environ[ONE_THREAD]
        else:
            os.environ[ONE_THREAD] = before
