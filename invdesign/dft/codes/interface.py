"""What a finished, failed or interrupted calculation says, whatever the code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from pymatgen.core import Structure

    from invdesign.stability.hull.vasp import VaspRun

Status = Literal[
    "done", "not converged", "failed", "unfinished", "truncated", "foreign", "changed", "not run"
]
ODD_GRID = "odd k-point grid {}: the gap may miss a band edge"


@dataclass(frozen=True, slots=True)
class Reading:
    """One calculation.

    Attributes:
        status: ``done``; ``not converged``: ended, not to be trusted; ``failed``: ended without a result;
            ``unfinished``: running or killed; ``truncated``: its files are damaged; ``foreign``: of
            another crystal or not of this code; ``changed``: inputs or candidate are not as written;
            ``not run``: no output.
        reason: why it is not done, as a sentence.
        first: structure that it started from, if known.
        structure: the last one.
        energy: of that cell, eV, on the code's own scale.
        band_gap: eV; None if unknown.
        direct: whether the gap is.
        max_force: eV/Å.
        forces: on each atom of ``structure``, (n, 3) eV/Å.
        pressure: GPa, positive where the cell wants to grow.
        moment: of the cell, μB; None without spin.
        functional: that the output names; None where it names none.
        hubbard_u: by element, as the output has it; None where it does not say.
        settings: that the output names, called as in the manifest; these count, not what was written.
        vasp: what the Materials Project's corrections go by; VASP only.
        notes: what to mind.
    """

    status: Status
    reason: str | None = None
    first: Structure | None = None
    structure: Structure | None = None
    energy: float | None = None
    band_gap: float | None = None
    direct: bool | None = None
    max_force: float | None = None
    forces: np.ndarray | None = None
    pressure: float | None = None
    moment: float | None = None
    functional: str | None = None
    hubbard_u: dict[str, float] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    vasp: VaspRun | None = None
    notes: tuple[str, ...] = ()


def structure_of(atoms: Atoms) -> Structure:
    """ASE's crystal as pymatgen's, bare."""
    from pymatgen.core import Structure

    return Structure(atoms.cell.array, list(atoms.symbols), atoms.positions, coords_are_cartesian=True)
