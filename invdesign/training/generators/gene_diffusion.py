"""How the gene diffusion model is trained (recipe kind ``gene-diffusion``)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from invdesign.data.tokens import LETTERS
from invdesign.generators.gene_diffusion.model import N_ELEMENTS, GeneTransformer
from invdesign.io.progress import Progress
from invdesign.training.generators.corpus import (
    CONDITIONS,
    HYPOTHETICAL,
    Corpus,
    GeneratorConfig,
    read_corpus,
)
from invdesign.training.trainer import Trainer

_MAX_RELABELLINGS = 8


class GeneDiffusionConfig(GeneratorConfig):
    """Recipe of a gene diffusion model.

    Attributes:
        drop_condition: how often each condition is hidden, each by itself.
        non_metal_share: of the crystals with a known gap, the share drawn with one above zero.
        hypothetical_share: of all draws.
    """

    kind: Literal["gene-diffusion"] = "gene-diffusion"
    epochs: int = 60
    width: int = 192
    depth: int = 4
    heads: int = 6
    dropout: float = 0.1
    drop_condition: float = 0.3
    non_metal_share: float = 0.6
    hypothetical_share: float = 0.4


def masked_loss(
    network: GeneTransformer,
    batch: tuple[Tensor, Tensor, Tensor],
    conditions: Tensor,
    generator: torch.Generator,
    drop_condition: float,
) -> Tensor:
    """Mean negative log-likelihood per masked part, of a uniformly drawn number of masked parts.

    Absorbing-state discrete diffusion in its any-order form (Austin et al. 2021, D3PM; Hoogeboom et al.
    2022). In one gene of eight the space group is masked too, and with it every letter, whose meaning
    depends on it.

    Args:
        network: the denoiser, on any device.
        batch: space groups (B,), elements (B, S), letters (B, S), on the CPU.
        conditions: (B, C), NaN where unknown.
        generator: of the CPU.
        drop_condition: how often each condition is hidden.
    """
    group, elements, letters = batch
    occupied = elements > 0
    sizes = occupied.sum(1)
    count, width = elements.shape
    n_masked = torch.floor(torch.rand(count, generator=generator) * 2 * sizes) + 1
    score = torch.rand(count, 2 * width, generator=generator).masked_fill(~torch.cat([occupied] * 2, 1), 2.0)
    masked = (score.argsort(1).argsort(1) < n_masked[:, None]) & torch.cat([occupied] * 2, 1)
    hide_group = torch.rand(count, generator=generator) < 1 / 8
    hide_element, hide_letter = masked[:, :width], masked[:, width:] | (hide_group[:, None] & occupied)

    present = ~conditions.isnan() & (torch.rand(conditions.shape, generator=generator) >= drop_condition)
    present &= torch.rand(count, 1, generator=generator) >= drop_condition / 2
    device = network.device
    condition = network.embed_conditions(conditions.nan_to_num().to(device), present.to(device))
    group_logits, element_logits, letter_logits = network(
        group.masked_fill(hide_group, 0).to(device),
        elements.masked_fill(hide_element, 0).to(device),
        letters.masked_fill(hide_letter, 0).to(device),
        occupied.to(device),
        condition,
    )
    wanted = hide_letter & ~hide_group[:, None]
    total = sum(
        functional.cross_entropy(logits[hidden.to(device)], truth[hidden].to(device), reduction="sum")
        for logits, truth, hidden in (
            (group_logits, group, hide_group),
            (element_logits, elements, hide_element),
            (letter_logits, letters, wanted),
        )
    )
    parts = hide_group.sum() + hide_element.sum() + wanted.sum()
    size_loss = functional.cross_entropy(network.size_logits(condition), sizes.to(device))
    return total / parts.to(device) + 0.1 * size_loss


def labellings(corpus: Corpus) -> tuple[Tensor, Tensor]:
    """Letters of every equivalent labelling (N, R, S), and how many each crystal has (N,)."""
    from invdesign.crystal.wyckoff import space_group_table

    group, letters = corpus.tokens.space_group, corpus.tokens.letters
    images = np.zeros((len(group), _MAX_RELABELLINGS, letters.shape[1]), dtype=np.int64)
    count = np.ones(len(group), dtype=np.int64)
    for i in range(len(group)):
        maps = [
            np.array([0, *(LETTERS.index(mapping.get(letter, "a")) for letter in LETTERS[1:])])
            for mapping, _ in space_group_table(int(group[i])).relabellings
        ]
        distinct = np.unique(np.array([image[letters[i]] for image in maps]), axis=0)[:_MAX_RELABELLINGS]
        images[i, : len(distinct)] = distinct
        count[i] = len(distinct)
    return torch.from_numpy(images), torch.from_numpy(count)


def sampling_weights(corpus: Corpus, non_metal_share: float, hypothetical_share: float) -> Tensor:
    """Draw weights that give crystals with a gap, and hypothetical ones, the asked shares.

    Two thirds of the known crystals are metals; without this a gap target is rarely met (DESIGN.md §4).
    Among non-metals wide gaps are raised by the square root of their rarity. Of the hypothetical crystals
    those within 0.1 eV/atom of the hull count four times, generated verified ones eight times, and each as
    much as its elements are rarer among them than among the reported: what a generator learns from generated
    crystals must not drift.
    """
    known = torch.from_numpy(corpus.conditions)
    gap, e_above_hull = (known[:, CONDITIONS.index(name)] for name in ("band_gap", "e_above_hull"))
    weights = torch.ones(len(gap))
    generated = torch.from_numpy(corpus.source == "relaxed")  # their targets asked for gaps
    non_metal, metal = (gap > 0) & ~generated, (gap == 0) & ~generated
    bins = torch.bucketize(gap.nan_to_num(), torch.arange(0.5, 8.0, 0.5))
    counts = torch.bincount(bins[non_metal], minlength=16).float()
    weights[non_metal] = counts[bins[non_metal]].rsqrt()
    n_known = float(metal.sum() + non_metal.sum())
    weights[non_metal] *= n_known * non_metal_share / weights[non_metal].sum()
    weights[metal] *= n_known * (1 - non_metal_share) / weights[metal].sum()
    hypothetical = torch.from_numpy(np.isin(corpus.source, HYPOTHETICAL))
    weights[hypothetical & (e_above_hull <= 0.1)] *= 4
    weights[generated] *= 2
    weights[hypothetical] *= _rarity(corpus.tokens.elements, hypothetical.numpy())[hypothetical]
    weights[hypothetical] *= hypothetical_share / weights[hypothetical].sum()
    weights[~hypothetical] *= (1 - hypothetical_share) / weights[~hypothetical].sum()
    return weights


def _rarity(elements: NDArray[np.int64], hypothetical: NDArray[np.bool_]) -> Tensor:
    """(N,) how much likelier a crystal's elements are among the reported (geometric mean of its orbits)."""
    counts = np.array(
        [np.bincount(elements[part].ravel(), minlength=N_ELEMENTS) for part in (~hypothetical, hypothetical)]
    )
    counts[:, 0] = 0
    ratio = (counts[0] + 10) / (counts[1] + 10) * (counts[1].sum() / counts[0].sum())
    log = np.where(elements > 0, np.log(ratio[elements]), 0.0).sum(axis=1) / (elements > 0).sum(axis=1)
    return torch.from_numpy(np.exp(log).clip(0.2, 5.0)).float()


