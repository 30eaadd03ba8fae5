"""Train the synthesizability score: positive-unlabelled bagging on reported and hypothetical crystals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from invdesign.predictors.synthesizability import Bag, Synthesizability
from invdesign.training.predictors.table import PredictorConfig, Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[float, str], None]


class SynthesizabilityConfig(PredictorConfig):
    """Recipe of the score; kind ``synthesizability``.

    Of ``network`` the sizes and the schedule count (members, width, dropout, epochs, batch, learning rate,
    weight decay); a member's bag is all reported crystals and as many unlabelled ones.
    """

    kind: Literal["synthesizability"]
    relaxed: str = "relaxed-genes"


def fit(
    features: NDArray[np.float32],
    maker: NDArray[np.int64],
    settings: Settings,
    seed: int,
    progress: Progress,
) -> Synthesizability:
    """Train a bag: every member on all reported rows and its own draw of as many others.

    Args:
        features: (n, d) of ``gene_matrix``, NaN where unknown.
        maker: (n,) 0 where a crystal was reported; of the unlabelled ones who made them up, 1, 2, …: a draw
            has as many of each.
        settings: sizes and schedule.
        seed: of weights, draws and batches.
        progress: told (share done, message) after each epoch.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    feature_std = np.nan_to_num(np.nanstd(features, axis=0))
    model = Synthesizability(
        Bag(settings.members, features.shape[1], settings.width, settings.dropout),
        np.nan_to_num(np.nanmean(features, axis=0)),
        np.where(feature_std > 1e-6, feature_std, 1.0),
    )
    x = torch.from_numpy(model.standardise(features))
    y = torch.from_numpy((maker == 0).astype(np.float32))
    bags = np.stack([_draw(maker, rng) for _ in range(settings.members)])
    optimiser = torch.optim.AdamW(
        model.bag.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    n_batches = -(-bags.shape[1] // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs * n_batches, pct_start=0.15
    )
    model.bag.train()
    for epoch in range(settings.epochs):
        total = 0.0
        order = torch.from_numpy(rng.permuted(bags, axis=1))
        for rows in torch.split(order, settings.batch, dim=1):
            loss = functional.binary_cross_entropy_with_logits(model.bag(x[rows]), y[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) / n_batches
        progress((epoch + 1) / settings.epochs, f"loss {total:.4f}")
    model.bag.eval()
    return model


def _draw(maker: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of one member: all reported, and as many others, the same number of each maker (with repeats)."""
    known = np.flatnonzero(maker == 0)
    makers = np.unique(maker[maker > 0])
    others = [rng.choice(np.flatnonzero(maker == one), len(known) // len(makers)) for one in makers]
    return np.concatenate([known, *others])


def calibrate(model: Synthesizability, features: NDArray[np.float32], maker: NDArray[np.int64]) -> None:
    """Give the model the temperature of least cross-entropy on other rows, weighing as in a draw."""
    from scipy.optimize import minimize_scalar

    logits, reported, weight = model.logits(features), maker == 0, weights(maker)

    def cost(log_temperature: float) -> float:
        chance = (1 / (1 + np.exp(-logits * np.exp(-log_temperature)))).mean(axis=0)
        right = np.where(reported, chance, 1 - chance).clip(1e-9)
        return float(-(weight * np.log(right)).sum())

    model.temperature = float(np.exp(minimize_scalar(cost, bounds=(-2.0, 3.0), method="bounded").x))


def weights(maker: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights (n,) that sum to 1: half for the reported, the other half in equal parts for each maker."""
    counts = np.bincount(maker)
    share = np.where(np.arange(len(counts)) == 0, 0.5, 0.5 / (np.count_nonzero(counts) - 1))
    return np.asarray(share[maker] / counts[maker])


def train_synthesizability(config: SynthesizabilityConfig, *, progress: Progress) -> Path:
    """Train, measure and write a model of the score."""
    import yaml

    from invdesign.training.cards.synthesizability import Table, card

    table = Table.read(config, progress)
    train = table.part == "train"
    model = fit(
        table.features[train],
        table.maker[train],
        config.network,
        config.seed,
        lambda share, message: progress(0.2 + 0.5 * share, message),
    )
    held = table.part == "calibration"
    calibrate(model, table.features[held], table.maker[held])
    model.save(config.out)
    text = card(Synthesizability.load(config.out), table, config, lambda s, m: progress(0.7 + 0.3 * s, m))
    (config.out / "README.md").write_text(text)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(1.0, f"written to {config.out}")
    return config.out
