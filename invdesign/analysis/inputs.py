"""Crystals to analyse: files, folders, tables or pymatgen structures; what cannot be read keeps its place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from invdesign.crystal.structure_files import Unreadable, read_entries
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

Item = TypeVar("Item")
LIKE_A_PATH = re.compile(r"\.[A-Za-z]\w*$|[/\\]|^(poscar|contcar)$", re.IGNORECASE)
"""A file that is not there, rather than a formula that is none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One crystal, or why there is none.

    Attributes:
        label: its name in the file or table; ``structure-3`` for the third structure given from Python.
        structure: the crystal; None where it cannot be read.
        fault: why it cannot be read, as a sentence.
        columns: further columns of the table, or key-value pairs of the frame.
    """

    label: str
    structure: Structure | None
    fault: str = ""
    columns: dict[str, Any] = field(default_factory=dict)


def listed(given: Any) -> list[Any]:  # noqa: ANN401 - one or several of whatever a command takes
    """Return several inputs as a list, and a single one as a list of one."""
    single = isinstance(given, str | Path) or hasattr(given, "lattice") or hasattr(given, "chemical_system")
    return [given] if single else list(given)


def sampled(samples: list[Item], limit: int | None, seed: int) -> list[Item]:
    """Draw ``limit`` of the samples at random, in their order; None takes all."""
    import numpy as np

    if limit is None or limit >= len(samples):
        return samples
    chosen = np.random.default_rng(seed).choice(len(samples), size=limit, replace=False)
    return [samples[i] for i in sorted(chosen.tolist())]


def read_samples(source: Any, *, overlaps: bool = False) -> list[Sample]:  # noqa: ANN401 - one or several of the types below
    """Read crystals; each block, frame, row and file of a folder is read for itself.

    Args:
        source: a path of a file, folder or table, a pymatgen ``Structure``, or a list of these.
        overlaps: also read crystals whose atoms overlap.

    Returns:
        One sample per crystal. What cannot be read is a sample with a ``fault``; a file that breaks off
        gives what it holds before, and one fault.

    Raises:
        InputError: nothing there, or nothing that can be read.
    """
    entries = enumerate(listed(source), start=1)
    samples = [s for number, entry in entries for s in samples_of(entry, number, overlaps=overlaps)]
    if not any(sample.structure for sample in samples):
        raise InputError(
            samples[0].fault if samples else "files: nothing was given; give files of structures."
        )
    return samples


def samples_of(entry: str | Path | Structure, number: int, *, overlaps: bool = False) -> Iterator[Sample]:
    """Yield the crystals of one input; ``number`` names a structure given from Python."""
    if isinstance(entry, str | Path):
        yield from _of_path(Path(entry), overlaps=overlaps)
    else:
        yield _of_structure(f"structure-{number}", entry)


def _of_structure(label: str, structure: Any) -> Sample:  # noqa: ANN401 - what a user gave
    if not hasattr(structure, "is_ordered"):
        kind = type(structure).__name__
        raise InputError(f"{label}: a {kind} is no crystal; give files or pymatgen structures.")
    if structure.is_ordered and len(structure):
        return Sample(label, structure)
    return Sample(label, None, f"{label}: disordered or empty; give ordered crystals.")


def _of_path(path: Path, *, overlaps: bool) -> Iterator[Sample]:
    try:
        for entry in read_entries(path, overlaps=overlaps):
            if isinstance(entry, Unreadable):
                yield Sample(entry.label, None, entry.reason)
            else:
                yield Sample(entry.label, entry.structure, columns=entry.columns)
    except InputError as error:
        yield Sample(path.name, None, str(error))


def fingerprint(samples: Sequence[Sample]) -> str:
    """Return a hash of labels and structures (coordinates to 1e-6), wherever their files lie."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.label}\n".encode())
        if (structure := sample.structure) is not None:
            rows = [*structure.lattice.matrix, *structure.frac_coords]
            numbers = " ".join(f"{x:.6f}" for row in rows for x in row)
            digest.update(f"{structure.atomic_numbers} {numbers}\n".encode())
    return digest.hexdigest()[:16]


def pack(structure: Structure) -> dict[str, Any]:
    """Return a structure as plain numbers."""
    return {
        "cell": structure.lattice.matrix.tolist(),
        "numbers": [int(z) for z in structure.atomic_numbers],
        "positions": structure.frac_coords.tolist(),
    }


def unpack(crystal: dict[str, Any]) -> Structure:
    """Return the structure of :func:`pack`."""
    from pymatgen.core import Structure

    return Structure(crystal["cell"], crystal["numbers"], crystal["positions"])