def train_gene_diffusion(config: GeneDiffusionConfig, *, progress: Progress) -> Path:
    """Train (or go on training) and write the pipeline, its log and its recipe to ``config.out``."""
    from invdesign.generators.gene_diffusion.pipeline import GeneDiffusionPipeline

    progress(0.0, "reading genes")
    corpus = read_corpus(config.data, config.cache, max_atoms=config.max_atoms, relaxed=config.relaxed)
    trainer = trainer_of(config, corpus)
    trainer.run(progress)
    pipeline = GeneDiffusionPipeline(transformer=trainer.averaged.to("cpu", torch.float16))
    pipeline.save_pretrained(config.out, safe_serialization=True)
    config.write()
    progress(1.0, f"written to {config.out}")
    return config.out


def trainer_of(config: GeneDiffusionConfig, corpus: Corpus) -> Trainer[GeneTransformer]:
    """Return the network on the scale of the corpus' conditions, and its trainer."""
    torch.manual_seed(config.seed)
    conditions = torch.from_numpy(corpus.conditions)
    known = [column[~column.isnan()] for column in conditions.T]
    network = GeneTransformer(
        conditions=CONDITIONS,
        condition_mean=tuple(float(column.mean()) for column in known),
        condition_std=tuple(float(column.std()) for column in known),
        condition_quantiles=tuple(_spread(column) for column in known),
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        dropout=config.dropout,
        max_orbits=config.max_atoms,
    )
    group = torch.from_numpy(corpus.tokens.space_group).long()
    elements = torch.from_numpy(corpus.tokens.elements).long()
    letters, count = labellings(corpus)
    sizes = (elements > 0).sum(1)

    def loss(network: GeneTransformer, rows: Tensor, generator: torch.Generator) -> Tensor:
        width = int(sizes[rows].max())
        labelling = (torch.rand(len(rows), generator=generator) * count[rows]).long()
        batch = (group[rows], elements[rows, :width], letters[rows, labelling, :width])
        return masked_loss(network, batch, conditions[rows], generator, config.drop_condition)

    return Trainer(
        config,
        network,
        loss,
        torch.from_numpy(np.flatnonzero(~corpus.held_out)),
        torch.from_numpy(np.flatnonzero(corpus.held_out)),
        weights=sampling_weights(corpus, config.non_metal_share, config.hypothetical_share),
        sizes=sizes,
    )


def _spread(column: Tensor) -> tuple[float, ...]:
    """201 quantiles of a condition's known values; of the gap, of the non-metals alone."""
    quantiles = column[column != 0].quantile(torch.linspace(0, 1, 201))
    return tuple(round(float(q), 4) for q in quantiles)
