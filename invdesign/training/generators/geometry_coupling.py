"""Which of a crystal's equivalent descriptions lies nearest to some noise: shorter ways, straighter flows.

Free coordinates describe the same crystal in many ways: any atom of an orbit may be its first, orbits of one
element and letter may change places, and the normaliser's origins that leave the gene as it is serve as well
(optimal transport within a crystal's symmetry; Tong et al. 2023, Miller et al. 2024 for crystals).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from invdesign.crystal.wyckoff import space_group_table
from invdesign.data.tokens import LETTERS, TokenSet
from invdesign.generators.geometry.sites import equivalent_coordinates, left_aligned

Array = NDArray[np.float64]

_MAX_SETTINGS = 8
_UNLIKE = 1e6


@cache
def _images(group: int, letter: str) -> Array:
    return equivalent_coordinates(space_group_table(group).positions[letter])


@cache
def _resetting(group: int, setting: int, letter: str) -> Array:
    """(3, 4) free coordinates of an orbit after one of the group's relabellings, left-aligned."""
    table = space_group_table(group)
    names, affine = table.relabellings[setting]
    old, new = table.positions[letter], table.positions[names[letter]]
    start = left_aligned(old.maps[:1], old.free)[0]
    moved = affine[:3, :3] @ start
    moved[:, 3] += affine[:3, 3]
    images = table.rotations @ moved  # (g, 3, 4)
    images[:, :, 3] += table.translations
    target = left_aligned(new.maps[:1], new.free)[0]
    point = np.array([0.137, 0.281, 0.419, 1.0])
    for image in images:
        found = np.zeros((3, 4))
        for j, (row, sign) in enumerate(new.pivots):
            found[j] = sign * image[row]
            found[j, 3] -= sign * target[row, 3]
        gap = target @ np.array([*(found @ point), 1.0]) - image @ point
        if np.abs(gap - np.round(gap)).max() < 1e-6:
            return found
    raise ArithmeticError(f"group {group}: relabelling {setting} takes {letter} off its position")


@dataclass(frozen=True)
class Equivalents:
    """The descriptions of one crystal.

    Attributes:
        kind: (S,) number shared by the orbits of one element and letter.
        coordinates: (R, E, 3) of every possible first atom, per setting.
        owner: (E,) orbit that each belongs to; (R, E) ``kind`` it takes the place of, per setting.
        scale: (S, 3) Å per free coordinate.
    """

    kind: NDArray[np.int64]
    coordinates: Array
    owner: NDArray[np.int64]
    place: NDArray[np.int64]
    scale: Array

    def nearest(self, noise: Array) -> Array:
        """(S, 3) shortest moves of free coordinates from ``noise`` (S, 3) to a description of the crystal."""
        gap = self.coordinates[:, None] - noise[None, :, None]  # (R, S, E, 3)
        gap -= np.round(gap)
        cost = ((gap * self.scale[None, :, None]) ** 2).sum(-1)
        cost += _UNLIKE * (self.kind[None, :, None] != self.place[:, None])
        s = len(self.kind)
        by_owner = np.stack([cost[:, :, self.owner == o].min(2) for o in range(s)], 2)  # (R, S, S)
        if len(np.unique(self.kind)) == s:
            taken = by_owner.argmin(2)
        else:
            taken = np.stack([linear_sum_assignment(one)[1] for one in by_owner])
        total = np.take_along_axis(by_owner, taken[:, :, None], 2).sum((1, 2))
        best = int(total.argmin())
        own = self.owner[None] == taken[best][:, None]  # (S, E)
        chosen = np.where(own, cost[best], np.inf).argmin(1)
        shortest: Array = gap[best, np.arange(s), chosen]
        return shortest


def _metric(lattice: Array) -> Array:
    lengths, cosines = lattice[:3], np.cos(np.deg2rad(lattice[3:]))
    unit = np.eye(3)
    for k, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        unit[i, j] = unit[j, i] = cosines[k]
    metric: Array = unit * lengths[:, None] * lengths
    return metric


def equivalents_of(tokens: TokenSet, index: int, push: Array) -> Equivalents:
    """All descriptions of a crystal (at most 8 settings).

    Args:
        tokens: the crystals.
        index: which one.
        push: (S, 3, 3) see ``SiteTables``.
    """
    group = int(tokens.space_group[index])
    size = int((tokens.elements[index] > 0).sum())
    elements, letters = tokens.elements[index, :size].tolist(), tokens.letters[index, :size].tolist()
    kinds = {pair: k for k, pair in enumerate(dict.fromkeys(zip(elements, letters, strict=True)))}
    wanted = sorted(zip(elements, letters, strict=True))
    own = np.concatenate([np.nan_to_num(tokens.free[index, :size]), np.ones((size, 1))], 1)  # (S, 4)
    coordinates, places, owner = [], [], np.zeros(0, dtype=np.int64)
    metric = _metric(tokens.lattice[index])
    for setting, (names, affine) in enumerate(space_group_table(group).relabellings):
        # a shift of the origin keeps the cell; a change of axes may not
        inverse = np.linalg.inv(affine[:3, :3])
        if np.abs(inverse.T @ metric @ inverse - metric).max() > 1e-3 * metric.max():
            continue
        new = [LETTERS.index(names[LETTERS[w]]) for w in letters]
        if sorted(zip(elements, new, strict=True)) != wanted:
            continue
        blocks = []
        for o, (old, letter) in enumerate(zip(letters, new, strict=True)):
            moved = np.append(_resetting(group, setting, LETTERS[old]) @ own[o], 1.0)
            blocks.append(_images(group, LETTERS[letter]) @ moved)
        owner = np.repeat(np.arange(size), [len(block) for block in blocks])
        kind = np.array([kinds[z, w] for z, w in zip(elements, new, strict=True)])
        coordinates.append(np.concatenate(blocks))
        places.append(kind[owner])
        if len(coordinates) == _MAX_SETTINGS:
            break
    lengths = tokens.lattice[index, :3]
    return Equivalents(
        kind=np.array([kinds[pair] for pair in zip(elements, letters, strict=True)]),
        coordinates=np.stack(coordinates).astype(np.float32),
        owner=owner,
        place=np.stack(places),
        scale=np.sqrt(((push[:size] * lengths[None, :, None]) ** 2).sum(1)).astype(np.float32),
    )
