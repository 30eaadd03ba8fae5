"""Sampling of genes by unmasking one part at a time, within what the prompt allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from invdesign.generators.gene_transformer import N_ELEMENTS, N_GROUPS

if TYPE_CHECKING:
    from torch import Tensor

    from invdesign.generators.gene_transformer import GeneTransformer


_NEVER = 1000
_LIKE_SIZES = 64


@dataclass(frozen=True)
class Prompt:
    """What every sampled gene must satisfy.

    Attributes:
        groups: (231,) bool, allowed space groups.
        elements: (104,) bool, allowed elements.
        required: (104,) bool, elements that must occur.
        max_atoms: atoms in the primitive cell.
    """

    groups: Tensor
    elements: Tensor
    required: Tensor
    max_atoms: int

    @classmethod
    def free(cls, max_atoms: int = 20) -> Prompt:
        """Nothing is fixed."""
        return cls(
            torch.ones(N_GROUPS, dtype=torch.bool),
            torch.ones(N_ELEMENTS, dtype=torch.bool),
            torch.zeros(N_ELEMENTS, dtype=torch.bool),
            max_atoms,
        )


class GeneSampler:
    """One batch of genes being unmasked: number of orbits, then space group, then the rest in random order.

    Args:
        network: the denoiser.
        values, present: (B, C) conditions and which of them are asked for.
        guidance: classifier-free guidance weight; 0 is the conditional model itself, -1 the unconditional.
        prompt: what is fixed.
        temperature: of every draw.
        generator: source of randomness.
    """

    def __init__(
        self,
        network: GeneTransformer,
        values: Tensor,
        present: Tensor,
        *,
        guidance: float,
        prompt: Prompt,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.guidance = guidance
        self.prompt = prompt
        self.temperature = temperature
        self.generator = generator
        self.condition = network.embed_conditions(values, present)
        self.unconditional = network.embed_conditions(values, torch.zeros_like(present))

    @torch.inference_mode()
    def sample(self) -> tuple[Tensor, Tensor, Tensor]:
        """Space groups (B,), elements (B, S) and letters (B, S), 0 beyond the last orbit."""
        sizes = self._draw_sizes()
        shape = (len(sizes), int(sizes.max()))
        groups = torch.zeros(len(sizes), dtype=torch.long)
        elements, letters = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        # genes of like size together: less padding
        for rows in torch.split(sizes.argsort(stable=True), _LIKE_SIZES):
            width = int(sizes[rows].max())
            groups[rows], elements[rows, :width], letters[rows, :width] = self._unmask(rows, sizes[rows])
        return groups, elements, letters

    def _unmask(self, genes: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count, width = len(genes), int(sizes.max())
        occupied = torch.arange(width)[None] < sizes[:, None]  # (b, S)
        elements = torch.zeros(count, width, dtype=torch.long)
        letters = torch.zeros(count, width, dtype=torch.long)
        groups = torch.zeros(count, dtype=torch.long)
        logits, _, _ = self._logits(genes, groups, elements, letters, occupied)
        groups = self._draw(self._roomy_groups(logits, sizes))
        # each gene's own order over its 2 x size parts: elements first S, letters last S
        order = torch.rand(count, 2 * width, generator=self.generator)
        order = order.masked_fill(~torch.cat([occupied, occupied], 1), 2.0).argsort(1)
        for step in range(2 * width):
            rows = (2 * sizes > step).nonzero()[:, 0]
            part = order[rows, step]
            _, element_logits, letter_logits = self._logits(
                genes[rows], groups[rows], elements[rows], letters[rows], occupied[rows]
            )
            is_letter, slot, here = part >= width, part % width, torch.arange(len(rows))
            element = self._draw(
                self._allowed_elements(element_logits[here, slot], elements[rows], sizes[rows])
            )
            letter = self._draw(
                self._affordable_letters(letter_logits[here, slot], groups[rows], letters[rows], sizes[rows])
            )
            elements[rows[~is_letter], slot[~is_letter]] = element[~is_letter]
            letters[rows[is_letter], slot[is_letter]] = letter[is_letter]
        return groups, elements, letters

    def _logits(
        self, rows: Tensor, groups: Tensor, elements: Tensor, letters: Tensor, occupied: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = (groups, elements, letters, occupied)
        if self.guidance == 0:
            return self.network(*inputs, self.condition[rows])  # type: ignore[no-any-return]
        doubled = [torch.cat([x, x]) for x in inputs]
        both = self.network(*doubled, torch.cat([self.condition[rows], self.unconditional[rows]]))
        guided = []
        for logits in both:
            asked, free = logits.log_softmax(-1).chunk(2)
            difference = torch.where(asked.isinf(), torch.zeros_like(asked), asked - free)
            guided.append(asked + self.guidance * difference)
        return guided[0], guided[1], guided[2]

    def _draw_sizes(self) -> Tensor:
        # guidance drives the size to the largest that the data hold (11 orbits on average at weight 2)
        logits = self.network.size_logits(self.unconditional if self.guidance == -1 else self.condition)
        logits[:, : max(1, int(self.prompt.required.sum()))] = -torch.inf
        logits[:, self.prompt.max_atoms + 1 :] = -torch.inf
        return self._draw(logits)

    def _draw(self, logits: Tensor) -> Tensor:
        return torch.multinomial((logits / self.temperature).softmax(-1), 1, generator=self.generator)[:, 0]

    def _allowed_elements(self, logits: Tensor, elements: Tensor, sizes: Tensor) -> Tensor:
        """Where as many open orbits are left as required elements are missing, only those are allowed."""
        present = torch.zeros(len(elements), N_ELEMENTS, dtype=torch.bool)
        present.scatter_(1, elements, True)  # noqa: FBT003 - torch's own signature
        missing = self.prompt.required & ~present
        open_orbits = sizes - (elements > 0).sum(1)
        forced = missing.sum(1) >= open_orbits
        allowed = torch.where((forced & missing.any(1))[:, None], missing, self.prompt.elements)
        return logits.masked_fill(~allowed, -torch.inf)

    def _roomy_groups(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """Only groups of the prompt, and of them those where so many orbits fit into ``max_atoms``."""
        network, prompt = self.network, self.prompt
        exists = network.multiplicity > 0
        by_size = [
            least_atoms(network.multiplicity, exists, network.fixed, torch.full((N_GROUPS,), size))
            for size in range(int(sizes.max()) + 1)
        ]
        roomy = (torch.stack(by_size) <= prompt.max_atoms)[sizes] & prompt.groups  # (B, 231)
        # where the prompt's groups have no room for this many orbits, the target's verdict says so
        roomy = torch.where(roomy.any(1, keepdim=True), roomy, prompt.groups)
        return logits.masked_fill(~roomy, -torch.inf)

    def _affordable_letters(self, logits: Tensor, groups: Tensor, letters: Tensor, sizes: Tensor) -> Tensor:
        """Without letters that leave too little of ``max_atoms`` to the open orbits, if others are left."""
        multiplicity = self.network.multiplicity[groups]  # (B, 28)
        possible = ~logits.isinf()
        used = multiplicity.gather(1, letters).sum(1)
        open_orbits = sizes - (letters > 0).sum(1)
        reserve = least_atoms(
            multiplicity, possible, self.network.fixed[groups], (open_orbits - 1).clamp(min=0)
        )
        room = self.prompt.max_atoms - used - reserve
        tight = logits.masked_fill(multiplicity > room[:, None], -torch.inf)
        least = multiplicity.masked_fill(~possible, _NEVER).min(1).values
        smallest = logits.masked_fill(multiplicity > least[:, None], -torch.inf)
        return torch.where(tight.isinf().all(1, keepdim=True), smallest, tight)


def least_atoms(multiplicity: Tensor, available: Tensor, fixed: Tensor, count: Tensor) -> Tensor:
    """Fewest atoms that ``count`` more orbits take.

    Args:
        multiplicity: (B, 28) atoms of each letter.
        available: (B, 28) letters that may be taken.
        fixed: (B, 28) letters that may be taken once only.
        count: (B,) orbits to fill.

    Returns:
        (B,) atoms; at least 1000 where they cannot be filled at all.
    """
    once = multiplicity.masked_fill(~(available & fixed), _NEVER).sort(1).values.cumsum(1)
    once = torch.cat([torch.zeros_like(count)[:, None], once], 1)  # (B, 29): the n smallest fixed ones
    again = multiplicity.masked_fill(~available | fixed, _NEVER).min(1).values
    taken = torch.arange(once.shape[1])
    total = once + (count[:, None] - taken).clamp(min=0) * again[:, None]
    return total.masked_fill(taken > count[:, None], _NEVER * 100).min(1).values
