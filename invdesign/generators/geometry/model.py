"""The network of geometry diffusion: messages between orbits through the distances of their atoms.

Every atom of an orbit sees the same local environment up to a rotation, so that one atom of each is enough to
look from; it sees all atoms of the cell and their 27 nearest images. Its environment is scalars, vectors
and tensors, summed over neighbours per radial function and channel (the atomic basis of ACE: Drautz 2019;
MACE: Batatia et al. 2022, with scalar messages). The output moves an atom along its vectors and strains the
cell along its tensors: nothing depends on the origin, on which atom of an orbit is looked from, or on whole
numbers added to coordinates.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from invdesign.crystal.elements import SYMBOLS
from invdesign.data.tokens import LETTERS
from invdesign.generators.gene_diffusion.model import N_GROUPS, element_features
from invdesign.generators.geometry.lattice import BASIS, cells, crystal_system, free_strains
from invdesign.generators.geometry.sites import IMAGES, Sites, covalent_radii

# In sums of covalent radii: centres of the radial functions, and how far an atom sees.
_NEAREST, _FURTHEST, _CUTOFF = 0.3, 1.9, 2.1
_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_PAIR_SCALE = (1.0, 1.0, 1.0, *[2**0.5] * 3)  # then dot products are those of the matrices
_WAVES = 8
SPACING = 2.7  # Å between atoms: the unit of moves
N_CELLS = 24  # crystal systems times kinds of centring


def cell_kind(sites: Sites) -> Tensor:
    """(B,) crystal system and centring: cells of one kind are drawn from one prior."""
    centring = (1 / torch.linalg.det(sites.to_primitive)).abs().round().long()
    kind: Tensor = crystal_system(sites.group) * 4 + centring - 1
    return kind


class Interaction(nn.Module):
    """One round of messages: what surrounds each orbit, as scalars, vectors and tensors."""

    def __init__(self, width: int, channels: int, radial: int, directed: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.send = nn.Linear(width, channels)
        self.vectors = nn.Linear(radial * channels, directed, bias=False)
        self.tensors = nn.Linear(radial * channels, directed, bias=False)
        self.whole = nn.Linear(width, width)
        self.update = nn.Sequential(
            nn.Linear(width + radial * channels + 2 * directed, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, h: Tensor, environment: Tensor, sites: Sites) -> tuple[Tensor, Tensor, Tensor]:
        """Return new states (B, S, width), vectors (B, S, 3, directed) and tensors (B, S, 6, directed).

        Args:
            h: (B, S, width) states of the orbits.
            environment: (B, S, 10, radial, N) from ``GeometryNetwork.environment``.
            sites: the genes.
        """
        b, s, ten, _, n = environment.shape
        state = self.norm(h)
        sent = self.send(state)
        sent = sent.gather(1, sites.orbit[..., None].expand(-1, -1, sent.shape[2]))  # (B, N, channels)
        basis = (environment.reshape(b, -1, n) @ sent).view(b, s, ten, -1)  # (B, S, 10, radial · channels)
        vectors, tensors = self.vectors(basis[:, :, 1:4]), self.tensors(basis[:, :, 4:])
        seen = torch.cat([state, basis[:, :, 0], (vectors**2).sum(2), (tensors**2).sum(2)], 2)
        whole = (state * sites.weight[..., None]).sum(1, keepdim=True)
        return h + self.update(seen) + self.whole(whole), vectors, tensors


class GeometryNetwork(ModelMixin, ConfigMixin):
    """Velocity of the free coordinates and of the cell, from data towards noise, at a noise level.

    Args:
        width: of an orbit's state.
        depth: rounds of messages.
        channels: numbers that an orbit sends.
        radial: radial functions.
        directed: vectors and tensors per orbit and round.
    """

    @register_to_config
    def __init__(
        self, width: int = 128, depth: int = 4, channels: int = 16, radial: int = 10, directed: int = 24
    ) -> None:
        super().__init__()
        self.element = nn.Embedding(len(SYMBOLS), width)
        self.element_in = nn.Linear(element_features().shape[1], width, bias=False)
        self.letter = nn.Embedding(len(LETTERS), width)
        self.group = nn.Embedding(N_GROUPS, width)
        self.share = nn.Linear(2, width, bias=False)
        self.state_in = nn.Sequential(
            nn.Linear(6 + 2 * _WAVES + 1, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.rounds = nn.ModuleList(Interaction(width, channels, radial, directed) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.gates = nn.Linear(width, 2 * directed * depth)
        self.cell_head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 6))
        # mean and spread of known cells, by kind of cell: where the noise of the cell is drawn from
        self.register_buffer("cell_mean", torch.zeros(N_CELLS, 6))
        self.register_buffer("cell_std", torch.ones(N_CELLS, 6))
        self.register_buffer("element_features", element_features(), persistent=False)
        self.register_buffer("radius", covalent_radii().clone(), persistent=False)
        self.register_buffer("centres", torch.linspace(_NEAREST, _FURTHEST, radial), persistent=False)
        self.register_buffer("images", IMAGES.clone(), persistent=False)

    def forward(self, sites: Sites, free: Tensor, strain: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities (B, S, 3) of the free coordinates and (B, 6) of the strain.

        Args:
            sites: the genes.
            free: (B, S, 3) free coordinates; any whole number may be added.
            strain: (B, 6) cell, see ``geometry_lattice``.
            noise: (B,) level, 0 (a crystal) to 1.
        """
        kind = cell_kind(sites)
        cell = cells(strain, sites.group, sites.volume)
        environment = self.environment(sites, free, sites.to_primitive @ cell)
        h = self._start(sites, (strain - self.cell_mean[kind]) / self.cell_std[kind], noise)
        vectors, tensors = [], []
        for layer in self.rounds:
            h, vector, tensor = layer(h, environment, sites)
            vectors.append(vector)
            tensors.append(tensor)
        h = self.norm(h)
        along, strained = self.gates(h)[:, :, None].chunk(2, -1)
        moves = (along * torch.cat(vectors, -1)).sum(-1) * SPACING  # (B, S, 3) Å
        fractional = moves @ torch.linalg.inv(cell)
        moves = (sites.pull @ fractional[..., None])[..., 0] * sites.free

        pooled = (h * sites.weight[..., None]).sum(1)
        stress = ((strained * torch.cat(tensors, -1)).sum(-1) * sites.weight[..., None]).sum(1)  # (B, 6)
        basis = torch.stack([BASIS[:, i, j] for i, j in _PAIRS], 1).to(stress) * torch.tensor(_PAIR_SCALE).to(
            stress
        )
        rate = self.cell_head(pooled) + stress @ basis.T
        return moves, rate * self.cell_std[kind] * free_strains(sites.group)

    def cell_noise(self, sites: Sites, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Strains (B, 6) to start from, for standard normal draws (B, 6); and their standard deviations."""
        kind = cell_kind(sites)
        std = self.cell_std[kind]
        return (self.cell_mean[kind] + std * draws.clamp(-2.5, 2.5)) * free_strains(sites.group), std

    def _start(self, sites: Sites, strain: Tensor, noise: Tensor) -> Tensor:
        """(B, S, width) what each orbit is, in which cell, at which noise level."""
        angles = noise[:, None] * torch.arange(1, _WAVES + 1, device=noise.device) * (np.pi / 2)
        whole = torch.cat([strain, angles.sin(), angles.cos(), noise[:, None]], 1)
        share = torch.stack([sites.weight, sites.free.sum(2) / 3], 2)
        start: Tensor = (
            self.element(sites.elements)
            + self.element_in(self.element_features[sites.elements])
            + self.letter(sites.letters)
            + self.share(share)
            + (self.group(sites.group) + self.state_in(whole))[:, None]
        )
        return start

    @torch.no_grad()
    def environment(self, sites: Sites, free: Tensor, cell: Tensor) -> Tensor:
        """(B, S, 10, radial, N) what an orbit's first atom sees of each atom and its images.

        Per radial function (Gaussians of the distance over the sum of the radii): their number, their
        direction (3) and their directions' outer product (6).
        """
        at = sites.fractional(free)
        b, n, _ = at.shape
        s = sites.elements.shape[1]
        first = at.gather(1, sites.first[..., None].expand(-1, -1, 3))
        gap = at[:, None] - first[:, :, None]  # (B, S, N, 3)
        gap = ((gap - gap.round()) @ cell[:, None]).movedim(-1, 0)[..., None]
        apart = gap + (self.images @ cell).movedim(-1, 0)[:, :, None, None]  # (3, B, S, N, 27) Å
        square = (apart**2).sum(0)
        numbers = sites.elements.gather(1, sites.orbit)
        radii = self.radius[sites.elements][:, :, None] + self.radius[numbers][:, None]  # (B, S, N)
        near = square < (_CUTOFF * radii[..., None]) ** 2
        # an atom does not see itself, and padding neither sees nor is seen
        own = torch.arange(n, device=at.device) == sites.first[..., None]
        near[..., 0] &= ~own
        near &= (sites.atoms[:, None] & (sites.elements > 0)[..., None])[..., None]
        edges = near.flatten().nonzero()[:, 0]  # (E,)
        pair = edges // len(self.images)
        distance = square.flatten()[edges].sqrt()
        unit = apart.reshape(3, -1)[:, edges] / (distance + 1e-6)
        outer = [unit[i] * unit[j] * scale for (i, j), scale in zip(_PAIRS, _PAIR_SCALE, strict=True)]
        seen = torch.stack([torch.ones_like(distance), *unit, *outer], 1)  # (E, 10)
        scaled = (distance / radii.flatten()[pair])[:, None]
        step = self.centres[1] - self.centres[0]
        # shells hold more atoms the wider they are; at the cutoff they fade
        fade = (0.5 + 0.5 * torch.cos(scaled * (np.pi / _CUTOFF))) * 2 / (1 + 3 * self.centres**2)
        waves = torch.exp(-0.5 * ((scaled - self.centres) / step) ** 2) * fade  # (E, radial)
        rows = (seen[:, :, None] * waves[:, None]).flatten(1)
        found = torch.zeros(b * s * n, rows.shape[1], device=at.device).index_add_(0, pair, rows)
        return found.view(b, s, n, 10, -1).permute(0, 1, 3, 4, 2).contiguous()
