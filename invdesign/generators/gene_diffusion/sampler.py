"""Sampling of genes by unmasking their parts, within what the prompt allows.

``GeneInference`` is the network as sampling runs it: it takes equal orbits as one token, pads nothing and
projects its tables once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from invdesign.generators.gene_diffusion.constraints import PartialGene, Rules
from invdesign.generators.gene_diffusion.model import GeneTransformer

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
            equal = np.flatnonzero(lengths == length)
            for first in range(0, len(equal), _BATCH):
                rows = equal[first : first + _BATCH]
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


_NEARLY_INDEPENDENT = 1.0
"""Nats by which parts drawn in one step may depend on one another at most."""


@dataclass(frozen=True)
class Mixture:
    """The passes whose weighted sum guides a sample.

    Attributes:
        weights: (P,) with sum 1; the first pass has every condition that is asked for.
        values: (B, C) conditions of each gene.
        present: (P, B, C) bool, which of them a pass is given.
    """

    weights: Tensor
    values: Tensor
    present: Tensor


class _Part(NamedTuple):
    """What is masked: an orbit's element or its letter, and the row of its logits."""

    slot: int
    is_letter: bool
    row: int


class GeneSampler:
    """A batch of genes being unmasked: number of orbits, space group, then elements and letters.

    Where the prompt fixes a formula, the elements come before the space group, which depends on them.

    Orbits are a set, so they are filled one after the other, element and letter in random order; parts
    whose joint draw loses little (``_NEARLY_INDEPENDENT``) are drawn in one step, as in Ben-Hamu et al.
    2025 (entropy-bounded unmasking).

    Args:
        network: the denoiser, in eval mode.
        mixture: conditions and guidance.
        rules: of the prompt; every choice keeps to them, so every gene satisfies it.
        temperature: of every draw.
        rng: source of randomness.
    """

    def __init__(
        self,
        network: GeneTransformer,
        mixture: Mixture,
        *,
        rules: Rules,
        temperature: float,
        rng: np.random.Generator,
    ) -> None:
        self.network = network
        self.rules = rules
        self.temperature = temperature
        self.rng = rng
        self.weights = mixture.weights
        present = mixture.present.float()
        asked = torch.cat([mixture.values * present, present], -1)  # (P, B, 2 C)
        distinct, rows = torch.unique(asked.flatten(0, 1), dim=0, return_inverse=True)
        values, present = distinct.chunk(2, -1)
        self.conditions = rows.view(asked.shape[:2]).tolist()  # [P][B] rows of the inference's conditions
        self.inference = GeneInference(network, network.embed_conditions(values, present.bool()))

    @torch.inference_mode()
    def sample(self) -> list[PartialGene]:
        """Genes with nothing masked."""
        drafts = self._start()
        if self.rules.elements_first:
            self._unmask_all(drafts)
        self._draw_groups(drafts)
        self._unmask_all(drafts)
        return drafts

    def _start(self) -> list[PartialGene]:
        """Draw numbers of orbits."""
        # without guidance, which drives the size to the largest that the data hold
        logits = self.network.size_logits(self.inference.conditions[self.conditions[0]])
        possible = np.asarray(self.rules.plans.any(axis=1))[: logits.shape[1]]
        return [self.rules.start(0, size) for size in self._draw(logits, possible)]

    def _draw_groups(self, drafts: Sequence[PartialGene]) -> None:
        hidden, starts = self._hidden(range(len(drafts)), ((0, _kinds(draft)) for draft in drafts))
        logits = self.inference.group_logits(self._guided(hidden, starts))
        allowed = np.stack([self.rules.groups(draft) for draft in drafts])
        for draft, group in zip(drafts, self._draw(logits, allowed), strict=True):
            draft.group = group

    def _unmask_all(self, drafts: Sequence[PartialGene]) -> None:
        """Draw elements and, where the space group is known, letters."""
        while masked := [i for i, draft in enumerate(drafts) if draft.masked]:
            self._unmask(masked, [drafts[i] for i in masked])

    def _unmask(self, genes: Sequence[int], drafts: Sequence[PartialGene]) -> None:
        """Draw one part of each gene, or several that are nearly independent."""
        kinds = [_kinds(draft) for draft in drafts]
        states = [(draft.group, kind) for draft, kind in zip(drafts, kinds, strict=True)]
        hidden, starts = self._hidden(genes, states)
        masked = [
            (i, token, orbit)
            for i, kind in enumerate(kinds)
            for token, (orbit, _) in enumerate(kind, start=1)
            if 0 in orbit
        ]
        rows = {(i, orbit): row for row, (i, _, orbit) in enumerate(masked)}
        owner, token = torch.tensor([where[:2] for where in masked]).T
        group = torch.tensor([draft.group for draft in drafts])[owner]
        orbits = self._guided(hidden, starts[:, owner] + token)
        by_kind = [x / self.temperature for x in self.inference.orbit_logits(orbits, group)]
        by_kind[1].masked_fill_(self.network.multiplicity[group] == 0, -torch.inf)
        entropies = [torch.special.entr(x.softmax(-1)).sum(-1).tolist() for x in by_kind]
        logits = [x.numpy() for x in by_kind]
        for i, draft in enumerate(drafts):
            total = most = 0.0
            for part in self._masked_parts(
                draft, {orbit: rows[i, orbit] for orbit, _ in kinds[i] if 0 in orbit}
            ):
                entropy = entropies[part.is_letter][part.row]
                total, most = total + entropy, max(most, entropy)
                if total - most > _NEARLY_INDEPENDENT:
                    break
                self._fill(draft, part, logits[part.is_letter][part.row])

    def _masked_parts(self, draft: PartialGene, rows: dict[tuple[int, int], int]) -> list[_Part]:
        parts = []
        for slot, orbit in enumerate(zip(draft.elements, draft.letters, strict=True)):
            if 0 in orbit:
                kinds = (0, 1) if draft.group else (0,)
                own = [_Part(slot, bool(w), rows[orbit]) for w in kinds if orbit[w] == 0]
                parts += own[::-1] if self.rng.random() < 0.5 else own
        return parts

    def _fill(self, draft: PartialGene, part: _Part, logits: NDArray[np.float32]) -> None:
        rules = self.rules
        allowed = (rules.letters if part.is_letter else rules.elements)(draft, part.slot)
        choice = int(self._gumbel_max(logits, allowed))
        if part.is_letter:
            draft.letters[part.slot] = choice
            return
        if claims := rules.claims(draft, part.slot, choice):
            draft.amounts[choice] = int(self.rng.choice(claims))
        draft.elements[part.slot] = choice

    def _hidden(self, genes: Iterable[int], states: Iterable[tuple[int, Orbits]]) -> tuple[Tensor, Tensor]:
        """Hidden states of every pass and (P, B) each gene's first row; equal queries are run once."""
        queries: dict[Query, int] = {}
        pairs = list(zip(genes, states, strict=True))
        rows = [
            [queries.setdefault((own[gene], *state), len(queries)) for gene, state in pairs]
            for own in self.conditions
        ]
        hidden, starts = self.inference.hidden(list(queries))
        return hidden, starts[torch.tensor(rows)]

    def _guided(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Sum of the passes' states (P, n) → (n, width); as the heads are linear, that of their logits."""
        return torch.einsum("p,pnw->nw", self.weights, hidden[rows])

    def _draw(self, logits: Tensor, allowed: NDArray[np.bool_]) -> list[int]:
        choices: list[int] = self._gumbel_max((logits / self.temperature).numpy(), allowed).tolist()
        return choices

    def _gumbel_max(self, logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> Any:  # noqa: ANN401
        """Return a draw from the softmax of what is allowed, along the last axis."""
        return np.where(allowed, logits + self.rng.gumbel(size=logits.shape), -np.inf).argmax(-1)


def _kinds(draft: PartialGene) -> Orbits:
    return tuple(sorted(Counter(zip(draft.elements, draft.letters, strict=True)).items()))
