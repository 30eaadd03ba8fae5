"""The network of crystal-vae: crystals to latents and back, and properties from latents."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from invdesign.data.tokens import TokenSet
from invdesign.generators.gene_diffusion.model import (
    N_ELEMENTS,
    N_GROUPS,
    N_LETTERS,
    element_features,
    position_tables,
)
from invdesign.generators.geometry.lattice import strains
from invdesign.generators.geometry.sites import Sites, site_tables


@dataclass(frozen=True)
class CrystalArrays:
    """N crystals of at most S orbits, in the order of their genes.

    Attributes:
        group: (N,) space group.
        elements: (N, S) atomic numbers, 0 beyond the last orbit.
        letters: (N, S) index into ``LETTERS``, 0 beyond the last orbit.
        free: (N, S, 3) free coordinates, left-aligned, 0 where there is none.
        cell: (N, 6) strains of ``geometry.lattice`` against ``volume_estimate``, 0 where symmetry fixes them.
    """

    group: Tensor
    elements: Tensor
    letters: Tensor
    free: Tensor
    cell: Tensor

    def __len__(self) -> int:
        return len(self.group)

    @property
    def occupied(self) -> Tensor:
        """(N, S) True for orbits, False for padding."""
        return self.elements > 0

    def select(self, rows: Tensor) -> CrystalArrays:
        """Select some crystals, without padding that none of them needs."""
        width = int((self.elements[rows] > 0).sum(1).max())
        return CrystalArrays(
            self.group[rows],
            self.elements[rows, :width],
            self.letters[rows, :width],
            self.free[rows, :width],
            self.cell[rows],
        )

    def to(self, device: torch.device) -> CrystalArrays:
        """Move to another device."""
        return CrystalArrays(*(getattr(self, field.name).to(device) for field in fields(self)))


def crystals_of(tokens: TokenSet) -> CrystalArrays:
    """Return the arrays of a token set."""
    group, elements, letters = (
        torch.from_numpy(array.astype(np.int64))
        for array in (tokens.space_group, tokens.elements, tokens.letters)
    )
    estimate = Sites.of_tokens(group, elements, letters).volume.double()
    lattice = torch.from_numpy(tokens.lattice.astype(np.float64))
    return CrystalArrays(
        group,
        elements,
        letters,
        torch.from_numpy(np.nan_to_num(tokens.free).astype(np.float32)),
        strains(lattice, group, estimate).float(),
    )


N_STRAINS = 6
STOP = 0  # the letter after the last orbit
_HARMONICS = 2
_SHARPEST = 500.0  # concentration of a coordinate's von Mises distribution: 0.007 of a cell
_LEAST_SIGMA = 0.01  # of the cell's strains


class OrbitEmbedding(nn.Module):
    """Space groups, elements and Wyckoff positions as vectors; shared by encoder and decoders."""

    elements_known: Tensor
    positions_known: Tensor

    def __init__(self, width: int, max_orbits: int) -> None:
        super().__init__()
        self.register_buffer("elements_known", element_features(), persistent=False)
        self.register_buffer("positions_known", position_tables()[0][..., :-1], persistent=False)
        self.group = nn.Embedding(N_GROUPS, width)
        self.element = nn.Embedding(N_ELEMENTS, width)
        self.letter = nn.Embedding(N_LETTERS, width)
        self.place = nn.Embedding(max_orbits + 1, width)
        self.element_in = nn.Linear(self.elements_known.shape[-1], width, bias=False)
        self.position_in = nn.Linear(self.positions_known.shape[-1], width, bias=False)

    def element_table(self) -> Tensor:
        """(104, width)."""
        table: Tensor = self.element.weight + self.element_in(self.elements_known)
        return table

    def letter_table(self, group: Tensor) -> Tensor:
        """(B, 28, width) every position of each crystal's space group."""
        table: Tensor = self.letter.weight + self.position_in(self.positions_known[group])
        return table

    def positions(self, group: Tensor, letters: Tensor) -> Tensor:
        """(B, S, width) of the letters (B, S)."""
        known = self.positions_known[group[:, None], letters]
        chosen: Tensor = self.letter(letters) + self.position_in(known)
        return chosen

    def forward(self, group: Tensor, elements: Tensor, letters: Tensor) -> Tensor:
        """(B, S, width) of the orbits, in their order."""
        kinds = self.element(elements) + self.element_in(self.elements_known[elements])
        places = self.place.weight[: elements.shape[1]]
        orbits: Tensor = kinds + self.positions(group, letters) + places
        return orbits


