"""Degrees of freedom of a relaxation: all, positions alone, or those that keep the crystal's symmetry.

Coordinates are moves of the atoms (Å) and the six components of a symmetric log-strain, scaled to lengths;
a step is ``positions → (positions + moves) · exp(strain)``, ``cell → cell · exp(strain)``, which cannot
rotate the crystal. The operations of a space group act on these coordinates by matrices that no
symmetric strain changes, so the invariant subspace found at the start stays valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from invdesign.potentials.interface import Frame

STRAIN_LENGTH = 1.0  # Å: a strain u of n atoms counts as a move of u · sqrt(n) · this length
SYMPREC = 0.01  # Å; of the search for the operations to keep
_ROOT = float(np.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class DegreesOfFreedom:
    """The coordinates of a crystal that may change: a subspace of all moves and strains.

    Attributes:
        moves: orthonormal columns, (3 n, k).
        strains: orthonormal columns, (6, l).
    """

    moves: np.ndarray
    strains: np.ndarray

    @classmethod
    def unconstrained(cls, frame: Frame, *, relax_cell: bool) -> Self:
        """Take all coordinates, or those of the atoms alone."""
        strains = np.eye(6)
        return cls(np.eye(3 * len(frame)), strains if relax_cell else strains[:, :0])

    @classmethod
    def symmetric(cls, frame: Frame, *, relax_cell: bool) -> Self:
        """Take the coordinates that keep the crystal's symmetry."""
        n = len(frame)
        atoms = np.arange(n)
        on_moves, on_strains, order = np.zeros((n, 3, n, 3)), np.zeros((6, 6)), 0
        for operation in _operations(frame):
            on_moves[operation.image, :, atoms, :] += operation.matrix.T
            on_strains += _on_strains(operation.matrix)
            order += 1
        strains = _invariant(on_strains / order)
        moves = _invariant(on_moves.reshape(3 * n, 3 * n) / order)
        return cls(moves, strains if relax_cell else strains[:, :0])

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return int(self.moves.shape[1] + self.strains.shape[1])

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms."""
        return len(self.moves) // 3

    @property
    def is_unconstrained(self) -> bool:
        """Return whether all coordinates are free, up to a shift of the whole crystal."""
        return self.moves.shape[1] >= len(self.moves) - 3 and self.strains.shape[1] in {0, 6}

    @property
    def basis(self) -> np.ndarray:
        """Return both blocks in one, (3 n + 6, k + l)."""
        (rows, k), (_, width) = self.moves.shape, self.strains.shape
        basis = np.zeros((rows + 6, k + width))
        basis[:rows, :k], basis[rows:, k:] = self.moves, self.strains
        return basis

    @property
    def strain_length(self) -> float:
        """Return the length of a unit strain, Å."""
        return STRAIN_LENGTH * float(np.sqrt(self.n_atoms))

    def gradient(self, forces: np.ndarray, virial: np.ndarray) -> np.ndarray:
        """Compute the gradient by the coordinates, eV/Å.

        Args:
            forces: (n, 3) eV/Å.
            virial: stress times volume, (3, 3) eV.
        """
        by_strain = self.strains.T @ _components(virial) / self.strain_length
        return np.concatenate([-self.moves.T @ forces.ravel(), by_strain])

    def fmax(self, gradient: np.ndarray) -> float:
        """Return the larger of the largest force on an atom and the largest row of virial over n, eV/Å."""
        k = self.moves.shape[1]
        forces = (self.moves @ gradient[:k]).reshape(-1, 3)
        virial = _matrix(self.strains @ gradient[k:] * self.strain_length) / self.n_atoms
        return float(max(np.linalg.norm(forces, axis=1).max(), np.linalg.norm(virial, axis=1).max()))

    def unpack(self, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert a step in the coordinates to moves (n, 3) in Å and log-strain (3, 3)."""
        k = self.moves.shape[1]
        moves = (self.moves @ step[:k]).reshape(-1, 3)
        return moves, _matrix(self.strains @ step[k:] / self.strain_length)


def displaced(frame: Frame, moves: np.ndarray, strain: np.ndarray) -> Frame:
    """Displace the crystal: moves (n, 3) in Å, then log-strain (3, 3)."""
    from scipy.linalg import expm

    deformation = expm(strain) if strain.any() else np.eye(3)
    return Frame(frame.numbers, (frame.positions + moves) @ deformation, frame.cell @ deformation)


def symmetrised(frame: Frame) -> Frame:
    """Average the crystal over its symmetry operations, which held to ``SYMPREC`` only."""
    from scipy.linalg import sqrtm

    inverse = np.linalg.inv(frame.cell)
    shift, metric = np.zeros((len(frame), 3)), np.zeros((3, 3))
    operations = list(_operations(frame))
    for operation in operations:
        shift[operation.image] += operation.gap
        metric += operation.rotation @ frame.cell @ frame.cell.T @ operation.rotation.T
    fractional = frame.positions @ inverse + shift / len(operations)
    stretch = sqrtm(inverse @ (metric / len(operations)) @ inverse.T).real
    cell = frame.cell @ stretch
    return Frame(frame.numbers, fractional @ cell, cell)


class _Operation(NamedTuple):
    """A symmetry operation on rows: ``matrix`` (3, 3) on Cartesian ones, ``rotation`` on fractional ones.

    ``image`` is the atom that each atom is mapped to, ``gap`` (n, 3) the fractional vector from it.
    """

    matrix: np.ndarray
    rotation: np.ndarray
    image: np.ndarray
    gap: np.ndarray


def _operations(frame: Frame) -> Iterator[_Operation]:
    import moyopy

    n, inverse = len(frame), np.linalg.inv(frame.cell)
    fractional = frame.positions @ inverse
    cell = moyopy.Cell(frame.cell.tolist(), fractional.tolist(), frame.numbers.tolist())
    try:
        found = moyopy.MoyoDataset(cell, symprec=SYMPREC).operations
    except ValueError:  # no group is found for some strongly distorted cells: then nothing is kept
        yield _Operation(np.eye(3), np.eye(3), np.arange(n), np.zeros((n, 3)))
        return
    different = frame.numbers[:, None] != frame.numbers
    for rotation, translation in zip(found.rotations, found.translations, strict=True):
        matrix = np.array(rotation, dtype=float).T
        gaps = (fractional @ matrix + translation)[:, None] - fractional
        gaps -= np.round(gaps)
        distance = np.linalg.norm(gaps @ frame.cell, axis=2)
        distance[different] = np.inf
        image = distance.argmin(axis=1)
        yield _Operation(inverse @ matrix @ frame.cell, matrix, image, gaps[np.arange(n), image])


def _on_strains(matrix: np.ndarray) -> np.ndarray:
    """Return the operation on the components of a symmetric strain, (6, 6)."""
    return np.stack([_components(matrix.T @ _matrix(unit) @ matrix) for unit in np.eye(6)], axis=1)


def _invariant(projector: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the invariant subspace of a group's averaged operation."""
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    return np.asarray(vectors[:, values > 0.5])


def _components(matrix: np.ndarray) -> np.ndarray:
    """Return six components of a symmetric matrix, such that dot products equal those of the matrices."""
    a, b, c = np.diag(matrix)
    return np.array([a, b, c, _ROOT * matrix[1, 2], _ROOT * matrix[0, 2], _ROOT * matrix[0, 1]])


def _matrix(components: np.ndarray) -> np.ndarray:
    """Invert :func:`_components`."""
    a, b, c, d, e, f = components / np.array([1, 1, 1, _ROOT, _ROOT, _ROOT])
    return np.array([[a, f, e], [f, b, d], [e, d, c]])
