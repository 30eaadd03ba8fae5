"""The gene network as sampling runs it: equal orbits as one token, no padding, tables projected once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from invdesign.generators.gene_diffusion.model import GeneTransformer

Orbits = tuple[tuple[tuple[int, int], int], ...]
"""((element, letter), number of such orbits), 0 where masked."""
Query = tuple[int, int, Orbits]
"""Row of the conditions, space group (0 where masked), orbits."""

_BATCH = 256


class GeneInference:
    """``GeneTransformer.forward`` on a list of distinct genes in the making.

    Attention has no order, so ``n`` equal orbits are one token whose attention weight counts ``n`` times:
    the result is the same, and what is wholly masked costs one token a gene.

    Args:
        network: in eval mode.
        conditions: (K, width) from ``embed_conditions``.
    """

    def __init__(self, network: GeneTransformer, conditions: Tensor) -> None:
        self.network = network
        self.conditions = conditions
        features = network.position_features
        self.letter_in = network.letter.weight + network.position_in(features)  # (231, 28, width)
        self.element_in = network.element.weight + network.element_in(network.element_features)

    def hidden(self, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Last hidden states (tokens, width) of all queries, and the row (Q,) of each one's first token.

        A query's first token is the gene as a whole, the others are its orbits in their order.
        """
        lengths = np.array([1 + len(orbits) for _, _, orbits in queries])
        starts = np.cumsum(lengths) - lengths
        hidden = torch.empty(int(lengths.sum()), self.conditions.shape[1])
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for first in range(0, len(alike), _BATCH):
                rows = alike[first : first + _BATCH]
                places = (starts[rows][:, None] + np.arange(length)).ravel()
                hidden[places] = self._run([queries[row] for row in rows]).flatten(0, 1)
        return hidden, torch.from_numpy(starts)

    def _run(self, queries: Sequence[Query]) -> Tensor:
        """Hidden states (Q, T, width) of queries with equally many tokens."""
        network = self.network
        condition, group = torch.tensor([query[:2] for query in queries]).T
        orbits = torch.tensor([[(*orbit, n) for orbit, n in orbits] for _, _, orbits in queries])
        elements, letters, counts = orbits.unbind(-1)  # (Q, T - 1)
        whole = network.group.weight[group] + network.size.weight[counts.sum(1)]
        parts = self.element_in[elements] + self.letter_in[group[:, None], letters]
        x = torch.cat([whole[:, None], parts], 1) + self.conditions[condition][:, None]
        bias = functional.pad(counts.log(), (1, 0))[:, None, None]  # (Q, 1, 1, T)
        for block in network.blocks.layers:
            x = x + _attention(block, x, bias)
            x = x + block.linear2(functional.gelu(block.linear1(block.norm2(x))))
        return network.norm(x)  # type: ignore[no-any-return]

    def group_logits(self, hidden: Tensor) -> Tensor:
        """(n, 231) of genes as a whole."""
        return self.network.group_head(hidden)  # type: ignore[no-any-return]

    def orbit_logits(self, hidden: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
        """Element (n, 104) and letter (n, 28) logits of orbits in their space groups (n,)."""
        network = self.network
        query = network.letter_query(hidden)
        by_position = network.position_features[group] @ (query @ network.position_key.weight)[..., None]
        letters = query @ network.letter_key.weight.T + by_position[..., 0]
        return network.element_head(hidden), letters / query.shape[-1] ** 0.5


def _attention(block: nn.TransformerEncoderLayer, x: Tensor, bias: Tensor) -> Tensor:
    own = block.self_attn
    count, length, width = x.shape
    heads = (count, length, 3, own.num_heads, width // own.num_heads)
    qkv = functional.linear(block.norm1(x), own.in_proj_weight, own.in_proj_bias)
    q, k, v = qkv.view(heads).permute(2, 0, 3, 1, 4)  # (Q, heads, T, width of a head)
    weights = (q @ k.transpose(2, 3) / heads[-1] ** 0.5 + bias).softmax(-1)
    mixed: Tensor = own.out_proj((weights @ v).transpose(1, 2).reshape(x.shape))
    return mixed
