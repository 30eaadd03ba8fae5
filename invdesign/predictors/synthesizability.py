"""How like crystals that were made a gene is: reported against hypothetical.

That a crystal was reported says that it can be made; that it was not says nothing: some hypothetical ones
could be. So each member of a bag learns to tell the reported from its own random draw of as many unlabelled
crystals (positive-unlabelled bagging: Mordelet and Vert 2014, doi:10.1016/j.patrec.2013.06.010), and the
score is their mean. It does not see the energy: what lies low is another column.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from invdesign.errors import InputError
from invdesign.io.artifacts import find
from invdesign.predictors.features.composition_and_gene import VERSION, gene_matrix
from invdesign.predictors.models.ensemble import FILES, StackedLinear
from invdesign.training.predictors.assemble import PredictorConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from invdesign.crystal.gene import Gene
    from invdesign.training.predictors.ensemble import Settings

    Progress = Callable[[float, str], None]

KIND = "synthesisability"


class SynthesisabilityConfig(PredictorConfig):
    """Recipe of the score; kind ``synthesisability``.

    Of ``network`` the sizes and the schedule count (members, width, dropout, epochs, batch, learning rate,
    weight decay); a member's bag is all reported crystals and as many unlabelled ones.
    """

    kind: Literal["synthesisability"]
    relaxed: str = "relaxed-genes"


class Bag(nn.Module):
    """Small networks side by side, one a member: (members, n, features) → logits (members, n)."""

    def __init__(self, members: int, n_features: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.inward = StackedLinear(members, n_features, width)
        self.block = StackedLinear(members, width, width)
        self.outward = StackedLinear(members, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of having been reported."""
        h = self.dropout(functional.silu(self.inward(x)))  # (m, n, width)
        h = h + self.dropout(functional.silu(self.block(h)))
        out: torch.Tensor = self.outward(h)
        return out.squeeze(-1)


class Synthesisability:
    """The score of genes, 0 to 1: the chance of having been reported, were as many reported as not.

    Example:
        >>> Synthesisability.load().score([Gene.parse("225 Na@a Cl@b")])  # doctest: +SKIP
        array([0.97])
    """

    def __init__(
        self, bag: Bag, centre: NDArray[np.float32], spread: NDArray[np.float32], temperature: float = 1.0
    ) -> None:
        self.bag = bag.eval()
        self.centre = centre.astype(np.float32)
        self.spread = spread.astype(np.float32)
        self.temperature = temperature

    @classmethod
    def load(cls, name: str | Path = KIND) -> Synthesisability:
        """A released model by name, or a user's own folder.

        Raises:
            InputError: the folder or a file of it is missing, damaged, or of other features than these.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = find("models", name, needs=FILES)
        try:
            config: dict[str, Any] = json.loads((folder / FILES[0]).read_text())
            if (config["kind"], config["features_version"]) != (KIND, VERSION):
                raise InputError(
                    f"models folder {str(folder)!r} holds a {config['kind']} model of features version "
                    f"{config['features_version']}; a {KIND} model of version {VERSION} is needed: retrain."
                )
            tensors = load_file(folder / FILES[1])
            bag = Bag(*(config["shape"][key] for key in ("members", "n_features", "width")))
            prefix = "bag."
            weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            bag.load_state_dict({k: torch.from_numpy(v).float() for k, v in weights.items()})
            return cls(bag, tensors["centre"], tensors["spread"], config["temperature"])
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"models folder {str(folder)!r} cannot be read ({error}); restore it or retrain it."
            ) from error

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` (weights in half precision) and ``config.json``."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        state = self.bag.state_dict().items()
        tensors = {f"bag.{k}": np.ascontiguousarray(v.numpy().astype(np.float16)) for k, v in state}
        tensors |= {"centre": self.centre, "spread": self.spread}
        (folder / FILES[1]).write_bytes(save(tensors))
        members, n_features, width = self.bag.inward.weight.shape
        config = {
            "kind": KIND,
            "features_version": VERSION,
            "shape": {"members": members, "n_features": n_features, "width": width},
            "temperature": self.temperature,
        }
        (folder / FILES[0]).write_text(json.dumps(config, indent=2) + "\n")

    def score(self, genes: Sequence[Gene]) -> NDArray[np.float64]:
        """Scores (n,) of genes, or of what is known of them; equivalent settings get one answer."""
        if not genes:
            return np.zeros(0)
        return self.score_features(gene_matrix([gene.canonical() for gene in genes]))

    def score_features(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores (n,) of rows of ``gene_matrix`` (n, d)."""
        logits = self.logits(features) / self.temperature
        return np.asarray((1 / (1 + np.exp(-logits))).mean(axis=0))

    def logits(self, features: NDArray[np.float32], batch: int = 4096) -> NDArray[np.float64]:
        """Uncalibrated answers of every member, (members, n)."""
        members = len(self.bag.inward.weight)
        rows = torch.from_numpy(self._standardise(features))
        with torch.inference_mode():
            parts = [self.bag(part.expand(members, *part.shape)) for part in torch.split(rows, batch)]
        return torch.cat(parts, dim=1).double().numpy()

    def _standardise(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (n, d) on the scale of training; what is unknown is the mean."""
        scaled = (features.astype(np.float32) - self.centre) / self.spread
        return np.asarray(np.nan_to_num(np.clip(scaled, -8.0, 8.0), nan=0.0))


def fit(
    features: NDArray[np.float32],
    maker: NDArray[np.int64],
    settings: Settings,
    seed: int,
    progress: Progress,
) -> Synthesisability:
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
    spread = np.nan_to_num(np.nanstd(features, axis=0))
    model = Synthesisability(
        Bag(settings.members, features.shape[1], settings.width, settings.dropout),
        np.nan_to_num(np.nanmean(features, axis=0)),
        np.where(spread > 1e-6, spread, 1.0),
    )
    x = torch.from_numpy(model._standardise(features))  # noqa: SLF001
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


def calibrate(model: Synthesisability, features: NDArray[np.float32], maker: NDArray[np.int64]) -> None:
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


def build(config: SynthesisabilityConfig, *, progress: Progress) -> Path:
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
    text = card(Synthesisability.load(config.out), table, config, lambda s, m: progress(0.7 + 0.3 * s, m))
    (config.out / "README.md").write_text(text)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(1.0, f"written to {config.out}")
    return config.out
