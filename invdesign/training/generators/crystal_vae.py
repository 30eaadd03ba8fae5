"""How crystal-vae is trained (recipe kind ``crystal-vae``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from invdesign.generators.crystal_vae.model import STOP, CrystalArrays, CrystalVAENetwork, crystals_of
from invdesign.generators.geometry.lattice import free_strains
from invdesign.io.progress import Progress
from invdesign.training.generators.corpus import CONDITIONS, Corpus, GeneratorConfig, read_corpus
from invdesign.training.trainer import Trainer

_HEAD_STEPS = 2500
_HEAD_NOISE = 0.5  # of the posterior's standard deviation


class CrystalVAEConfig(GeneratorConfig):
    """Recipe of a crystal VAE.

    Attributes:
        beta: weight of a nat of the latent's divergence from the prior against a nat of the crystal.
        property_weight: weight of the property heads' error, in standard deviations squared.
        drop_condition: how often each condition is kept from the decoder.
    """

    kind: Literal["crystal-vae"] = "crystal-vae"
    epochs: int = 40
    batch_size: int = 128
    weight_decay: float = 0.01
    width: int = 128
    heads: int = 4
    encoder_depth: int = 3
    decoder_depth: int = 3
    geometry_depth: int = 2
    latent_tokens: int = 4
    latent_size: int = 128
    n_landmarks: int = 4096
    beta: float = 0.1
    property_weight: float = 1.0
    drop_condition: float = 0.5


def loss_parts(
    network: CrystalVAENetwork,
    crystals: CrystalArrays,
    conditions: Tensor,
    generator: torch.Generator,
    drop_condition: float,
) -> dict[str, Tensor]:
    """Mean nats per crystal of each part of the loss: the gene, the geometry, the latent; the heads' error.

    Args:
        network: is on the crystals' device.
        crystals: B of them.
        conditions: (B, C), NaN where unknown.
        generator: on the CPU.
        drop_condition: probability.
    """
    device = conditions.device
    mean, log_var = network.encode(crystals)
    noise = torch.randn(mean.shape, generator=generator).to(device)
    latents = mean + (0.5 * log_var).exp() * noise
    kept = torch.rand(conditions.shape, generator=generator).to(device) >= drop_condition
    condition = network.condition(conditions.nan_to_num(), kept & ~conditions.isnan())
    divergence = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
    cell, free = geometry_loss(network, latents, crystals)
    scaled = (network.properties(latents) - conditions.nan_to_num()) / network.std
    errors = functional.smooth_l1_loss(scaled, torch.zeros_like(scaled), reduction="none")
    return {
        "gene": gene_loss(network, latents, condition, crystals).mean(),
        "cell": cell.mean(),
        "free": free.mean(),
        "latent": divergence.mean(),
        "heads": (errors * ~conditions.isnan()).sum(1).mean(),
    }


def gene_loss(
    network: CrystalVAENetwork, latents: Tensor, condition: Tensor, crystals: CrystalArrays
) -> Tensor:
    """(B,) negative log-likelihood of the genes."""
    group, elements, letters, there = crystals.group, crystals.elements, crystals.letters, crystals.occupied
    states = network.read(latents, condition, group, elements, letters)
    end = torch.full_like(letters[:, :1], STOP)
    before, after = torch.cat([end, letters], 1), torch.cat([letters, end], 1)  # (B, S + 1)
    letter_logits = network.letter_logits(states[:, 1:], group, before)
    letter_loss = functional.cross_entropy(letter_logits.transpose(1, 2), after, reduction="none")
    # the stop counts, what follows it does not
    until_stop = torch.cat([torch.ones_like(there[:, :1]), there], 1)
    element_logits = network.element_logits(states[:, 1:-1], group, letters)
    element_loss = functional.cross_entropy(element_logits.transpose(1, 2), elements, reduction="none")
    group_loss = functional.cross_entropy(network.group_logits(states[:, 0]), group, reduction="none")
    return (
        group_loss
        + letter_loss.where(until_stop, torch.zeros(())).sum(1)
        + element_loss.where(there, torch.zeros(())).sum(1)
    )


def geometry_loss(
    network: CrystalVAENetwork, latents: Tensor, crystals: CrystalArrays
) -> tuple[Tensor, Tensor]:
    """(B,) negative log-likelihoods of the cells and of the free coordinates on their torus, given genes."""
    mean, sigma, direction, sharpness = network.geometry_of(
        latents, crystals.group, crystals.elements, crystals.letters
    )
    cell = 0.5 * ((crystals.cell - mean) / sigma) ** 2 + sigma.log()
    angle = 2 * torch.pi * crystals.free
    agreement = direction[..., 0] * angle.cos() + direction[..., 1] * angle.sin()
    free = torch.special.i0e(sharpness).log() + sharpness * (1 - agreement)
    there = network.is_free(crystals) & crystals.occupied[..., None]
    return (cell * free_strains(crystals.group)).sum(1), (free * there).sum((1, 2))


def train_crystal_vae(config: CrystalVAEConfig, *, progress: Progress) -> Path:
    """Train (or go on training) and write the network, its log and its recipe to ``config.out``.

    Raises:
        InputError: a file of the data folder is missing or unreadable.
    """
    from invdesign.generators.crystal_vae.pipeline import CrystalVAEPipeline

    progress(0.0, "reading crystals")
    corpus = read_corpus(config.data, config.cache, max_atoms=config.max_atoms, relaxed=config.relaxed)
    crystals = crystals_of(corpus.tokens)
    trainer = make_trainer(config, corpus, crystals)
    trainer.run(progress)
    network = trainer.averaged.cpu()
    known = torch.from_numpy(corpus.conditions)
    fit_heads(network, crystals.select(trainer.train), known[trainer.train], config.seed)
    set_landmarks(network, crystals.select(trainer.train), known[trainer.train], config.seed)
    pipeline = CrystalVAEPipeline(network=network.to(torch.float16))
    pipeline.save_pretrained(config.out, safe_serialization=True)
    config.write()
    progress(1.0, f"written to {config.out}")
    return config.out


def make_trainer(
    config: CrystalVAEConfig, corpus: Corpus, crystals: CrystalArrays
) -> Trainer[CrystalVAENetwork]:
    """Return a trainer of a new network."""
    torch.manual_seed(config.seed)
    network = CrystalVAENetwork(**network_options(config, corpus))
    conditions = torch.from_numpy(corpus.conditions)

    def loss(network: CrystalVAENetwork, rows: Tensor, generator: torch.Generator) -> Tensor:
        batch = crystals.select(rows).to(network.device)
        known = conditions[rows].to(network.device)
        parts = loss_parts(network, batch, known, generator, config.drop_condition)
        crystal = parts["gene"] + parts["cell"] + parts["free"]
        return crystal + config.beta * parts["latent"] + config.property_weight * parts["heads"]

    return Trainer(
        config,
        network,
        loss,
        torch.from_numpy(np.flatnonzero(~corpus.held_out)),
        torch.from_numpy(np.flatnonzero(corpus.held_out)),
        sizes=crystals.occupied.sum(1),
    )


def network_options(config: CrystalVAEConfig, corpus: Corpus) -> dict[str, Any]:
    """Arguments of the network."""
    sizes = (
        *("width", "heads", "encoder_depth", "decoder_depth", "geometry_depth"),
        *("latent_tokens", "latent_size"),
    )
    return {
        "conditions": CONDITIONS,
        "condition_mean": tuple(np.nanmean(corpus.conditions, axis=0).round(4).tolist()),
        "condition_std": tuple(np.nanstd(corpus.conditions, axis=0).round(4).tolist()),
        "max_orbits": config.max_atoms,
        "n_landmarks": min(config.n_landmarks, int((~corpus.held_out).sum())),
        **{name: getattr(config, name) for name in sizes},
    }


def fit_heads(network: CrystalVAENetwork, crystals: CrystalArrays, conditions: Tensor, seed: int) -> None:
    """Train new property heads on the finished latents, crystals with a gap drawn more often than metals.

    Heads trained together with the autoencoder see its early, noisy latents and lag behind: they predicted
    1.6 eV for crystals with a gap of 5.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = network.property_head
    for layer in head.children():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    mean, log_var = _posteriors(network, crystals)
    width = _HEAD_NOISE * (0.5 * log_var).exp()
    wanted = ((conditions - network.mean) / network.std).nan_to_num()
    known = ~conditions.isnan()
    weights = _draw_weights(network, conditions)
    optimizer = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _HEAD_STEPS)
    for _ in range(_HEAD_STEPS):
        rows = torch.multinomial(weights, 512, replacement=True, generator=generator)
        noise = torch.randn(512, mean.shape[1], generator=generator)
        errors = head(mean[rows] + width[rows] * noise) - wanted[rows]
        loss = functional.smooth_l1_loss(errors * known[rows], torch.zeros_like(errors))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@torch.no_grad()
