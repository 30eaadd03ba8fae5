"""The network of gene diffusion: a small transformer over the orbits of a gene, in any order."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from invdesign.crystal.elements import SYMBOLS, element_table
from invdesign.crystal.wyckoff import wyckoff_table
from invdesign.data.tokens import LETTERS

N_GROUPS = 231  # 0 is masked
N_ELEMENTS = len(SYMBOLS)  # 0 is masked
N_LETTERS = len(LETTERS)  # 0 is masked
_MULTIPLICITIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 48)


@cache
def position_tables() -> tuple[Tensor, Tensor, Tensor]:
    """Return what is known of each (space group, letter).

    Returns:
        features (231, 28, f): multiplicity and free coordinates; multiplicity (231, 28) in the primitive
        cell, 0 where the group lacks the letter; fixed (231, 28): no free coordinate, so one orbit at most.
    """
    multiplicity = torch.zeros(N_GROUPS, N_LETTERS, dtype=torch.long)
    n_free = torch.zeros(N_GROUPS, N_LETTERS, dtype=torch.long)
    for group in range(1, N_GROUPS):
        for letter, position in wyckoff_table(group).items():
            multiplicity[group, LETTERS.index(letter)] = len(position.primitive)
            n_free[group, LETTERS.index(letter)] = len(position.free)
    exists = multiplicity > 0
    features = torch.cat(
        [
            torch.stack([multiplicity == m for m in _MULTIPLICITIES], -1).float(),
            torch.stack([(n_free == f) & exists for f in range(4)], -1).float(),
            torch.log1p(multiplicity.float())[..., None],
        ],
        dim=-1,
    )
    return features, multiplicity, exists & (n_free == 0)


def element_features() -> Tensor:
    """(104, f) standardised element properties, zero for the mask."""
    values = element_table().values.copy()
    values[1:] = (values[1:] - values[1:].mean(axis=0)) / (values[1:].std(axis=0) + 1e-9)
    return torch.tensor(values, dtype=torch.float32)


class GeneTransformer(ModelMixin, ConfigMixin):
    """Predicts every masked part of a gene from what is not masked and from the conditions.

    The orbits are a set: there is no positional encoding, so equal orbits in another order are the same
    input. Sizes: B genes, S orbits, C conditions.

    Args:
        conditions: names of the properties it is conditioned on.
        condition_mean, condition_std: their scale; a condition enters as (value - mean) / std.
        condition_quantiles: per condition, values spread as in the training data (zero gaps left out).
        width, depth, heads: of the transformer.
        dropout: in training.
        max_orbits: largest number of orbits that the size head can propose.
    """

    @register_to_config
    def __init__(  # noqa: PLR0917 - diffusers makes the signature the config
        self,
        conditions: tuple[str, ...] = ("band_gap", "e_above_hull", "formation_energy_per_atom", "n_atoms"),
        condition_mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),  # noqa: ARG002 - kept in the config
        condition_std: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),  # noqa: ARG002 - kept in the config
        condition_quantiles: tuple[tuple[float, ...], ...] = (),  # noqa: ARG002 - kept in the config
        width: int = 192,
        depth: int = 4,
        heads: int = 6,
        dropout: float = 0.1,
        max_orbits: int = 20,
    ) -> None:
        super().__init__()
        features, multiplicity, fixed = position_tables()
        self.register_buffer("position_features", features, persistent=False)
        self.register_buffer("multiplicity", multiplicity, persistent=False)
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer("element_features", element_features(), persistent=False)
        self.group = nn.Embedding(N_GROUPS, width)
        self.element = nn.Embedding(N_ELEMENTS, width)
        self.letter = nn.Embedding(N_LETTERS, width)
        self.size = nn.Embedding(max_orbits + 1, width)
        self.position_in = nn.Linear(features.shape[-1], width, bias=False)
        self.element_in = nn.Linear(self.element_features.shape[-1], width, bias=False)
        self.condition_in = nn.ModuleList(
            nn.Sequential(nn.Linear(17, width), nn.SiLU(), nn.Linear(width, width)) for _ in conditions
        )
        self.absent = nn.Parameter(torch.zeros(len(conditions), width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.size_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, max_orbits + 1))
        self.group_head = nn.Linear(width, N_GROUPS)
        self.element_head = nn.Linear(width, N_ELEMENTS)
        self.letter_query = nn.Linear(width, width)
        self.letter_key = nn.Embedding(N_LETTERS, width)
        self.position_key = nn.Linear(features.shape[-1], width, bias=False)

    def embed_conditions(self, values: Tensor, present: Tensor) -> Tensor:
        """(B, width) sum of the conditions' embeddings; ``present`` (B, C) says which are asked for."""
        mean = torch.tensor(self.config["condition_mean"], device=values.device)
        std = torch.tensor(self.config["condition_std"], device=values.device)
        scaled = torch.where(present, (values - mean) / std, torch.zeros_like(values))
        waves = torch.arange(1, 9, device=values.device) * (np.pi / 8)
        angles = scaled[..., None] * waves  # (B, C, 8)
        basis = torch.cat([scaled[..., None], angles.sin(), angles.cos()], -1)  # (B, C, 17)
        total = torch.zeros(len(values), self.absent.shape[1], device=values.device)
        for c, network in enumerate(self.condition_in):
            total = total + torch.where(present[:, c, None], network(basis[:, c]), self.absent[c])
        return total

    def size_logits(self, condition: Tensor) -> Tensor:
        """(B, max_orbits + 1) logits of the number of orbits; 0 orbits is impossible."""
        logits: Tensor = self.size_head(condition).float()
        logits[:, 0] = -torch.inf
        return logits

    def forward(
        self, group: Tensor, elements: Tensor, letters: Tensor, occupied: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of everything, masked or not.

        Args:
            group: (B,) space group, 0 where masked.
            elements: (B, S) tokens, 0 where masked or beyond the last orbit.
            letters: (B, S) likewise.
            occupied: (B, S) True for the gene's orbits, False for padding.
            condition: (B, width) from ``embed_conditions``.

        Returns:
            group (B, 231), element (B, S, 104) and letter (B, S, 28) logits. Impossible choices are
            -inf: the mask token, letters that the group lacks, fixed positions that are taken.
        """
        available = self.position_features[group]  # (B, 28, f)
        chosen = available.gather(1, letters[..., None].expand(-1, -1, available.shape[-1]))  # (B, S, f)
        orbits = (
            self.element(elements)
            + self.element_in(self.element_features[elements])
            + self.letter(letters)
            + self.position_in(chosen)
        )
        whole = self.group(group) + self.size(occupied.sum(1))
        x = torch.cat([whole[:, None], orbits], 1) + condition[:, None]  # (B, 1 + S, width)
        padding = torch.cat([torch.zeros_like(group, dtype=torch.bool)[:, None], ~occupied], 1)
        with sdpa_kernel(SDPBackend.MATH):  # the CPU flash kernel is slower than all else on short sequences
            x = self.norm(self.blocks(x, src_key_padding_mask=padding))
        group_logits = self.group_head(x[:, 0]).float()
        element_logits = self.element_head(x[:, 1:]).float()
        key = self.letter_key.weight + self.position_key(available)  # (B, 28, width)
        letter_logits = (self.letter_query(x[:, 1:]) @ key.transpose(1, 2)).float() / key.shape[-1] ** 0.5
        group_logits[:, 0] = -torch.inf
        element_logits[..., 0] = -torch.inf
        possible = self.possible_letters(group, letters)
        return group_logits, element_logits, letter_logits.masked_fill(~possible[:, None], -torch.inf)

    def possible_letters(self, group: Tensor, letters: Tensor) -> Tensor:
        """(B, 28) letters that the group has and that are not fixed positions already taken."""
        taken = torch.zeros(len(group), N_LETTERS, dtype=torch.bool, device=group.device)
        taken.scatter_(1, letters, True)  # noqa: FBT003 - torch's own signature
        possible: Tensor = (self.multiplicity[group] > 0) & ~(taken & self.fixed[group])
        return possible
