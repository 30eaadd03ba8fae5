"""What genes leave open, as padded arrays: affine maps from free coordinates to atoms, and the cell's frame.

Sizes: B crystals, S orbits, N atoms of the primitive cell. Free coordinates are left-aligned in 3 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table, element_volumes, volume_weights
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.wyckoff import GENERIC, WyckoffPosition, space_group_table
from invdesign.data.tokens import LETTERS
from invdesign.generators.geometry.lattice import cells, parameters, strains

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_GROUPS = 231
IMAGES = torch.cartesian_prod(*[torch.tensor([0.0, -1.0, 1.0])] * 3)  # (27, 3); the first is the home cell


@cache
def covalent_radii() -> Tensor:
    """(104,) Å by atomic number, 0 for no element."""
    return torch.tensor(np.nan_to_num(element_table()["covalent_radius"]), dtype=torch.float32)


@dataclass(frozen=True)
class SiteTables:
    """By space group and letter.

    Attributes:
        maps: (T, 3, 4) to primitive fractional coordinates, of all positions' primitive sites in turn.
        start, count: (231, 28) where a position's sites lie in ``maps``.
        push: (231, 28, 3, 3) moves of the free coordinates to the first site's, conventional fractional.
        pull: (231, 28, 3, 3) its pseudo-inverse.
        free: (231, 28, 3) which columns are free coordinates.
        to_primitive: (231, 3, 3) rows are the primitive vectors in the conventional basis.
        polar: (231, 3) conventional axes along which the origin is arbitrary.
    """

    maps: Tensor
    start: Tensor
    count: Tensor
    push: Tensor
    pull: Tensor
    free: Tensor
    to_primitive: Tensor
    polar: Tensor


def left_aligned(maps: NDArray[np.float64], free: tuple[int, ...]) -> NDArray[np.float64]:
    """(m, 3, 4) maps from (free coordinates padded to 3, 1) instead of (x, y, z, 1)."""
    out = np.zeros_like(maps)
    out[:, :, : len(free)] = maps[:, :, list(free)]
    out[:, :, 3] = maps[:, :, 3]
    return out


@cache
def site_tables() -> SiteTables:
    """Return the tables of all space groups."""
    shape = (N_GROUPS, len(LETTERS))
    start, count = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    push, pull, free = np.zeros((*shape, 3, 3)), np.zeros((*shape, 3, 3)), np.zeros((*shape, 3), dtype=bool)
    to_primitive, polar = np.tile(np.eye(3), (N_GROUPS, 1, 1)), np.zeros((N_GROUPS, 3))
    maps, total = [], 0
    for group in range(1, N_GROUPS):
        table = space_group_table(group)
        to_primitive[group] = table.to_primitive
        polar[group] = [(table.rotations @ axis == axis).all() for axis in np.eye(3)]
        inverse = np.linalg.inv(table.to_primitive).T
        for letter, position in table.positions.items():
            w, k = LETTERS.index(letter), len(position.free)
            aligned = left_aligned(position.maps, position.free)
            maps.append(inverse @ aligned[list(position.primitive)])
            start[group, w], count[group, w] = total, len(position.primitive)
            total += len(position.primitive)
            push[group, w] = aligned[0, :, :3]
            pull[group, w] = np.linalg.pinv(aligned[0, :, :3])
            free[group, w, :k] = True
    return SiteTables(
        maps=torch.tensor(np.concatenate(maps), dtype=torch.float32),
        start=torch.tensor(start),
        count=torch.tensor(count),
        push=torch.tensor(push, dtype=torch.float32),
        pull=torch.tensor(pull, dtype=torch.float32),
        free=torch.tensor(free),
        to_primitive=torch.tensor(to_primitive, dtype=torch.float32),
        polar=torch.tensor(polar, dtype=torch.float32),
    )


def equivalent_coordinates(position: WyckoffPosition) -> NDArray[np.float64]:
    """(m, 3, 4) maps from free coordinates to those that describe the same orbit, left-aligned."""
    k = len(position.free)
    aligned = left_aligned(position.maps, position.free)
    point = np.array([*GENERIC[:3][:k], *[0.0] * (3 - k), 1.0])
    found = np.zeros((len(aligned), 3, 4))
    for j, (row, sign) in enumerate(position.pivots):
        found[:, j] = sign * aligned[:, row]
        found[:, j, 3] -= sign * aligned[0, row, 3]
    back = np.concatenate([found @ point, np.ones((len(found), 1))], axis=1) @ aligned[0].T
    gap = back - aligned @ point
    same: NDArray[np.bool_] = np.abs(gap - np.round(gap)).max(axis=1) < 1e-6
    return np.asarray(found[same])


@dataclass(frozen=True)
class Sites:
    """A batch of genes.

    Attributes:
        group: (B,).
        elements, letters: (B, S) tokens, 0 beyond the last orbit.
        orbit: (B, N) orbit of each atom.
        atoms: (B, N) False for padding.
        maps: (B, N, 3, 4) from the orbit's free coordinates and 1 to primitive fractional coordinates.
        first: (B, S) the atom that each orbit begins with.
        weight: (B, S) share of the cell's atoms.
        free: (B, S, 3).
        push, pull: (B, S, 3, 3) see ``SiteTables``.
        to_primitive: (B, 3, 3).
        polar: (B, 3).
        volume: (B,) expected volume of the conventional cell, Å³.
    """

    group: Tensor
    elements: Tensor
    letters: Tensor
    orbit: Tensor
    atoms: Tensor
    maps: Tensor
    first: Tensor
    weight: Tensor
    free: Tensor
    push: Tensor
    pull: Tensor
    to_primitive: Tensor
    polar: Tensor
    volume: Tensor

    @classmethod
    def of_tokens(cls, group: Tensor, elements: Tensor, letters: Tensor) -> Sites:
        """From (B,), (B, S), (B, S) tokens."""
        tables = site_tables()
        count = tables.count[group[:, None], letters] * (elements > 0)  # (B, S)
        n_atoms = count.sum(1)
        ends = count.cumsum(1)
        index = torch.arange(int(n_atoms.max()))[None].expand(len(group), -1)  # (B, N)
        atoms = index < n_atoms[:, None]
        orbit = (index[..., None] >= ends[:, None]).sum(2).clamp(max=letters.shape[1] - 1)
        first = ends - count
        within = index - first.gather(1, orbit)
        rows = tables.start[group[:, None], letters.gather(1, orbit)] + within
        maps = tables.maps[torch.where(atoms, rows, torch.zeros_like(rows))]
        amounts = torch.zeros(len(group), len(SYMBOLS)).scatter_add_(1, elements, count.float()).numpy()
        totals = amounts.sum(1)
        per_atom = volume_weights(amounts / totals[:, None]) @ element_volumes().T.ravel()
        centring = 1 / torch.linalg.det(tables.to_primitive[group]).abs()
        return cls(
            group=group,
            elements=elements,
            letters=letters,
            orbit=orbit,
            atoms=atoms,
            maps=maps,
            first=first.clamp(max=index.shape[1] - 1),
            weight=count / n_atoms[:, None],
            free=tables.free[group[:, None], letters] & (elements > 0)[..., None],
            push=tables.push[group[:, None], letters],
            pull=tables.pull[group[:, None], letters],
            to_primitive=tables.to_primitive[group],
            polar=tables.polar[group],
            volume=torch.tensor(per_atom * totals, dtype=torch.float32) * centring,
        )

    @classmethod
    def of_genes(cls, genes: Sequence[Gene]) -> Sites:
        """In each gene's own order of orbits."""
        width = max(len(gene.orbits) for gene in genes)
        elements = torch.zeros(len(genes), width, dtype=torch.long)
        letters = torch.zeros(len(genes), width, dtype=torch.long)
        for i, gene in enumerate(genes):
            for j, (element, letter) in enumerate(gene.orbits):
                elements[i, j], letters[i, j] = ATOMIC_NUMBER[element], LETTERS.index(letter)
        return cls.of_tokens(torch.tensor([gene.space_group for gene in genes]), elements, letters)

    def to(self, device: torch.device) -> Sites:
        """Move to another device."""
        return Sites(*(getattr(self, field.name).to(device) for field in fields(self)))

    def fractional(self, free: Tensor) -> Tensor:
        """(B, N, 3) primitive fractional coordinates for free coordinates (B, S, 3)."""
        own = torch.cat([free, torch.ones_like(free[..., :1])], -1)
        own = own.gather(1, self.orbit[..., None].expand(-1, -1, 4))
        at: Tensor = (self.maps @ own[..., None])[..., 0]
        return at

    def contacts(self, free: Tensor, cell: Tensor) -> Tensor:
        """(B,) shortest distance between two atoms, as a share of the sum of their covalent radii.

        Args:
            free: (B, S, 3) free coordinates.
            cell: (B, 3, 3) conventional cells, rows in Å.
        """
        at = self.fractional(free)
        first = at.gather(1, self.first[..., None].expand(-1, -1, 3))
        gap = at[:, None] - first[:, :, None]  # (B, S, N, 3): every atom is like the first of its orbit
        gap = gap - gap.round()
        primitive = (self.to_primitive @ cell)[:, None]
        images = IMAGES.to(free)
        distance = ((gap[..., None, :] + images) @ primitive[:, None]).norm(dim=-1)  # (B, S, N, 27)
        radius = covalent_radii().to(free)
        numbers = self.elements.gather(1, self.orbit)
        share = distance / (radius[self.elements][:, :, None] + radius[numbers][:, None])[..., None]
        own = torch.arange(at.shape[1], device=free.device) == self.first[..., None]  # (B, S, N)
        share[..., 0].masked_fill_(own, torch.inf)
        seen = (self.elements > 0)[..., None] & self.atoms[:, None]
        least: Tensor = share.masked_fill(~seen[..., None], torch.inf).amin((1, 2, 3))
        return least

    def without_drift(self, moves: Tensor) -> Tensor:
        """Return moves (B, S, 3) of free coordinates less the mean move of all atoms along polar axes."""
        sites = (self.push @ moves[..., None])[..., 0]  # (B, S, 3) of the first sites, fractional
        drift = (sites * self.weight[..., None]).sum(1) * self.polar  # (B, 3)
        kept: Tensor = (moves - (self.pull @ drift[:, None, :, None])[..., 0]) * self.free
        return kept


