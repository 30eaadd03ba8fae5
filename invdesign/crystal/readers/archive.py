"""ZIP archives of structure files, such as MatterGen's ``generated_crystals_cif.zip``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from invdesign.crystal.readers.entry import Record, Unreadable
from invdesign.errors import InputError

MOST_MEMBERS = 200_000
MOST_BYTES = 1 << 30
"""Of all members together, unpacked."""
MOST_MEMBER_BYTES = 1 << 27


def read_archive(
    path: Path,
    known: Callable[[Path], object],
    read: Callable[[Path], Iterator[Record | Unreadable]],
) -> Iterator[Record | Unreadable]:
    """Yield the entries of an archive's members, in their order; members of other kinds are passed over.

    Args:
        path: the archive.
        known: whether a name is that of a structure file.
        read: the entries of a file.

    Raises:
        InputError: not a ZIP, none with structure files, or beyond the limits.
    """
    try:
        with zipfile.ZipFile(path) as archive, TemporaryDirectory(prefix="invdesign-") as folder:
            members = [one for one in archive.infolist() if not one.is_dir() and _wanted(one, known)]
            _check(members, path)
            for member in members:
                file = Path(folder) / Path(member.filename).name
                try:
                    file.write_bytes(archive.read(member))
                    for entry in read(file):
                        yield _told(entry, folder, path)
                except InputError as error:
                    yield Unreadable(file.name, str(error).replace(folder, str(path)))
                finally:
                    file.unlink(missing_ok=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        # zipfile raises a RuntimeError where a password is asked for
        raise InputError(
            f"{path}: cannot be unpacked ({error}); give a whole ZIP without password."
        ) from error


def _wanted(member: zipfile.ZipInfo, known: Callable[[Path], object]) -> bool:
    name = Path(member.filename)
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts if part != "..")
    return not hidden and name.suffix.lower() != ".zip" and known(name) is not None


def _check(members: list[zipfile.ZipInfo], path: Path) -> None:
    if not members:
        raise InputError(f"{path}: the archive holds no structure files; give CIFs, POSCARs or extxyz in it.")
    total, largest = sum(one.file_size for one in members), max(one.file_size for one in members)
    if len(members) > MOST_MEMBERS or total > MOST_BYTES or largest > MOST_MEMBER_BYTES:
        raise InputError(
            f"{path}: unpacks to {len(members)} files of {total / 2**20:.0f} MiB, one of them "
            f"{largest / 2**20:.0f} MiB; at most {MOST_MEMBERS} files, {MOST_BYTES >> 20} MiB together and "
            f"{MOST_MEMBER_BYTES >> 20} MiB each are unpacked: give it in parts."
        )


def _told(entry: Record | Unreadable, folder: str, path: Path) -> Record | Unreadable:
    if isinstance(entry, Unreadable):
        return Unreadable(entry.label, entry.reason.replace(folder, str(path)))
    return entry
