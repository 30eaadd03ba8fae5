"""Wyckoff positions and normaliser relabellings of the 230 space groups, as arrays.

The standard setting of International Tables A: unique axis b, cell choice 1, hexagonal axes,
origin choice 2. ``training.tables.wyckoff`` makes the table next to this file from pyxtal's and moyopy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.errors import InputError

Array = NDArray[np.float64]

TABLE = Path(__file__).with_name("space_groups.npz")
# Coordinates and matrices of the table are stored as integers, in units of 1/24.
UNIT = 24
# Any generic point: its images under distinct maps never coincide.
GENERIC = np.array([0.137, 0.281, 0.419, 1.0])


@dataclass(frozen=True)
class WyckoffPosition:
    """One Wyckoff position in the conventional standard cell.

    Attributes:
        letter: Wyckoff letter.
        multiplicity: sites per conventional cell.
        free: which of x, y, z the position leaves open (indices, ascending).
        maps: (multiplicity, 3, 4) affine maps from (x, y, z, 1) to fractional coordinates.
        primitive: indices of the maps that give one primitive cell's sites.
        pivots: for each free variable, (row, sign) of the first map that fixes it.
    """

    letter: str
    multiplicity: int
    free: tuple[int, ...]
    maps: Array
    primitive: tuple[int, ...]
    pivots: tuple[tuple[int, float], ...]

    def coordinates(self, free: Array, *, primitive: bool = True) -> Array:
        """Conventional fractional coordinates (n, 3) of the sites for given free coordinates."""
        xyz1 = np.zeros(4)
        xyz1[list(self.free)] = free
        xyz1[3] = 1.0
        maps = self.maps[list(self.primitive)] if primitive else self.maps
        return maps @ xyz1

    def solve(self, images: Array) -> tuple[Array, float]:
        """Free coordinates that put the first map on one of an orbit's points.

        Args:
            images: (n, 3) all points of the orbit, fractional, conventional cell.

        Returns:
            The lexicographically smallest solution in [0, 1) and its largest residual (fractional).
        """
        first = self.maps[0]
        params = np.zeros((len(images), 4))
        params[:, 3] = 1.0
        for variable, (row, sign) in zip(self.free, self.pivots, strict=True):
            params[:, variable] = np.mod((images[:, row] - first[row, 3]) * sign, 1.0)
        gap = params @ first.T - images
        residual = np.abs(gap - np.round(gap)).max(axis=1)
        best = residual.min()
        solutions = params[residual <= best + 1e-4][:, list(self.free)]
        # 0.99999 and 0 are the same coordinate; without this the smallest solution is arbitrary
        solutions[solutions > 1 - 1e-5] = 0.0
        order = np.lexsort(np.round(solutions, 4).T[::-1]) if self.free else [0]
        return solutions[order[0]], float(best)


@dataclass(frozen=True)
class SpaceGroupTable:
    """Everything needed to build crystals of one space group.

    Attributes:
        number: 1 to 230.
        positions: Wyckoff positions by letter.
        rotations: (n, 3, 3) and ``translations`` (n, 3) of the conventional cell.
        to_primitive: (3, 3) rows are the primitive vectors in the conventional basis.
        relabellings: the letter permutations that the normaliser induces (identity first), each
            with the (4, 4) affine map that takes conventional coordinates to the relabelled setting.
    """

    number: int
    positions: dict[str, WyckoffPosition]
    rotations: Array
    translations: Array
    to_primitive: Array
    relabellings: tuple[tuple[dict[str, str], Array], ...]

    @property
    def centring(self) -> int:
        """Lattice points per conventional cell."""
        return round(1 / abs(float(np.linalg.det(self.to_primitive))))


@cache
def wyckoff_table(number: int) -> dict[str, WyckoffPosition]:
    """Wyckoff positions of a space group by letter, from the most special to the general one.

    Raises:
        InputError: ``number`` is not 1 to 230.
    """
    return space_group_table(number).positions


@cache
def space_group_table(number: int) -> SpaceGroupTable:
    """Positions, operations and normaliser relabellings of one space group.

    Raises:
        InputError: ``number`` is not 1 to 230.
    """
    if not 1 <= number <= 230:
        raise InputError(f"space_group: {number} does not exist; give 1 to 230.")
    stored = _table()
    names = list(str(stored["letters"][number - 1]))
    operations = stored["operations"][_rows(stored["n_operations"], number)] / UNIT
    to_primitive = stored["to_primitive"][number - 1] / UNIT
    maps = stored["maps"][_rows(stored["n_maps"], number)] / UNIT
    sizes = [int(m) for m in stored["multiplicities"][_rows(stored["n_positions"], number)]]
    ends = np.cumsum(sizes)
    positions = {
        letter: make_position(letter, maps[end - size : end], to_primitive)
        for letter, size, end in zip(names, sizes, ends, strict=True)
    }
    rows = _rows(stored["n_relabellings"], number)
    relabellings = tuple(
        (dict(zip(names, str(image), strict=True)), np.vstack([affine / UNIT, [0.0, 0.0, 0.0, 1.0]]))
        for image, affine in zip(stored["images"][rows], stored["affines"][rows], strict=True)
    )
    return SpaceGroupTable(
        number, positions, operations[:, :, :3], operations[:, :, 3], to_primitive, relabellings
    )


@cache
def _table() -> dict[str, NDArray[Any]]:
    with np.load(TABLE, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _rows(counts: NDArray[Any], number: int) -> slice:
    end = int(counts[:number].sum())
    return slice(end - int(counts[number - 1]), end)


def make_position(letter: str, stacked: Array, to_primitive: Array) -> WyckoffPosition:
    """Return a position from its (multiplicity, 3, 4) maps and the (3, 3) primitive vectors."""
    free = tuple(int(j) for j in np.flatnonzero(np.abs(stacked[:, :, :3]).sum(axis=(0, 1)) > 0))
    pivots = []
    for j in free:
        row = next(r for r in range(3) if abs(stacked[0, r, j]) == 1 and np.abs(stacked[0, r, :3]).sum() == 1)
        pivots.append((row, float(stacked[0, row, j])))
    generic = stacked @ GENERIC
    keys = np.round(np.mod(generic @ np.linalg.inv(to_primitive) + 1e-6, 1.0), 4)
    _, first = np.unique(keys, axis=0, return_index=True)
    return WyckoffPosition(letter, len(stacked), free, stacked, tuple(sorted(map(int, first))), tuple(pivots))
