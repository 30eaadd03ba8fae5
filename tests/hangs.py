"""A stop for what would never end. How fast anything else is, is the business of the machine."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 20.0
"""Of computation; an input that no bound stops takes minutes."""


class HangError(BaseException):
    """It took longer; no reader catches it."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Stop after ``SECONDS`` of computation."""
    previous = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def _stop(*_: object) -> None:
    raise HangError(f"it took more than {SECONDS:g} s of computation")
