"""Geometry diffusion: lattice and free coordinates of a gene from noise, as a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.generators.geometry.lattice import cells
from invdesign.generators.geometry.model import GeometryNetwork
from invdesign.generators.geometry.sites import Sites, geometries
from invdesign.generators.networks import load_network

STEPS = 5
_BATCH = 64  # crystals of like size together: larger ones pad more


class GeometryDiffusionPipeline(DiffusionPipeline):
    """Samples geometries of genes: free coordinates on their torus, the cell as a strain.

    Args:
        network: gives the velocities.
        coordinate_scheduler, cell_scheduler: one each, they hold state.
    """

    def __init__(
        self,
        network: GeometryNetwork,
        coordinate_scheduler: FlowMatchEulerDiscreteScheduler,
        cell_scheduler: FlowMatchEulerDiscreteScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(
            network=network, coordinate_scheduler=coordinate_scheduler, cell_scheduler=cell_scheduler
        )

    @classmethod
    def of(cls, network: GeometryNetwork) -> GeometryDiffusionPipeline:
        """With fresh schedulers."""
        return cls(network, FlowMatchEulerDiscreteScheduler(), FlowMatchEulerDiscreteScheduler())

    @classmethod
    def load(cls, name: str | Path = "geometry-diffusion") -> GeometryDiffusionPipeline:
        """Load the released model, or one in a folder that ``invdesign train`` wrote.

        Raises:
            InputError: no such folder, or a file of it is missing or cannot be read.
        """
        return cls.of(load_network(GeometryNetwork, name, "network"))

    def __call__(
        self, genes: Sequence[Gene], seeds: Sequence[int | Sequence[int]], *, steps: int = STEPS
    ) -> list[Geometry]:
        """One geometry for each gene, in its order of orbits, from its own seed's noise."""
        return self.draw(genes, seeds, steps=steps)[0]

    @torch.inference_mode()
    def draw(
        self, genes: Sequence[Gene], seeds: Sequence[int | Sequence[int]], *, steps: int = STEPS
    ) -> tuple[list[Geometry], np.ndarray]:
        """Draw geometries, and the shortest distance in each, (B,), over the sum of covalent radii."""
        order = np.argsort([gene.n_atoms + len(gene.orbits) for gene in genes], kind="stable")
        found: dict[int, Geometry] = {}
        contacts = np.zeros(len(genes))
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH].tolist()
            sites = Sites.of_genes([genes[i] for i in rows]).to(self.network.device)
            free, cell = self._sample(sites, [seeds[i] for i in rows], steps)
            found.update(zip(rows, geometries(sites, free, cell), strict=True))
            contacts[rows] = sites.contacts(free.float(), cell.float()).cpu().numpy()
        return [found[i] for i in range(len(genes))], contacts

    def _sample(
        self, sites: Sites, seeds: Sequence[int | Sequence[int]], steps: int
    ) -> tuple[Tensor, Tensor]:
        """Free coordinates (B, S, 3) and conventional cells (B, 3, 3) in Å."""
        network: GeometryNetwork = self.network
        free, draws = _noise(seeds, sites.free.shape[1])
        free = free.to(network.device) * sites.free
        strain, _ = network.cell_noise(sites, draws.to(network.device))
        levels = np.linspace(1.0, 1 / steps, steps)
        for scheduler in (self.coordinate_scheduler, self.cell_scheduler):
            scheduler.set_timesteps(sigmas=levels.tolist())
        for level, time in zip(levels, self.coordinate_scheduler.timesteps, strict=True):
            noise = torch.full((len(seeds),), float(level), device=network.device)
            along, rate = network(sites, free, strain, noise)
            free = self.coordinate_scheduler.step(along, time, free, return_dict=False)[0]
            strain = self.cell_scheduler.step(rate, time, strain, return_dict=False)[0]
        return free.double(), cells(strain.double(), sites.group, sites.volume.double())


def _noise(seeds: Sequence[int | Sequence[int]], width: int) -> tuple[Tensor, Tensor]:
    """Uniform (B, S, 3) and normal (B, 6) draws, each crystal's from its own seed."""
    uniform, normal = np.zeros((len(seeds), width, 3)), np.zeros((len(seeds), 6))
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        normal[i] = rng.standard_normal(6)
        uniform[i] = rng.random((width, 3))
    return torch.tensor(uniform, dtype=torch.float32), torch.tensor(normal, dtype=torch.float32)