def geometries(sites: Sites, free: Tensor, cell: Tensor) -> list[Geometry]:
    """One for each gene, from free coordinates (B, S, 3) and conventional cells (B, 3, 3) in Å."""
    lattices = parameters(cell)
    coordinates, mask = torch.remainder(free, 1.0).cpu().numpy(), sites.free.cpu().numpy()
    found = []
    for i, size in enumerate((sites.elements > 0).sum(1).tolist()):
        a, b, c, alpha, beta, gamma = (float(x) for x in lattices[i])
        own = tuple(tuple(float(x) for x in coordinates[i, j][mask[i, j]]) for j in range(size))
        found.append(Geometry((a, b, c, alpha, beta, gamma), own))
    return found


def contacts_of(genes: Sequence[Gene], own: Sequence[Geometry]) -> NDArray[np.float32]:
    """(B,) ``Sites.contacts`` of genes in given geometries."""
    sites = Sites.of_genes(genes)
    free = torch.zeros(sites.free.shape)
    for i, geometry in enumerate(own):
        for j, coordinates in enumerate(geometry.free):
            free[i, j, : len(coordinates)] = torch.tensor(coordinates)
    lattice = torch.tensor([geometry.lattice for geometry in own], dtype=torch.float64)
    volume = sites.volume.double()
    cell = cells(strains(lattice, sites.group, volume), sites.group, volume)
    found: NDArray[np.float32] = sites.contacts(free, cell.float()).numpy()
    return found
