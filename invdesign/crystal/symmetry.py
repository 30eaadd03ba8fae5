"""From a structure to its gene and geometry, and back."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.wyckoff import Array, SpaceGroupTable, space_group_table

if TYPE_CHECKING:
    from moyopy import Cell
    from numpy.typing import NDArray
    from pymatgen.core import Lattice, Structure


# moyo warns of every supercell, whose operations do not all fit the input cell: expected, and harmless here.
logging.getLogger("moyo").setLevel(logging.ERROR)

LOOSE = 0.3  # Å

# Fraction of a cell edge that a refined site may lie off its Wyckoff position.
_ON_SITE = 2e-3


class SymmetryError(ValueError):
    """No space group was found, or the sites do not fit its Wyckoff positions."""


def gene_of(structure: Structure, symprec: float = 0.1) -> tuple[Gene, Geometry]:
    """Canonical gene and geometry of an ordered structure (symmetry by moyopy).

    Args:
        structure: ordered crystal; any cell.
        symprec: distance tolerance of the symmetry search, Å. Where the search fails at this
            tolerance (it can make distinct atoms coincide), a tenth and a hundredth are tried.

    Raises:
        SymmetryError: disordered, or no symmetry found at any of the three tolerances.
    """
    if not structure.is_ordered:
        raise SymmetryError(f"{structure.formula} is disordered: sites with partial occupancy have no gene.")
    for tolerance in (symprec, symprec / 10, symprec / 100):
        try:
            return _gene_at(structure, tolerance)
        except SymmetryError as error:
            reason = error
    raise reason


def loose_gene_of(structure: Structure) -> tuple[Gene, Geometry] | None:
    """Return the gene and geometry that a structure has within ``LOOSE``, if it has one.

    A relaxation stops short of the minimum, and leaves a crystal a little off its symmetry. spglib makes it
    ideal first: moyo 0.21, asked for so loose a symmetry, can run without end.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    os.environ.setdefault("SPGLIB_WARNING", "OFF")  # it writes to stderr where it finds no symmetry
    try:
        return gene_of(SpacegroupAnalyzer(structure, symprec=LOOSE).get_refined_structure())
    except (SymmetryUndeterminedError, SymmetryError):
        return None


def _gene_at(structure: Structure, symprec: float) -> tuple[Gene, Geometry]:
    import moyopy
    from pymatgen.core import Element

    basis = structure.lattice.matrix.tolist()
    cell = moyopy.Cell(basis, structure.frac_coords.tolist(), list(structure.atomic_numbers))
    try:
        found = moyopy.MoyoDataset(cell, symprec=symprec, setting=moyopy.Setting.standard())
    except ValueError as error:
        raise SymmetryError(f"{structure.formula}: no symmetry found ({error}).") from error
    standard = found.std_cell
    to_standard = np.linalg.inv(found.std_linear)
    representatives = sorted(set(found.orbits))
    moved = (structure.frac_coords[representatives] - found.std_origin_shift) @ to_standard.T
    refined = _nearest(moved, [cell.numbers[i] for i in representatives], standard)

    elements = [Element.from_Z(cell.numbers[i]).symbol for i in representatives]
    letters = [found.wyckoffs[i] for i in representatives]
    gene, geometry = _canonical(found.number, elements, letters, refined, np.array(standard.basis))
    if gene.n_atoms != len(found.prim_std_cell.numbers):
        raise SymmetryError(
            f"{structure.formula}: {gene} does not hold {len(found.prim_std_cell.numbers)} atoms."
        )
    return gene, geometry


def orbits_of(structure: Structure, symprec: float = 0.1) -> NDArray[np.int64]:
    """Return for each atom the first one that symmetry makes equal to it, (n,); itself without symmetry."""
    import moyopy

    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), list(structure.atomic_numbers)
    )
    try:
        return np.array(moyopy.MoyoDataset(cell, symprec=symprec).orbits)
    except ValueError:
        return np.arange(len(structure))


