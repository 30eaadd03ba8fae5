"""Read damaged inputs in a process of their own, under limits of time and memory; count the outcomes."""

from __future__ import annotations

import multiprocessing
import resource
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from hangs import SECONDS, HangError, no_hang
from mutators import mutate
from subjects import MessageError, Subject, companions, is_short

from invdesign.errors import InputError

GIB = 2**30


@dataclass
class Tally:
    """What became of the damaged inputs of one kind; a fault is (seed, what)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    slowest: float = 0.0


def read_sound(subject: Subject, folder: Path) -> list[str]:
    """Return what becomes of each undamaged input."""
    path = _prepared(subject, folder)
    outcomes = []
    for content in subject.sound:
        path.write_bytes(content)
        outcomes.append(_read(subject, path)[0])
    return outcomes


def fuzz(subject: Subject, seeds: Sequence[int], folder: Path) -> Tally:
    """Read one damaged input for each seed; one that takes the process down is a crash."""
    tally = Tally()
    path = _prepared(subject, folder)
    left = list(seeds)
    fork = multiprocessing.get_context("fork")  # nothing but parsing happens in the child
    while left:
        ours, theirs = fork.Pipe(duplex=False)
        child = fork.Process(target=_read_all, args=(subject, left, path, theirs))
        child.start()
        theirs.close()
        try:
            while left:
                outcome, what, seconds = ours.recv()
                _count(tally, left.pop(0), outcome, what, seconds)
        except EOFError:
            _count(tally, left.pop(0), "crash", "the process died", 0.0)
        child.join()
    return tally


def _count(tally: Tally, seed: int, outcome: str, what: str, seconds: float) -> None:
    tally.outcomes[outcome] += 1
    tally.slowest = max(tally.slowest, seconds)
    if outcome not in {"read", "refused"}:
        tally.faults.append((seed, f"{outcome}: {what}"))


def _prepared(subject: Subject, folder: Path) -> Path:
    path = folder / subject.file
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, content in companions(subject).items():
        (folder / name).write_bytes(content)
    return path


def _read_all(subject: Subject, seeds: Sequence[int], path: Path, results: Connection) -> None:
    for seed in seeds:
        path.write_bytes(mutate(subject.sound[seed % len(subject.sound)], seed))
        started = time.process_time()
        outcome, what = _read(subject, path)
        results.send((outcome, what, time.process_time() - started))


def _read(subject: Subject, path: Path) -> tuple[str, str]:
    try:
        with _limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ("read" if subject.read(path) else "refused"), ""
    except InputError as error:
        return ("refused", "") if is_short(str(error)) else ("long message", str(error)[:120])
    except MessageError as error:
        return "long message", str(error)[:120]
    except HangError:
        return "hang", f"over {SECONDS:g} s"
    except MemoryError:
        return "memory", "over 1 GiB"
    except Exception as error:  # noqa: BLE001 - what a user would see as a traceback
        frames = traceback.extract_tb(error.__traceback__)
        frame = next((f for f in reversed(frames) if "invdesign" in f.filename), frames[-1])
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        return "traceback", f"{where}: {type(error).__name__}: {str(error)[:80]}"


@contextmanager
def _limits() -> Iterator[None]:
    """Stop what hangs or takes a further GiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GIB, hard))
    try:
        with no_hang():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
