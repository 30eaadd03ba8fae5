"""The output folder: one run at a time, and errors of the disk in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from invdesign.errors import InputError

LOCK = ".lock"


@contextmanager
def locked_folder(out: Path, prefixes: str | tuple[str, ...]) -> Iterator[None]:
    """Lock a folder, created if missing; report a full disk in one sentence.

    Args:
        out: the folder.
        prefixes: what its files' names begin with by which a run of this kind knows its folder again.

    Raises:
        InputError: it holds other files, it cannot be made or written, another run is at work in it, or the
            disk is full.
    """
    import errno
    from sqlite3 import OperationalError

    from filelock import FileLock, Timeout

    try:
        missing = [folder for folder in (out, *out.parents) if not folder.exists()]
        names = [path.name for path in out.iterdir()] if out.is_dir() else []
        strange = sorted(name for name in names if name != LOCK)
        if strange and not any(name.startswith(prefixes) for name in strange):
            raise InputError(
                f"out: {str(out)!r} holds other files ({strange[0]}); give a new or empty folder."
            )
        out.mkdir(parents=True, exist_ok=True)
        # the system drops this lock with its process, so a killed run leaves none
        with FileLock(out / LOCK, blocking=False):
            try:
                yield
            except BaseException:  # refused, or interrupted before anything was stored
                _remove_empty(out, missing)
                raise
    except Timeout as error:
        raise InputError(
            f"out: another run is at work in {str(out)!r}; wait for it or give another folder."
        ) from error
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"out: {str(out)!r} cannot be written to ({error.strerror}); give a folder."
        ) from error
    except (OSError, OperationalError) as error:
        full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "full" in str(error)
        if not full:
            raise
        raise InputError(
            f"out: the disk of {str(out)!r} is full; make room and give the same command again: "
            "what is stored is kept."
        ) from error


def _remove_empty(out: Path, made: Sequence[Path]) -> None:
    """Remove the lock of a folder with nothing else in it, and the folders that were made for it."""
    if [path.name for path in out.iterdir()] == [LOCK]:
        (out / LOCK).unlink()
        for folder in made:
            folder.rmdir()
