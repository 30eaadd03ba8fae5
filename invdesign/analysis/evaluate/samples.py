"""Structures to be evaluated, and what became of each: failures are counted, never skipped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.structure_files import Unreadable, read_entries
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled structure, or why there is none."""

    label: str
    structure: Structure | None
    fault: str = ""


@dataclass(slots=True)
class Outcome:
    """What was found out about one sample; energies in eV/atom, lengths in Å.

    ``gene``, ``gene_known``, ``prototype_known`` and ``alloy`` (the known crystals whose mixture this
    orders) are those of the relaxed structure where relaxation converged, else of the sampled one; so is
    ``crystal`` (cell, atomic numbers, fractional coordinates), empty where unreadable.
    ``group`` and ``final_group`` number distinct crystals, as sampled and in the end; -1 where unreadable.
    """

    label: str
    fault: str = ""
    formula: str = ""
    n_atoms: int = 0
    charge_balanced: bool = False
    charge_reason: str = ""
    plausible: bool = False
    geometry_reason: str = ""
    composition_known: bool = False
    sampled_gene: str = ""
    gene: str = ""
    gene_known: bool = False
    prototype_known: bool = False
    alloy: str = ""
    converged: bool = False
    n_steps: int = 0
    relaxation: str = ""
    formation_energy_per_atom: float | None = None
    e_above_hull: float | None = None
    sigma: float | None = None
    n_phases: int | None = None
    rmsd: float | None = None
    allowed: bool = False
    properties: dict[str, tuple[float, float, float, bool]] = field(default_factory=dict)
    crystal: dict[str, Any] = field(default_factory=dict)
    group: int = -1
    final_group: int = -1

    @property
    def valid(self) -> bool:
        """Charge balanced and geometrically plausible, as sampled."""
        return self.charge_balanced and self.plausible

    def stable(self, limit: float) -> bool:
        """Whether its energy above the hull is known and at most ``limit`` eV/atom."""
        return self.e_above_hull is not None and self.e_above_hull <= limit


def read_samples(source: Path | str | Sequence[Path | str | Structure]) -> list[Sample]:
    """Structures of files, folders and tables, or given ones; unreadable ones are kept by name.

    Every block, frame, row and file of a folder is read for itself; a file that breaks off counts what it
    holds before, and one failure.

    Raises:
        InputError: nothing there, or nothing that can be read.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    samples: list[Sample] = []
    for number, entry in enumerate(sources, start=1):
        if isinstance(entry, str | Path):
            samples += _of_path(Path(entry))
        else:
            samples.append(_of_structure(f"structure-{number}", entry))
    if not any(sample.structure for sample in samples):
        raise InputError(
            samples[0].fault if samples else "files: nothing was given; give files of structures."
        )
    return samples


def _of_structure(label: str, structure: Structure) -> Sample:
    if structure.is_ordered and len(structure):
        return Sample(label, structure)
    return Sample(label, None, f"{label}: disordered or empty; give ordered crystals.")


def _of_path(path: Path) -> Iterator[Sample]:
    try:
        for entry in read_entries(path):
            if isinstance(entry, Unreadable):
                yield Sample(entry.label, None, entry.reason)
            else:
                yield Sample(entry.label, entry.structure)
    except InputError as error:
        yield Sample(path.name, None, str(error))


def fingerprint(samples: Sequence[Sample]) -> str:
    """Hash of labels and structures (coordinates to 1e-6), wherever their files lie."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.label}\n".encode())
        if (structure := sample.structure) is not None:
            rows = [*structure.lattice.matrix, *structure.frac_coords]
            numbers = " ".join(f"{x:.6f}" for row in rows for x in row)
            digest.update(f"{structure.atomic_numbers} {numbers}\n".encode())
    return digest.hexdigest()[:16]


def pack(structure: Structure) -> dict[str, Any]:
    """A structure as plain numbers."""
    return {
        "cell": structure.lattice.matrix.tolist(),
        "numbers": [int(z) for z in structure.atomic_numbers],
        "positions": structure.frac_coords.tolist(),
    }


def unpack(crystal: dict[str, Any]) -> Structure:
    """The structure of :func:`pack`."""
    from pymatgen.core import Structure

    return Structure(crystal["cell"], crystal["numbers"], crystal["positions"])
