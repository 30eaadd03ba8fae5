"""Displaced supercells of a relaxed cell, and the lowest frequency from the forces on them.

What is reported are the frequencies at the q-points that fit the supercell: there they are exact, nothing
is interpolated. There is no long-range correction: it would raise the longitudinal optical modes of polar
crystals at Γ, so its absence never makes an unstable crystal look stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.supercell import multiples
from invdesign.dft.codes.interface import ParsedOutput, Status
from invdesign.dft.codes.reading import described, guarded
from invdesign.dft.codes.registry import get_code
from invdesign.dft.manifest import Job
from invdesign.stability.phonons import lowest_mode

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms
    from pymatgen.core import Structure

DISPLACED, CELL = "phonopy_disp.yaml", "structure.vasp"
REST = "rest"  # the folder of the supercell in which nothing is displaced
DISTANCE = 0.03  # Å: far enough for forces good to 1 meV/Å, near enough to be harmonic
# more expensive than with a potential, so smaller: Å between periodic images, atoms
SIDE, MOST_ATOMS, MULTIPLES = 8.0, 64, (1, 2, 4)
AT_REST, NO_PRESSURE = 0.02, 1.0  # eV/Å, GPa
SAME_PLACE = 0.01  # Å


@dataclass(frozen=True, slots=True)
class PhononOutput:
    """The result of the displaced supercells of one candidate.

    Attributes:
        status: ``done`` where every displacement is; else the status of the first that is not.
        reason: why it is not done, as a sentence, with the number of those that are.
        lowest: frequency, THz; negative where imaginary: the crystal is dynamically unstable. None
            unless done. The three motions of the whole crystal do not count.
        at: q-point of that mode, in reciprocal lattice vectors of the cell in ``structure.vasp``.
        notes: what to mind.
    """

    status: Status
    reason: str | None = None
    lowest: float | None = None
    at: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()


def displace(structure: Structure, folder: Path) -> dict[str, Structure]:
    """Write the cell and phonopy's record of its displacements; the supercells to be computed.

    Args:
        structure: relaxed cell.
        folder: made if not there; gets ``structure.vasp`` and ``phonopy_disp.yaml``.

    Returns:
        Supercell by the name of its folder: ``rest`` and ``disp-001``, ``disp-002``…
    """
    from phonopy import Phonopy
    from pymatgen.io.phonopy import get_phonopy_structure, get_pmg_structure
    from pymatgen.io.vasp import Poscar

    cell = structure.get_reduced_structure().get_sorted_structure()
    n = multiples(cell.lattice.matrix, len(cell), side=SIDE, most_atoms=MOST_ATOMS, allowed=MULTIPLES)
    phonon = Phonopy(get_phonopy_structure(cell), np.diag(n), primitive_matrix="P", symprec=1e-3)
    phonon.generate_displacements(distance=DISTANCE)
    folder.mkdir(parents=True, exist_ok=True)
    Poscar(cell).write_file(folder / CELL, significant_figures=16)
    phonon.save(folder / DISPLACED)
    supercells = _supercells(phonon)
    names = [REST, *(f"disp-{number:03d}" for number in range(1, len(supercells)))]
    return {
        name: get_pmg_structure(supercell).remove_site_property("phonopy_masses")
        for name, supercell in zip(names, supercells, strict=True)
    }


def read_phonons(job: Job) -> PhononOutput:
    """Read the lowest phonon frequency of a job of ``dft write --task phonon-check``.

    Whatever the state of the runs, it returns: unfinished, failed and unrelated ones are named in ``reason``.

    Args:
        job: of a manifest, with task ``phonon-check``; its calculations are ``job.parts()``.
    """
    readings = {part.folder.name: guarded(get_code(part.code).read)(part.folder) for part in job.parts()}
    missing = {name: reading for name, reading in readings.items() if reading.status != "done"}
    if missing:
        name, first = next(iter(missing.items()))
        done = f"{len(readings) - len(missing)} of {len(readings)} supercells are done"
        return PhononOutput(first.status, f"{done}; {name}: {first.reason or first.status}")
    if find_spec("phonopy") is None:
        return PhononOutput("failed", "phonopy is not installed; pip install 'invdesign[phonons]'")
    try:
        return _of_forces(job.folder, list(readings.values()))
    except Exception as error:  # noqa: BLE001 - of yaml and phonopy
        return PhononOutput("truncated", f"{DISPLACED} cannot be read ({described(error)})")


def _of_forces(folder: Path, readings: list[ParsedOutput]) -> PhononOutput:
    import phonopy

    phonon = phonopy.load(folder / DISPLACED, produce_fc=False, primitive_matrix="P")
    forces = []
    for reading, cell in zip(readings, _supercells(phonon), strict=True):
        ordered = _in_order(reading, cell)
        if ordered is None:
            return PhononOutput("unrelated", "a run has other positions than were written, or no forces")
        forces.append(ordered)
    at_rest, *displaced = forces
    mode = lowest_mode(phonon, [one - at_rest for one in displaced])
    return PhononOutput("done", lowest=mode.frequency, at=mode.at, notes=_notes(readings[0]))


def _supercells(phonon: Phonopy) -> list[PhonopyAtoms]:
    """At rest, then displaced."""
    return [phonon.supercell, *(phonon.supercells_with_displacements or [])]


def _notes(rest: ParsedOutput) -> tuple[str, ...]:
    notes = []
    if rest.max_force and rest.max_force > AT_REST:
        notes.append(f"the cell was not relaxed with this code: forces up to {rest.max_force:.2f} eV/Å")
    if rest.pressure and abs(rest.pressure) > NO_PRESSURE:
        notes.append(f"the cell is under {rest.pressure:.1f} GPa: frequencies of another volume")
    return tuple(notes)


def _in_order(reading: ParsedOutput, cell: PhonopyAtoms) -> np.ndarray | None:
    """Return forces in phonopy's order of atoms, (n, 3) eV/Å; None where they are not of this cell."""
    structure, forces = reading.structure, reading.forces
    if structure is None or forces is None or len(structure) != len(cell):
        return None
    apart = structure.lattice.get_all_distances(cell.scaled_positions, structure.frac_coords)
    order = apart.argmin(axis=1)
    same = np.allclose(structure.lattice.matrix, cell.cell, atol=SAME_PLACE)
    if not same or apart.min(axis=1).max() > SAME_PLACE or len(set(order)) < len(order):
        return None
    ordered: np.ndarray = forces[order]
    return ordered