def substituted(gene: Gene, geometry: Geometry, elements: Mapping[str, str]) -> tuple[Gene, Geometry]:
    """Return a crystal with its elements replaced, in the canonical setting of the new gene.

    Args:
        gene: of the crystal.
        geometry: in the gene's order of orbits.
        elements: the new element by the old one; no two may become one.
    """
    from pymatgen.core import Lattice

    table = space_group_table(gene.space_group)
    letters = [letter for _, letter in gene.orbits]
    points = np.array(
        [
            table.positions[letter].coordinates(np.array(free))[0]
            for letter, free in zip(letters, geometry.free, strict=True)
        ]
    )
    replaced = [elements[element] for element, _ in gene.orbits]
    return _canonical(
        gene.space_group, replaced, letters, points, Lattice.from_parameters(*geometry.lattice).matrix
    )


def _canonical(
    number: int, elements: list[str], letters: list[str], points: Array, basis: Array
) -> tuple[Gene, Geometry]:
    """Canonical gene and geometry of a standard cell: a point (n, 3) of each orbit, basis in rows.

    Raises:
        SymmetryError: a point is off its position.
    """
    table = space_group_table(number)
    raw = Gene(number, tuple(zip(elements, letters, strict=True)))
    gene, affine, mapping = raw.canonical_with_map()
    moved = points @ affine[:3, :3].T + affine[:3, 3]
    images = np.einsum("gij,nj->ngi", table.rotations, moved) + table.translations
    orbits = []
    for element, letter, orbit in zip(elements, letters, images, strict=True):
        free, residual = table.positions[mapping[letter]].solve(orbit)
        if residual > _ON_SITE:
            place = f"position {mapping[letter]} of group {number}"
            raise SymmetryError(f"{gene.formula}: {element} is off {place} by {residual:.3f} of the cell.")
        orbits.append((mapping[letter], element, tuple(float(f) for f in free)))
    orbits.sort()
    lattice = np.linalg.inv(affine[:3, :3]).T @ basis
    return gene, Geometry(_parameters(lattice), tuple(free for _, _, free in orbits))


def _nearest(points: Array, numbers: list[int], standard: Cell) -> Array:
    """Return the standard cell's refined site of the same element closest to each point."""
    sites = np.array(standard.positions)
    gap = points[:, None] - sites
    gap -= np.round(gap)
    cartesian = gap @ np.array(standard.basis)
    distance = (cartesian**2).sum(axis=2)
    distance[np.array(numbers)[:, None] != np.array(standard.numbers)] = np.inf
    nearest: Array = sites[distance.argmin(axis=1)]
    return nearest


def _parameters(lattice: Array) -> tuple[float, float, float, float, float, float]:
    lengths = np.linalg.norm(lattice, axis=1)
    unit = lattice / lengths[:, None]
    angles = [float(np.degrees(np.arccos(unit[i] @ unit[j]))) for i, j in ((1, 2), (0, 2), (0, 1))]
    return (float(lengths[0]), float(lengths[1]), float(lengths[2]), angles[0], angles[1], angles[2])


def realise(gene: Gene, geometry: Geometry, *, primitive: bool = True) -> Structure:
    """Return the crystal that a gene and a geometry describe.

    Args:
        gene: which positions are occupied by what.
        geometry: cell and free coordinates, in the gene's order of orbits.
        primitive: the reduced primitive cell (default) or the conventional standard cell.
    """
    from pymatgen.core import Lattice, Structure

    table = space_group_table(gene.space_group)
    blocks = [
        table.positions[letter].coordinates(np.array(free), primitive=primitive)
        for (_, letter), free in zip(gene.orbits, geometry.free, strict=True)
    ]
    species = [element for (element, _), block in zip(gene.orbits, blocks, strict=True) for _ in block]
    lattice, coordinates = Lattice.from_parameters(*geometry.lattice), np.vstack(blocks)
    if primitive:
        lattice, coordinates = _to_primitive(table, lattice, coordinates)
    return Structure(lattice, species, np.mod(coordinates, 1.0))


def _to_primitive(table: SpaceGroupTable, lattice: Lattice, coordinates: Array) -> tuple[Lattice, Array]:
    """Return the primitive cell with short, near-orthogonal edges (LLL), and the coordinates in it."""
    from pymatgen.core import Lattice

    primitive = Lattice(table.to_primitive @ lattice.matrix).get_lll_reduced_lattice()
    return primitive, primitive.get_fractional_coords(lattice.get_cartesian_coords(coordinates))
