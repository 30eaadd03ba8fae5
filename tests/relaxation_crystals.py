"""Crystals that the tests of relaxation start from."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure


def magnesia(a: float = 4.25) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def rutile() -> Structure:
    return Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )


def distorted(structure: Structure, seed: int, strain: float = 0.03, move: float = 0.1) -> Structure:
    rng = np.random.default_rng(seed)
    deformation = rng.normal(0, strain, (3, 3))
    cell = structure.lattice.matrix @ (np.eye(3) + (deformation + deformation.T) / 2)
    result = Structure(Lattice(cell), structure.species, structure.frac_coords)
    shifts = rng.normal(0, move, structure.frac_coords.shape)
    return Structure(result.lattice, result.species, result.cart_coords + shifts, coords_are_cartesian=True)


def space_group(structure: Structure) -> int:
    import moyopy

    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), list(structure.atomic_numbers)
    )
    return moyopy.MoyoDataset(cell, symprec=1e-3).number


def perovskite(a: float = 4.0) -> Structure:
    return Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(a), ["Ca", "Ti", "O"], [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0]]
    )
