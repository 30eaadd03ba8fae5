"""From latents to genes and geometries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from invdesign.crystal.elements import SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import substituted
from invdesign.data.tokens import LETTERS
from invdesign.generators.crystal_vae.constraints import possible_groups, start
from invdesign.generators.crystal_vae.model import STOP, CrystalVAENetwork
from invdesign.generators.gene_diffusion.constraints import Prompt
from invdesign.generators.geometry.lattice import cells, free_strains
from invdesign.generators.geometry.sites import Sites, geometries

# Two atoms closer than this share of the sum of their covalent radii are drawn again.
CLOSEST = 0.75
_ATTEMPTS = 16
_STRETCHED = 1.1  # most that a cramped cell's edges grow by
# Largest strains: twice the expected volume (or half), and seven times as long as wide.
_STRAINED = torch.tensor([0.25, 2.0, 2.0, 1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Choice:
    """How a decoder's choices are made.

    Attributes:
        temperature: 0: the likeliest always.
        generator, rng: sources of randomness.
    """

    temperature: float
    generator: torch.Generator
    rng: np.random.Generator

    @classmethod
    def seeded(cls, temperature: float, rng: np.random.Generator) -> Choice:
        """With torch's randomness seeded from numpy's."""
        return cls(temperature, torch.Generator().manual_seed(int(rng.integers(2**62))), rng)

    def draw(self, logits: Tensor) -> Tensor:
        """(B,) indices from (B, K) logits."""
        if self.temperature == 0:
            return logits.argmax(-1)
        shares = (logits / self.temperature).softmax(-1)
        return torch.multinomial(shares, 1, generator=self.generator)[:, 0]


@torch.inference_mode()
def decode_genes(
    network: CrystalVAENetwork, latents: Tensor, condition: Tensor, prompt: Prompt, choice: Choice
) -> tuple[Tensor, Tensor, Tensor]:
    """Space groups (B,), elements and letters (B, S), 0 beyond the last orbit, as the prompt asks.

    Args:
        network: the decoder.
        latents: (B, d).
        condition: (B, width) from ``network.condition``.
        prompt: what every gene satisfies; some space group must be possible.
        choice: how to choose.
    """
    count = len(latents)
    elements = torch.zeros(count, 0, dtype=torch.long)
    letters = torch.zeros(count, 0, dtype=torch.long)
    nothing = torch.zeros(count, dtype=torch.long)
    states = network.read(latents, condition, nothing, elements, letters)
    group = choice.draw(_only(network.group_logits(states[:, 0]), possible_groups(prompt)))
    drafts = [start(prompt, number, choice.rng) for number in group.tolist()]
    rows = torch.arange(count)
    while len(rows):
        elements, letters = (torch.nn.functional.pad(array, (0, 1)) for array in (elements, letters))
        inputs = (group[rows], elements[rows, :-1], letters[rows, :-1])
        states = network.read(latents[rows], condition[rows], *inputs)[:, -1:]
        before = inputs[2][:, -1:] if inputs[2].shape[1] else nothing[rows, None]
        logits = network.letter_logits(states, group[rows], before)[:, 0]
        letter = choice.draw(_only(logits, np.array([drafts[i].letters() for i in rows.tolist()])))
        going = letter != STOP
        rows, letter, states = rows[going], letter[going], states[going]
        if not len(rows):
            break
        logits = network.element_logits(states, group[rows], letter[:, None])[:, 0]
        chosen = list(zip(rows.tolist(), letter.tolist(), strict=True))
        element = choice.draw(_only(logits, np.array([drafts[i].elements(w) for i, w in chosen])))
        for (i, w), z in zip(chosen, element.tolist(), strict=True):
            drafts[i].take(w, z, choice.rng)
        elements[rows, -1], letters[rows, -1] = element, letter
    return group, elements[:, :-1], letters[:, :-1]


def _only(logits: Tensor, allowed: np.ndarray) -> Tensor:
    return logits.masked_fill(~torch.from_numpy(allowed), -torch.inf)


@torch.inference_mode()
def decode_geometries(
    network: CrystalVAENetwork, latents: Tensor, tokens: tuple[Tensor, Tensor, Tensor], choice: Choice
) -> list[tuple[Gene, Geometry, float]]:
    """Return the likeliest geometries of genes as they were decoded (space groups, elements, letters).

    At a temperature, those with atoms too close are drawn again. Gene and geometry are made canonical; the
    number is the shortest distance as a share of the sum of covalent radii.
    """
    mean, sigma, direction, sharpness = network.geometry_of(latents, *tokens)
    strain = mean.clamp(-_STRAINED, _STRAINED)
    free = torch.atan2(direction[..., 1], direction[..., 0]) / (2 * torch.pi)
    if choice.temperature:
        spread = 1 / (2 * torch.pi * sharpness.sqrt())
        strain, free = _with_room(tokens, (strain, sigma), (free, spread), choice.generator)
    sites = Sites.of_tokens(*tokens)
    cell = cells(strain * free_strains(sites.group), sites.group, sites.volume)
    rows = (tokens[0].tolist(), tokens[1].tolist(), tokens[2].tolist(), geometries(sites, free, cell))
    room = sites.contacts(free, cell).tolist()
    return [(*_canonical(*row), share) for row, share in zip(zip(*rows, strict=True), room, strict=True)]


def _with_room(
    tokens: tuple[Tensor, Tensor, Tensor],
    strain: tuple[Tensor, Tensor],
    free: tuple[Tensor, Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Strains and free coordinates that keep the atoms apart, drawn ever further from the likeliest.

    Args:
        tokens: genes.
        strain: likeliest and standard deviation, (B, 6).
        free: likeliest and standard deviation, (B, S, 3).
        generator: source of randomness.
    """
    best_strain, best_free = strain[0].clone(), free[0].clone()
    best = torch.zeros(len(best_free))
    cramped = torch.arange(len(best))
    for attempt in range(_ATTEMPTS):
        sites = Sites.of_tokens(*(array[cramped] for array in tokens))
        strains, moved = (
            mean[cramped]
            + attempt / 2 * width[cramped] * torch.randn(mean[cramped].shape, generator=generator)
            for mean, width in (strain, free)
        )
        cell = cells(strains * free_strains(sites.group), sites.group, sites.volume)
        room = sites.contacts(moved, cell)
        better = room > best[cramped]
        rows = cramped[better]
        best[rows], best_strain[rows], best_free[rows] = room[better], strains[better], moved[better]
        cramped = cramped[best[cramped] < CLOSEST]
        if not len(cramped):
            break
    # what is still cramped gets a larger cell; the first strain is the log of its edge
    best_strain[:, 0] += (CLOSEST / best.clamp(min=1e-3)).clamp(1.0, _STRETCHED).log()
    return best_strain.clamp(-_STRAINED, _STRAINED), best_free


def _canonical(
    group: int, elements: list[int], letters: list[int], geometry: Geometry
) -> tuple[Gene, Geometry]:
    orbits = [(SYMBOLS[z], LETTERS[w]) for z, w in zip(elements, letters, strict=True) if z]
    # a gene sorts its orbits so
    order = sorted(range(len(orbits)), key=lambda i: (orbits[i][1], orbits[i][0]))
    gene = Gene(group, tuple(orbits))
    sorted_ = Geometry(geometry.lattice, tuple(geometry.free[i] for i in order))
    return substituted(gene, sorted_, {element: element for element in gene.elements})
