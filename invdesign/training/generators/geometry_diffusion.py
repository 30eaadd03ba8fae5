"""How the geometry diffusion model is trained (recipe kind ``geometry-diffusion``)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from invdesign.data.tokens import TokenSet
from invdesign.generators.geometry.lattice import cells, free_strains, strains
from invdesign.generators.geometry.model import N_CELLS, SPACING, GeometryNetwork, cell_kind
from invdesign.generators.geometry.sites import Sites, site_tables
from invdesign.training.generators.corpus import read_corpus
from invdesign.training.generators.geometry_coupling import equivalents_of
from invdesign.training.generators.trainer import Trainer, TrainingConfig

Progress = Callable[[float, str], None]

_LEAST_SPREAD = 0.02  # of a kind of cell of which few are known


class GeometryDiffusionConfig(TrainingConfig):
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
        network: Any,  # noqa: ANN401 - any module to the trainer
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

    A checkpoint is written after every epoch beside the cache; the same config resumes from it.
    """
    import yaml

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
    trained = cast("GeometryNetwork", trainer.averaged.to("cpu", torch.float16))
    pipeline = GeometryDiffusionPipeline.of(trained)
    pipeline.save_pretrained(config.out, safe_serialization=True)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(1.0, f"written to {config.out}")
    return config.out
