"""Where released weights and reference tables are found: wheel, checkout, or a folder by path."""

from pathlib import Path
from typing import Literal

from invdesign.errors import InputError

Kind = Literal["models", "validators"]


def root(kind: Kind) -> Path:
    """Folder of the released artifacts: inside the wheel, or next to the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_artifacts" / kind
    return installed if installed.is_dir() else package.parent / kind


def resolve(kind: Kind, name: str | Path) -> Path:
    """Return the released folder of that name if there is one, else the path as given."""
    released = root(kind) / name
    return released if "/" not in str(name) and released.is_dir() else Path(name)


def find(kind: Kind, name: str | Path, *, needs: tuple[str, ...] = ()) -> Path:
    """Folder of an artifact, by released name or by path.

    Args:
        kind: ``models`` or ``validators``.
        name: a released artifact's name (``gene-diffusion``) or a custom folder; a released name
            wins over a folder of that name in the working directory (``./gene-diffusion`` is the folder).
        needs: files that must be there and not be empty.

    Raises:
        InputError: no such folder, or a file of it is missing or empty.
    """
    folder = resolve(kind, name)
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in root(kind).glob("*") if p.is_dir())) or "none"
        raise InputError(f"{kind} folder {str(name)!r} is not there; give a folder or one of: {known}.")
    for file in needs:
        path = folder / file
        if not path.is_file() or path.stat().st_size == 0:
            raise InputError(
                f"{kind} folder {str(folder)!r} lacks {file} (or it is empty); restore it or retrain it."
            )
    return folder
