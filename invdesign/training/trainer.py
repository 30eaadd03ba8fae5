"""The training loop of the generators and of the graph network."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Generic, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from invdesign.io.progress import Progress
from invdesign.training.recipe import DataRecipe

Network = TypeVar("Network", bound=nn.Module)


class TrainingConfig(DataRecipe):
    """How a network is trained.

    Attributes:
        ema: decay of the averaged weights per step, which are what is released.
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.998


class Trainer(Generic[Network]):
    """AdamW with warm-up and cosine decay, an exponential moving average, a checkpoint an epoch.

    On a GPU where there is one. bf16 on a GPU and where the processor has AMX, unless ``half`` is off.

    Args:
        config: the recipe.
        network: is trained in place.
        loss: mean loss of some rows, on the network's device; all randomness from the generator (CPU).
        train, held_out: rows of the corpus.
        weights: (N,) of every row of the corpus, how often it is drawn; default equally.
        n_drawn: rows of an epoch, rounded up to whole batches; default as many as there are.
        sizes: (N,) batches are made of rows of like size: less padding.
        half: bf16 autocast where it pays; off where a network's mathematics needs 32 bits.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: Network,
        loss: Callable[[Network, Tensor, torch.Generator], Tensor],
        train: Tensor,
        held_out: Tensor,
        *,
        weights: Tensor | None = None,
        n_drawn: int | None = None,
        sizes: Tensor | None = None,
        half: bool = True,
    ) -> None:
        # bf16 is ten times faster with AMX and twenty times slower without
        amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001 - torch has no public name for it
        self.half = half and (torch.cuda.is_available() or amx)
        self.config, self.loss, self.train, self.held_out = config, loss, train, held_out
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device)
        self.averaged = deepcopy(self.network).eval()
        self.weights = torch.ones(len(train)) if weights is None else weights[train]
        self.sizes = sizes
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            config.learning_rate,
            (0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.steps_per_epoch = math.ceil((n_drawn or len(train)) / config.batch_size)
        total = self.steps_per_epoch * config.epochs
        warm_up = min(300, math.ceil(total / 10))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: (
                min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
            ),
        )
        self.history: list[dict[str, float]] = []
        self.checkpoint = config.cache / f"{config.out.name}-checkpoint.pt"
        self.identity = self._identity()

    def _identity(self) -> str:
        """Return what a checkpoint must share with a training: recipe, first weights, rows, draws."""
        found = hashlib.sha256(self.config.model_dump_json().encode())
        # a diffusers network's config holds the scale of its conditions, which follows from the data
        found.update(repr(getattr(self.network, "config", "")).encode())
        for tensor in (self.train, self.held_out, self.weights, *self.network.state_dict().values()):
            found.update(tensor.detach().cpu().numpy().tobytes())
        return found.hexdigest()

    def run(self, progress: Progress) -> None:
        """All epochs that are not done yet; ``training.csv`` in ``out``, TensorBoard events in the cache."""
        from tensorboardX import SummaryWriter

        self.config.cache.mkdir(parents=True, exist_ok=True)
        if self.checkpoint.is_file() and not self._restore():
            progress(0.0, f"{self.checkpoint} is of another recipe or other data: starting anew")
        with SummaryWriter(str(self.config.cache / f"{self.config.out.name}-tensorboard")) as board:
            for epoch in range(len(self.history), self.config.epochs):
                row = self._epoch(epoch)
                self.history.append(row)
                self._save()
                for name, value in row.items():
                    board.add_scalar(name, value, epoch)
                progress(
                    (epoch + 1) / self.config.epochs,
                    f"epoch {epoch + 1}: train {row['train']:.4f}, held out {row['held_out']:.4f}, "
                    f"{row['rows_per_s']:.0f} crystals/s",
                )
        self._log()

    def _epoch(self, epoch: int) -> dict[str, float]:
        start = time.monotonic()
        torch.manual_seed(self.config.seed * 1000 + epoch)  # dropout, so that a resumed run is the same
        generator = torch.Generator().manual_seed(self.config.seed * 1000 + epoch)
        self.network.train()
        total = 0.0
        for rows in self._batches(generator):
            loss = self._loss(self.network, rows, generator)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            with torch.no_grad():
                for mean, value in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                    mean.lerp_(value, 1 - self.config.ema)
            total += loss.item()
        seconds = time.monotonic() - start
        return {
            "epoch": epoch,
            "train": total / self.steps_per_epoch,
            "held_out": self._held_out_loss(),
            "seconds": seconds,
            "rows_per_s": self.steps_per_epoch * self.config.batch_size / seconds,
        }

    def _batches(self, generator: torch.Generator) -> Tensor:
        """Return (steps, batch) rows of one epoch."""
        n = self.steps_per_epoch * self.config.batch_size
        drawn = self.train[torch.multinomial(self.weights, n, replacement=True, generator=generator)]
        if self.sizes is not None:
            drawn = drawn[(self.sizes[drawn] + torch.rand(n, generator=generator) * 2).argsort()]
        batches = drawn.view(self.steps_per_epoch, -1)
        return batches[torch.randperm(self.steps_per_epoch, generator=generator)]

    def _loss(self, network: Network, rows: Tensor, generator: torch.Generator) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.loss(network, rows, generator)

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        generator = torch.Generator().manual_seed(0)
        losses = [
            self._loss(self.averaged, rows, generator).item() * len(rows)
            for rows in torch.split(self.held_out, self.config.batch_size)
        ]
        return sum(losses) / len(self.held_out)

    def _log(self) -> None:
        self.config.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(self.history).round(5).to_csv(self.config.out / "training.csv", index=False)

    def _save(self) -> None:
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "identity": self.identity,
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "last_step": self.schedule.last_epoch,
                "history": self.history,
            },
            temporary,
        )
        temporary.replace(self.checkpoint)

    def _restore(self) -> bool:
        """Go on from the checkpoint, if it is of this training."""
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        if state.get("identity") != self.identity:
            return False
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = state["last_step"]
        self.history = state["history"]
        return True