def _posteriors(network: CrystalVAENetwork, crystals: CrystalArrays) -> tuple[Tensor, Tensor]:
    """Means and log variances of all crystals' latents, (N, d) each."""
    rows = torch.arange(len(crystals))
    parts = [network.encode(crystals.select(rows[i : i + 512])) for i in range(0, len(rows), 512)]
    return torch.cat([mean for mean, _ in parts]), torch.cat([log_var for _, log_var in parts])


def _draw_weights(network: CrystalVAENetwork, conditions: Tensor) -> Tensor:
    """(N,) how often crystals are drawn: those with a gap more often than metals, wide gaps the most."""
    return 1 + conditions[:, list(network.config["conditions"]).index("band_gap")].nan_to_num()


@torch.no_grad()
def set_landmarks(network: CrystalVAENetwork, crystals: CrystalArrays, conditions: Tensor, seed: int) -> None:
    """Keep the latents, properties (N, C) and elements of some training crystals with the weights."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.multinomial(_draw_weights(network, conditions), len(network.landmarks), generator=generator)
    network.landmarks.copy_(_posteriors(network, crystals.select(rows))[0])
    network.landmark_conditions.copy_(conditions[rows])
    network.landmark_elements.zero_().scatter_(1, crystals.elements[rows], value=True)
