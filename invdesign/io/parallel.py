"""Independent tasks: in this process, in one process per core, or in an ``Executor``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import TypeVar

from invdesign.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Read by OpenMP and glibc when a process starts: one thread a process (two share memory bandwidth worse
# than two processes do), and freed memory kept, which is worth up to 2x on batches of graphs.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Return one process per usable core, or one alone with a GPU, which they would share."""
    import torch

    return 1 if torch.cuda.is_available() else usable_cores()


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    ordered: bool = False,
) -> Iterator[Result]:
    """Yield the results of independent tasks, in order of completion or of the tasks.

    Args:
        function: importable by name, as workers receive it pickled.
        tasks: picklable.
        workers: processes; 1 runs in this process; default: :func:`default_workers`.
        executor: takes the tasks instead (Parsl, Dask, a thread pool); it is not shut down.
        ordered: give the results in the order of the tasks.

    Raises:
        InputError: a worker process died.
    """
    if executor is not None:
        yield from _completed(executor, function, tasks, ordered=ordered)
    elif (workers or default_workers()) == 1:
        yield from map(function, tasks)
    else:
        with process_pool(workers or default_workers()) as pool:
            yield from _completed(pool, function, tasks, ordered=ordered)


def _completed(
    executor: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], *, ordered: bool
) -> Iterator[Result]:
    futures: list[Future[Result]] = []
    try:
        futures += [executor.submit(function, task) for task in tasks]
        for future in futures if ordered else as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "workers: a worker process died (out of memory, or a script without "
            "'if __name__ == \"__main__\":'); give the same command again, with fewer workers or "
            "workers=1: what is stored is kept."
        ) from error
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield spawned worker processes of one thread each, which end when this one does."""
    import multiprocessing

    # spawn: a fork of a process that holds torch's threads deadlocks, and would not read the variables
    with _pool_in(multiprocessing.get_context("spawn"), workers, WORKER_ENVIRONMENT) as pool:
        yield pool


@contextmanager
def forkserver_pool(
    workers: int, preload: str, environment: Mapping[str, str]
) -> Iterator[ProcessPoolExecutor]:
    """Yield workers forked from a server that has imported ``preload``, whose memory they share."""
    import multiprocessing

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    with _pool_in(context, workers, environment) as pool:
        yield pool


@contextmanager
def _pool_in(
    context: BaseContext, workers: int, environment: Mapping[str, str]
) -> Iterator[ProcessPoolExecutor]:
    """Yield processes of a start method with additional environment variables."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """End a worker with its parent: it would otherwise finish a chunk that nobody waits for."""
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback

    def watch() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread: sums over threads differ in the last bit, which draws and relaxations amplify."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
