"""What a reader made of a file whose right reading is known."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from spelled_crystals import Spelling

from invdesign.crystal.structure_files import Unreadable, read_entries
from invdesign.errors import InputError

Answer = Literal["right", "refused", "wrong"]
MATCHER = StructureMatcher(ltol=0.02, stol=0.05, angle_tol=1, scale=False)


def read(path: Path) -> Structure | str:
    """Return the first crystal of a file, or the sentence that refuses it."""
    try:
        entry = next(read_entries(path))
    except InputError as error:
        return str(error)
    return entry.reason if isinstance(entry, Unreadable) else entry.structure


def answer(spelling: Spelling, folder: Path, expected: dict[str, Structure]) -> tuple[Answer, str]:
    """Read one spelling; a refusal of a sound file is a fault too, yet not a silent one."""
    path = folder / spelling.file
    path.write_bytes(spelling.content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read(path)
    path.unlink()
    if isinstance(found, str):
        return "refused", found
    if spelling.crystal is None:
        return "wrong", f"read as {found.composition.reduced_formula}"
    right = expected.setdefault(spelling.crystal.name, spelling.crystal.structure())
    if MATCHER.fit(found, right):
        return "right", ""
    return (
        "wrong",
        f"read as {found.composition.formula}, {found.volume:.1f} Å³ instead of {right.composition.formula}",
    )