class CrystalVAENetwork(ModelMixin, ConfigMixin):
    """Encoder, autoregressive decoder of the gene, decoder of the geometry, property heads.

    The gene is decoded in its own order: space group, then orbit by orbit the Wyckoff letter and the element
    on it, then a stop. The geometry is decoded at once, given the gene: a normal distribution for each strain
    of the cell, a von Mises distribution for each free coordinate. Sizes: B crystals, S orbits, C conditions,
    d latent dimensions.

    Args:
        conditions: names of the properties that condition the decoder and that the heads predict.
        condition_mean, condition_std: their scale; a condition enters as (value - mean) / std.
        width, heads: of all transformers.
        encoder_depth, decoder_depth, geometry_depth: their layers.
        latent_tokens: tokens that carry the latent between encoder and decoders.
        latent_size: d, a multiple of ``latent_tokens``.
        max_orbits: most orbits of a gene.
        n_landmarks: training crystals whose latents, properties (NaN where unknown) and elements are kept
            with the weights.
    """

    mean: Tensor
    std: Tensor
    landmarks: Tensor
    landmark_conditions: Tensor
    landmark_elements: Tensor
    n_free: Tensor
    exists: Tensor

    @register_to_config
    def __init__(  # noqa: PLR0917 - diffusers makes the signature the config
        self,
        conditions: tuple[str, ...] = ("band_gap", "e_above_hull", "formation_energy_per_atom", "n_atoms"),
        condition_mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
        condition_std: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
        width: int = 128,
        heads: int = 4,
        encoder_depth: int = 3,
        decoder_depth: int = 3,
        geometry_depth: int = 2,
        latent_tokens: int = 4,
        latent_size: int = 128,
        max_orbits: int = 20,
        n_landmarks: int = 4096,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(condition_mean), persistent=False)
        self.register_buffer("std", torch.tensor(condition_std), persistent=False)
        self.register_buffer("landmarks", torch.zeros(n_landmarks, latent_size))
        self.register_buffer("landmark_conditions", torch.zeros(n_landmarks, len(conditions)))
        self.register_buffer("landmark_elements", torch.zeros(n_landmarks, N_ELEMENTS, dtype=torch.bool))
        self.register_buffer("n_free", site_tables().free.sum(-1), persistent=False)
        self.register_buffer("exists", site_tables().count > 0, persistent=False)
        self.embedding = OrbitEmbedding(width, max_orbits)
        part = latent_size // latent_tokens

        self.queries = nn.Parameter(torch.randn(latent_tokens, width) / width**0.5)
        self.cell_in = nn.Linear(N_STRAINS, width)
        self.free_in = nn.Linear(3 * (2 * _HARMONICS), width, bias=False)
        self.encoder = _transformer(width, heads, encoder_depth)
        self.latent_out = nn.Linear(width, 2 * part)

        self.latent_in = nn.Linear(part, width)
        self.latent_place = nn.Parameter(torch.randn(latent_tokens, width) / width**0.5)
        self.condition_in = nn.Sequential(
            nn.Linear(2 * len(conditions), width), nn.SiLU(), nn.Linear(width, width)
        )
        self.start = nn.Parameter(torch.zeros(width))
        self.decoder = _transformer(width, heads, decoder_depth)
        self.group_head = nn.Linear(width, N_GROUPS)
        self.letter_query = nn.Linear(width, width)
        self.element_query = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.element_bias = nn.Parameter(torch.zeros(N_ELEMENTS))

        self.geometry = _transformer(width, heads, geometry_depth)
        self.cell_head = nn.Linear(width, 2 * N_STRAINS)
        self.free_head = nn.Linear(width, 3 * 3)

        self.property_head = nn.Sequential(
            *(nn.Linear(latent_size, 4 * width), nn.SiLU()),
            *(nn.Linear(4 * width, 4 * width), nn.SiLU()),
            nn.Linear(4 * width, len(conditions)),
        )

    def encode(self, crystals: CrystalArrays) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, (B, d) each."""
        angles = 2 * torch.pi * crystals.free
        waves = torch.cat(
            [wave(k * angles) for k in range(1, _HARMONICS + 1) for wave in (torch.sin, torch.cos)], -1
        )
        open_ = self.is_free(crystals).repeat(1, 1, 2 * _HARMONICS)
        orbits = self.embedding(crystals.group, crystals.elements, crystals.letters)
        orbits = orbits + self.free_in(waves * open_)
        whole = self.embedding.group(crystals.group) + self.cell_in(crystals.cell)
        queries = self.queries.expand(len(crystals), -1, -1)
        x = _run(self.encoder, torch.cat([queries, whole[:, None], orbits], 1), crystals.occupied)
        mean, log_var = self.latent_out(x[:, : self.queries.shape[0]]).float().chunk(2, -1)
        return mean.flatten(1), log_var.flatten(1).clamp(-10, 4)

    def is_free(self, crystals: CrystalArrays) -> Tensor:
        """(B, S, 3) which of the free coordinates are there."""
        count = self.n_free[crystals.group[:, None], crystals.letters]
        there: Tensor = count[..., None] > torch.arange(3, device=count.device)
        return there

    def condition(self, values: Tensor, present: Tensor) -> Tensor:
        """(B, width) of conditions (B, C) in their units, and of which are asked for."""
        scaled = torch.where(present, (values - self.mean) / self.std, torch.zeros_like(values))
        embedded: Tensor = self.condition_in(torch.cat([scaled, present.float()], -1))
        return embedded

    def read(
        self, latents: Tensor, condition: Tensor, group: Tensor, elements: Tensor, letters: Tensor
    ) -> Tensor:
        """(B, 2 + S, width): what the decoder knows before the space group, before the first orbit, ….

        Args:
            latents: (B, d).
            condition: (B, width) from ``condition``.
            group: (B,); does not bear on the first of the outputs.
            elements: (B, S); orbit s bears on the outputs after it alone.
            letters: (B, S), likewise.
        """
        prefix = torch.cat([self._latent_tokens(latents), self.start.expand(len(latents), 1, -1)], 1)
        prefix = prefix + condition[:, None]
        orbits = self.embedding(group, elements, letters)
        x = torch.cat([prefix, self.embedding.group(group)[:, None], orbits], 1)
        n_prefix = prefix.shape[1]
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        hidden[:n_prefix, :n_prefix] = False
        with sdpa_kernel(SDPBackend.MATH):
            x = self.decoder(x, mask=hidden)
        states: Tensor = x[:, n_prefix - 1 :]
        return states

    def group_logits(self, states: Tensor) -> Tensor:
        """(B, 231) from the first state (B, width)."""
        logits: Tensor = self.group_head(states).float()
        return logits.index_fill(-1, torch.tensor([0], device=logits.device), -torch.inf)

    def letter_logits(self, states: Tensor, group: Tensor, previous: Tensor) -> Tensor:
        """(B, T, 28) of the letter after each state; ``STOP`` ends the gene.

        Args:
            states: (B, T, width).
            group: (B,).
            previous: (B, T) the letter before, 0 before the first orbit; letters never descend.
        """
        key = self.embedding.letter_table(group)
        logits: Tensor = (self.letter_query(states) @ key.transpose(1, 2)).float() / key.shape[-1] ** 0.5
        return logits.masked_fill(~self.possible_letters(group, previous), -torch.inf)

    def possible_letters(self, group: Tensor, previous: Tensor) -> Tensor:
        """(B, T, 28) letters not before ``previous``, nor the same where it has no free coordinate."""
        letter = torch.arange(N_LETTERS, device=group.device)
        once = (self.n_free[group[:, None], previous] == 0)[..., None]
        later = (letter > previous[..., None]) | ((letter == previous[..., None]) & ~once)
        possible: Tensor = self.exists[group][:, None] & later
        possible[..., STOP] = previous > 0
        return possible

    def element_logits(self, states: Tensor, group: Tensor, letters: Tensor) -> Tensor:
        """(B, T, 104) of the element on each of the letters (B, T)."""
        position = self.embedding.positions(group, letters)
        query = self.element_query(torch.cat([states, position], -1))
        table = self.embedding.element_table()
        logits: Tensor = (query @ table.T).float() / table.shape[-1] ** 0.5 + self.element_bias
        return logits.index_fill(-1, torch.tensor([0], device=logits.device), -torch.inf)

    def geometry_of(
        self, latents: Tensor, group: Tensor, elements: Tensor, letters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distributions of cells and free coordinates of genes.

        Returns:
            Mean and sigma (B, 6) of the cell's strains; direction (B, S, 3, 2), a unit vector, and
            concentration (B, S, 3) of each free coordinate's angle 2πx.
        """
        orbits = self.embedding(group, elements, letters)
        tokens = self._latent_tokens(latents)
        whole = self.embedding.group(group)[:, None]
        x = _run(self.geometry, torch.cat([tokens, whole, orbits], 1), elements > 0)
        mean, spread = self.cell_head(x[:, tokens.shape[1]]).float().chunk(2, -1)
        free = self.free_head(x[:, tokens.shape[1] + 1 :]).float()
        free = free.reshape(*free.shape[:2], 3, 3)
        direction = free[..., :2] / (free[..., :2].norm(dim=-1, keepdim=True) + 1e-6)
        sigma = nn.functional.softplus(spread) + _LEAST_SIGMA
        return mean, sigma, direction, _SHARPEST * torch.sigmoid(free[..., 2] - 6) + 0.01

    def properties(self, latents: Tensor) -> Tensor:
        """(B, C) what the heads expect, in the conditions' units."""
        expected: Tensor = self.property_head(latents) * self.std + self.mean
        return expected

    def _latent_tokens(self, latents: Tensor) -> Tensor:
        parts = latents.reshape(len(latents), self.latent_place.shape[0], -1)
        tokens: Tensor = self.latent_in(parts) + self.latent_place
        return tokens


def _transformer(width: int, heads: int, depth: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, 0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)


def _run(transformer: nn.TransformerEncoder, x: Tensor, occupied: Tensor) -> Tensor:
    """All tokens see all; the last S of them are orbits, some of them padding."""
    there = torch.ones(len(x), x.shape[1] - occupied.shape[1], dtype=torch.bool, device=x.device)
    with sdpa_kernel(SDPBackend.MATH):  # the CPU flash kernel is slow on short sequences
        return transformer(x, src_key_padding_mask=~torch.cat([there, occupied], 1))  # type: ignore[no-any-return]
