"""Phonons of a crystal in the harmonic approximation: is it a minimum, also beyond its own cell?

A relaxed crystal can be a saddle: symmetry hides the forces that would break it, and a cell cannot show a
distortion that is larger than itself (octahedra tilting in turns, for one). Such a mode has an imaginary
frequency, written as a negative number.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.crystal.supercell import multiples, reduced
from invdesign.errors import InputError
from invdesign.potentials.interface import Frame, Potential, frame_of
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from pymatgen.core import Structure

SIDE = 9.0  # Å between periodic images
MOST_ATOMS = 256
# even ones hold the boundary of the Brillouin zone, where most instabilities lie
MULTIPLES = (1, 2, 4, 6)
DISPLACEMENT = 0.05  # Å
FMAX = 0.01  # eV/Å, before
MAX_STEPS = 300
SYMMETRY = 1e-3  # Å; a relaxed crystal has its symmetry to the last digit, or not
THRESHOLD = -0.8  # THz; CHGNet's surface is too rough for less (docs/guide/dynamical-stability.md)
SOFTEST = 0.12  # of the highest mode: the threshold of soft crystals, where two of three potentials decide


@dataclass(frozen=True, slots=True)
class Phonons:
    """The modes of a crystal at the wave vectors that its supercell holds.

    Attributes:
        lowest: THz, of all modes but the three translations at Γ; negative for an imaginary one.
        highest: THz.
        at: wave vector of the lowest, in reciprocal vectors of the crystal's reduced cell.
        n_atoms: of the supercell.
        n_displacements: of atoms, each one evaluation.
    """

    lowest: float
    highest: float
    at: tuple[float, float, float]
    n_atoms: int
    n_displacements: int


@dataclass(frozen=True, slots=True)
class Mode:
    """The lowest mode of all but the translations, and the highest frequency.

    Attributes:
        frequency: THz; negative for an imaginary one.
        highest: THz.
        at: wave vector, in reciprocal vectors of phonopy's primitive cell.
    """

    frequency: float
    highest: float
    at: tuple[float, float, float]


def require_phonopy(what: str = "check: phonons") -> None:
    """Check that phonopy is installed.

    Args:
        what: names what needs it, at the start of the message.

    Raises:
        InputError: it is not installed.
    """
    if find_spec("phonopy") is None:
        raise InputError(
            f"{what} needs phonopy, which is not installed; run pip install 'invdesign[phonons]'."
        )


def phonons(structure: Structure, potential: Potential) -> Phonons | str:
    """Relax a crystal closely within its symmetry and find its modes; return the reason where that fails.

    Args:
        structure: an ordered crystal, near its minimum.
        potential: what gives energies, forces and stresses; all displacements are one batch.
    """
    # the ceiling keeps it in its symmetry: whether it stays there is the question
    (relaxed,) = relax(
        [reduced(structure)],
        potential,
        fmax=FMAX,
        max_steps=MAX_STEPS,
        keep_symmetry=True,
        ceilings=[-np.inf],
    )
    if not relaxed.converged:
        return f"no minimum to start from: {relaxed.reason}"
    frame = frame_of(relaxed.structure)
    n = multiples(frame.cell, len(frame), side=SIDE, most_atoms=MOST_ATOMS, allowed=MULTIPLES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # phonopy's, of supercells with less symmetry than the crystal
        return _modes(frame, n, potential)


def _modes(frame: Frame, n: tuple[int, int, int], potential: Potential) -> Phonons | str:
    try:
        phonon = _phonopy(frame, n)
    except (RuntimeError, ValueError, TypeError) as error:
        return f"phonopy finds no displacements: {error}"
    crystals = [_frame(phonon.supercell), *map(_frame, phonon.supercells_with_displacements)]
    evaluation = potential.evaluate(crystals)
    if evaluation.failures:
        return f"a displaced crystal cannot be evaluated: {next(iter(evaluation.failures.values()))}"
    rest, *displaced = evaluation.forces
    mode = lowest_mode(phonon, [forces - rest for forces in displaced])
    return Phonons(mode.frequency, mode.highest, mode.at, len(phonon.supercell), len(displaced))


def describe_wave_vector(q: tuple[float, float, float]) -> str:
    """Write a wave vector as fractions: ``(1/2, 0, 1/4)``."""
    return f"({', '.join(str(Fraction(x).limit_denominator(12)) for x in q)})"


def _phonopy(frame: Frame, n: tuple[int, int, int]) -> Any:  # noqa: ANN401 - phonopy's Phonopy
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = PhonopyAtoms(numbers=frame.numbers.tolist(), cell=frame.cell, positions=frame.positions)
    phonon = Phonopy(unit, np.diag(n), primitive_matrix=np.eye(3), symprec=SYMMETRY)
    phonon.generate_displacements(distance=DISPLACEMENT)
    return phonon


def _frame(atoms: Any) -> Frame:  # noqa: ANN401 - phonopy's PhonopyAtoms
    return Frame(np.array(atoms.numbers, dtype=np.int64), np.array(atoms.positions), np.array(atoms.cell))


def lowest_mode(phonon: Any, forces: list[np.ndarray]) -> Mode:  # noqa: ANN401 - phonopy's Phonopy
    """Find the lowest mode at the wave vectors that fit the supercell.

    Args:
        phonon: with its displacements.
        forces: on the atoms of each displaced supercell, less those at rest; eV/Å.
    """
    phonon.forces = forces
    phonon.produce_force_constants(show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    phonon.run_mesh([int(n) for n in np.diag(phonon.supercell_matrix)], is_gamma_center=True)
    frequencies, q = np.array(phonon.mesh.frequencies), np.array(phonon.mesh.qpoints)
    gamma = int(np.abs(q).sum(axis=1).argmin())
    translations = np.abs(frequencies[gamma]).argsort()[:3]
    frequencies[gamma, translations] = np.inf
    row = int(frequencies.min(axis=1).argmin())
    highest = float(frequencies[np.isfinite(frequencies)].max())
    return Mode(float(frequencies.min()), highest, (float(q[row, 0]), float(q[row, 1]), float(q[row, 2])))
