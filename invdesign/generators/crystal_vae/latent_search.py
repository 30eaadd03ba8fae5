"""Latents of crystals with wanted properties: gradient ascent on the property heads, near known crystals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from invdesign.core.properties import STABILITY, Window
from invdesign.core.target import Target
from invdesign.generators.crystal_vae.model import CrystalVAENetwork
from invdesign.generators.gene_diffusion.constraints import Prompt

STEPS = 20
RATE = 0.05
TETHER = 0.1  # price of a squared unit of distance from the start, in squared standard deviations
NOISE = 0.5  # of a start around a known crystal; the prior has 1
_FAR, _WRONG = 10.0, 4.0  # price of a squared standard deviation off, and of an element not asked for
_MARGIN = 0.25  # of a window's width, or of a standard deviation: how far inside it is aimed


def aims(network: CrystalVAENetwork, target: Target) -> tuple[Tensor, Tensor]:
    """Lowest and highest wanted value of each condition (C,), somewhat inside the windows; ±inf: any."""
    names = list(network.config["conditions"])
    low, high = torch.full((len(names),), -torch.inf), torch.full((len(names),), torch.inf)
    windows = {STABILITY: Window(high=target.e_above_hull_max), **target.guiding_windows}
    for name, window in windows.items():
        if name in names:
            i = names.index(name)
            margin = _MARGIN * min(window.high - window.low, float(network.std[i]))
            low[i], high[i] = window.low + margin, window.high - margin
    return low, high


def starts(
    network: CrystalVAENetwork,
    prompt: Prompt,
    aim: tuple[Tensor, Tensor],
    n: int,
    rng: np.random.Generator,
) -> Tensor:
    """Latents (n, d) near known crystals that come close to what is wanted, in properties and in elements."""
    excluded = torch.ones(network.landmark_elements.shape[1], dtype=torch.bool)
    excluded[[0, *prompt.elements]] = False
    required = list(prompt.required)
    present = network.landmark_elements
    wrong = (present & excluded).sum(1) + (~present[:, required]).sum(1)
    for elements in prompt.one_of:
        wrong += ~present[:, list(elements)].any(1)
    with torch.inference_mode():
        expected = network.properties(network.landmarks)
    known = network.landmark_conditions
    cost = _FAR * missed(network, torch.where(known.isnan(), expected, known), *aim) + _WRONG * wrong
    weights = (-cost + cost.min()).exp().double().numpy()
    chosen = torch.from_numpy(rng.choice(len(weights), n, p=weights / weights.sum()))
    noise = torch.from_numpy(rng.standard_normal((n, network.landmarks.shape[1])).astype(np.float32))
    begin: Tensor = network.landmarks[chosen] + NOISE * noise
    return begin


def miss(network: CrystalVAENetwork, latents: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(B,) squared distance of what the heads expect from what is wanted, in standard deviations."""
    return missed(network, network.properties(latents), low, high)


def missed(network: CrystalVAENetwork, expected: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(B,) the same for property values (B, C)."""
    outside = (low - expected).clamp(min=0) + (expected - high).clamp(min=0)
    distance: Tensor = ((outside / network.std) ** 2).sum(-1)
    return distance


def radius(network: CrystalVAENetwork) -> float:
    """Distance from the origin within which 95 % of the known crystals lie."""
    return float(network.landmarks.norm(dim=1).quantile(0.95))


def climb(
    network: CrystalVAENetwork, starts: Tensor, low: Tensor, high: Tensor, *, steps: int = STEPS
) -> Tensor:
    """Latents (B, d) near their starts that the heads expect to be what is wanted.

    Each step also pulls back to the start, and no latent leaves the ``radius``.
    """
    limit = radius(network)
    latents = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        away = ((latents - starts) ** 2).sum(-1)
        (miss(network, latents, low, high) + TETHER * away).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            latents *= (limit / latents.norm(dim=-1, keepdim=True)).clamp(max=1.0)
    return latents.detach()
