"""Where released weights and reference tables are found: wheel, checkout, or a folder by path."""

from pathlib import Path
from typing import Literal

from invdesign.errors import InputError

Kind = Literal["models", "validators"]


def root(kind: Kind) -> Path:
    """Folder of the released artifacts: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_artifacts" / kind
    return installed if installed.is_dir() else package.parent / kind


def find(kind: Kind, name: str | Path, *, needs: tuple[str, ...] = ()) -> Path:
    """Folder of an artifact, by released name or by path.

    Args:
        kind: ``models`` or ``validators``.
        name: a released artifact's name (``gene-diffusion``) or a user's own folder.
        needs: files that must be there and not be empty.

    Raises:
        InputError: no such folder, or a file of it is missing or empty.
    """
    folder = Path(name) if Path(name).is_dir() else root(kind) / name
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in root(kind).glob("*") if p.is_dir())) or "none"
        msg = f"{kind} folder {str(name)!r} is not there; give a folder or one of: {known}."
        raise InputError(msg)
    for file in needs:
        path = folder / file
        if not path.is_file() or path.stat().st_size == 0:
            msg = f"{kind} folder {str(folder)!r} lacks {file} (or it is empty); restore it or retrain it."
            raise InputError(msg)
    return folder
