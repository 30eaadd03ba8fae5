"""How the geometry diffusion model is trained (recipe kind ``geometry-diffusion``).

The flow goes to whichever of a crystal's equivalent descriptions lies nearest to the noise: shorter ways,
straighter flows. Free coordinates describe the same crystal in many ways: any atom of an orbit may be its
first, orbits of one element and letter may change places, and the normaliser's origins that leave the gene as
it is serve as well (optimal transport within a crystal's symmetry; Tong et al. 2023, Miller et al. 2024 for
crystals).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from invdesign.crystal.wyckoff import space_group_table
from invdesign.data.tokens import LETTERS, TokenSet
from invdesign.generators.geometry.lattice import cells, free_strains, strains
from invdesign.generators.geometry.model import N_CELLS, SPACING, GeometryNetwork, cell_kind
from invdesign.generators.geometry.sites import Sites, equivalent_coordinates, left_aligned, site_tables
from invdesign.io.progress import Progress
from invdesign.training.generators.corpus import GeneratorConfig, read_corpus
from invdesign.training.trainer import Trainer

_LEAST_SPREAD = 0.02  # of a kind of cell of which few are known


class GeometryDiffusionConfig(GeneratorConfig):
    """Recipe of a geometry diffusion model.

    Attributes:
        cell_share: weight of the cell's part of the loss.
    """

    kind: Literal["geometry-diffusion"] = "geometry-diffusion"
    width: int = 128
    depth: int = 4
    channels: int = 16
    radial: int = 10
    directed: int = 24
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    ema: float = 0.999
    cell_share: float = 0.2


class GeometryData:
    """A corpus as the loss needs it.

    Args:
        tokens: N crystals.
    """

    def __init__(self, tokens: TokenSet) -> None:
        self.group = torch.tensor(tokens.space_group, dtype=torch.long)
        self.elements = torch.tensor(tokens.elements, dtype=torch.long)
        self.letters = torch.tensor(tokens.letters, dtype=torch.long)
        push = site_tables().push[self.group[:, None], self.letters].numpy()
        self.equivalents = [equivalents_of(tokens, i, push[i]) for i in range(len(tokens))]
        lattice = torch.tensor(tokens.lattice, dtype=torch.float64)
        strain, kinds = [], []
        for rows in torch.split(torch.arange(len(tokens)), 4096):
            sites = self.sites(rows)
            strain.append(strains(lattice[rows], sites.group, sites.volume.double()).float())
            kinds.append(cell_kind(sites))
        self.strain, self.kind = torch.cat(strain), torch.cat(kinds)

    def sites(self, rows: Tensor) -> Sites:
        """Return the genes of some crystals."""
        width = int((self.elements[rows] > 0).sum(1).max())
        return Sites.of_tokens(self.group[rows], self.elements[rows, :width], self.letters[rows, :width])

    def spread(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (N_CELLS, 6) of the strains of some crystals, by kind of cell."""
        mean, std = torch.zeros(N_CELLS, 6), torch.full((N_CELLS, 6), _LEAST_SPREAD)
        for kind in np.unique(self.kind[rows].numpy()).tolist():
            own = self.strain[rows[self.kind[rows] == kind]]
            mean[kind] = own.mean(0)
            std[kind] = own.std(0, correction=0).clamp(min=_LEAST_SPREAD)
        return mean, std

    def moves(self, rows: Tensor, start: Tensor) -> Tensor:
        """(B, S, 3) from noise (B, S, 3) the shortest way to each crystal."""
        found = torch.zeros_like(start)
        for i, (row, noise) in enumerate(zip(rows.tolist(), start.double().numpy(), strict=True)):
            equivalents = self.equivalents[row]
            size = len(equivalents.kind)
            found[i, :size] = torch.tensor(equivalents.nearest(noise[:size]), dtype=start.dtype)
        return found

    def loss(
        self,
        network: GeometryNetwork,
        rows: Tensor,
        generator: torch.Generator,
        *,
        cell_share: float = 0.2,
    ) -> Tensor:
        """Mean squared error of both velocities at a uniform noise level (flow matching, Lipman et al. 2023).

        Coordinates in units of the distance between atoms, the cell in those of its known spread, and
        weighted with ``cell_share``.
        """
        device = network.cell_mean.device
        sites = self.sites(rows)
        start = torch.rand(sites.free.shape, generator=generator) * sites.free
        moves = sites.without_drift(self.moves(rows, start)).to(device)
        level = torch.rand(len(rows), generator=generator).to(device)
        draws = torch.randn(len(rows), 6, generator=generator).to(device)
        sites, start = sites.to(device), start.to(device)
        drawn, std = network.cell_noise(sites, draws)
        way = self.strain[rows].to(device) - drawn
        strain = drawn + (1 - level[:, None]) * way
        along, rate = network(sites, start + (1 - level[:, None, None]) * moves, strain, level)
        # velocities point towards the noise
        wrong = (sites.push @ (along + moves)[..., None])[..., 0] @ cells(strain, sites.group, sites.volume)
        free, free_cell = sites.free.any(2), free_strains(sites.group)
        coordinates = ((wrong / SPACING) ** 2).sum(2)[free].sum() / free.sum().clamp(min=1)
        total: Tensor = coordinates + cell_share * (((rate + way) / std) ** 2)[free_cell].mean()
        return total


def train_geometry_diffusion(config: GeometryDiffusionConfig, *, progress: Progress) -> Path:
    """Train (or go on training) and write the pipeline, its log and its recipe to ``config.out``.

    A checkpoint is written after every epoch next to the cache; the same config resumes from it.
    """
    from invdesign.generators.geometry.pipeline import GeometryDiffusionPipeline

    progress(0.0, "reading crystals")
    corpus = read_corpus(config.data, config.cache, max_atoms=config.max_atoms, relaxed=config.relaxed)
    data = GeometryData(corpus.tokens)
    train, held_out = (torch.tensor(np.flatnonzero(rows)) for rows in (~corpus.held_out, corpus.held_out))
    torch.manual_seed(config.seed)
    network = GeometryNetwork(config.width, config.depth, config.channels, config.radial, config.directed)
    network.cell_mean[:], network.cell_std[:] = data.spread(train)
    sizes = torch.tensor(corpus.tokens.n_atoms + (corpus.tokens.elements > 0).sum(1))
    loss = partial(data.loss, cell_share=config.cell_share)
    trainer = Trainer(config, network, loss, train, held_out, sizes=sizes, half=False)
    trainer.run(progress)
    pipeline = GeometryDiffusionPipeline.of(trainer.averaged.to("cpu", torch.float16))
    pipeline.save_pretrained(config.out, safe_serialization=True)
    config.write()
    progress(1.0, f"written to {config.out}")
    return config.out


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
