"""The interface of interatomic potentials: energies, forces and stresses of crystals, with named failures.

Units: eV, eV/Å, eV/Å³. Stress is ``dE/dstrain / volume`` (ASE's sign: positive when the cell wants to
shrink). Cell rows are lattice vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from invdesign.crystal.chemical_formula import formula_of
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_CHARGE = 0.5  # e per cell; averages such as Fe2.667+ in a file do not add up to 0 exactly
LAST_ATOMIC_NUMBER = 118


@dataclass(frozen=True, slots=True)
class Frame:
    """The bare arrays of one crystal.

    Attributes:
        numbers: atomic numbers, (n,) int64.
        positions: Cartesian, (n, 3) Å.
        cell: rows are lattice vectors, (3, 3) Å.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Return the cell volume, Å³ (never negative)."""
        return abs(float(np.linalg.det(self.cell)))


def frame_of(structure: Structure) -> Frame:
    """Take the arrays of a pymatgen structure.

    Raises:
        InputError: the structure is disordered or charged.
    """
    formula = formula_of(structure.composition)
    if not structure.is_ordered:
        raise InputError(f"structure {formula} is disordered; give an ordered cell.")
    with warnings.catch_warnings():
        # pymatgen warns of charges that are not the sum of its oxidation states
        warnings.simplefilter("ignore")
        charge = structure.charge
    if abs(charge) > MAX_CHARGE:
        raise InputError(f"structure {formula} has a charge of {charge:+g} e; give a neutral cell.")
    return Frame(
        np.array(structure.atomic_numbers, dtype=np.int64),
        np.array(structure.cart_coords, dtype=float).reshape(-1, 3),
        np.array(structure.lattice.matrix, dtype=float),
    )


def as_frames(crystals: Iterable[Structure | Frame], failures: dict[int, str] | None = None) -> list[Frame]:
    """Convert a mixed batch to frames.

    Args:
        crystals: structures or frames.
        failures: gets the reason, by index, for structures that cannot be converted (disordered, charged);
            a frame without atoms takes their place.

    Raises:
        InputError: a structure is disordered or charged, and ``failures`` is None.
    """
    frames = []
    for index, crystal in enumerate(crystals):
        try:
            frames.append(crystal if isinstance(crystal, Frame) else frame_of(crystal))
        except InputError as error:
            if failures is None:
                raise
            failures[index] = str(error)
            frames.append(Frame(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.eye(3)))
    return frames


@dataclass(slots=True)
class PotentialOutput:
    """Energies, forces and stresses of a batch of n crystals.

    Attributes:
        energy: eV per cell, (n,); nan where the evaluation failed.
        forces: eV/Å, one (n_atoms, 3) array per crystal; nan where it failed or was not asked for.
        stress: eV/Å³, (n, 3, 3); nan where it failed or was not asked for.
        embeddings: features of the crystals, (n, d) float32, nan where the evaluation failed; d is 0 for a
            potential without features.
        failures: reason by index of the crystal that could not be evaluated.
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: np.ndarray
    embeddings: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, frames: Sequence[Frame], embedding_size: int = 0) -> PotentialOutput:
        """Make an output of nan, to be filled in."""
        n = len(frames)
        return cls(
            np.full(n, np.nan),
            [np.full((len(frame), 3), np.nan) for frame in frames],
            np.full((n, 3, 3), np.nan),
            np.full((n, embedding_size), np.nan, dtype=np.float32),
        )

    def store(self, index: int, name: str, energy: float, forces: np.ndarray, stress: np.ndarray) -> None:
        """Store one crystal's values; a value that is not finite is a failure of the potential ``name``."""
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            self.failures[index] = f"{name} returned an energy, force or stress that is not finite"
            return
        self.energy[index], self.forces[index], self.stress[index] = energy, forces, stress


@runtime_checkable
class Potential(Protocol):
    """Energies, forces and stresses of crystals; see ``batching.BatchedPotential`` for a base class."""

    @property
    def name(self) -> str:
        """Return name and version: the key of ``run.json`` and of calibrations."""
        ...

    @property
    def digest(self) -> str:
        """Return a hash of the weights; empty where there are none."""
        ...

    @property
    def elements(self) -> frozenset[str]:
        """Return the symbols of the elements that it supports."""
        ...

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> PotentialOutput:
        """Evaluate a batch; a crystal that cannot be evaluated is named in ``failures``, never raised."""
        ...
