"""Training of a graph network by matgl's Lightning module, resumable; imported where matgl is."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from matgl.utils.training import ModelLightningModule
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

from invdesign.io.progress import Progress
from invdesign.potentials.batching import CrystalBatch
from invdesign.potentials.matgl.graph import PairGraph, pair_graph
from invdesign.predictors.graph.model import GraphNetwork, Scales, node_types
from invdesign.training.predictors.graph_table import GraphSettings, GraphTable

if TYPE_CHECKING:
    from torch import Tensor

    Batch = tuple[PairGraph, None, None, Tensor]

LOSS = "Total_Loss"  # matgl's name of it
# What chooses the epoch: error of the gap and share of metals mistaken. Not the loss: its likelihoods grow
# too sure long before these get worse, and calibration takes that back.
ERROR = "error"


class GapModule(ModelLightningModule):
    """matgl's module for structure-wise properties with a loss of metals and gaps.

    Three terms, as in ``training``: cross-entropy of metal or not; smooth absolute error of the gap where
    there is one; likelihood of its sigma, which does not weigh the gap.
    """

    def __init__(self, network: GraphNetwork, scales: Scales, settings: GraphSettings, seed: int) -> None:
        super().__init__(network, data_mean=scales.shift, data_std=scales.unit, lr=settings.learning_rate)
        self.settings, self.seed = settings, seed

    def loss_fn(self, loss: object, labels: Tensor, preds: Tensor) -> dict[str, Any]:
        """Losses of raw outputs (n, 3) and gaps (n,) eV, 0 for metals."""
        del loss
        logit, mean, log_sigma = preds.unbind(-1)
        metal = labels <= 0
        entropies = functional.binary_cross_entropy_with_logits(logit, metal.float(), reduction="none")
        drawn = self.settings.metals if self.training else 1.0
        entropy = torch.where(metal, entropies / drawn, entropies).sum()
        error = (mean - (labels - self.data_mean) / self.data_std)[~metal]
        log_sigma = log_sigma[~metal].clamp(-7.0, 3.0)
        distance = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1, reduction="sum")
        likelihood = (log_sigma + 0.5 * (error.detach() * torch.exp(-log_sigma)) ** 2).sum()
        n = len(labels)
        total = (entropy + self.settings.gap_weight * (distance + 0.1 * likelihood)) / n
        wrong = ((logit > 0) != metal).float().mean()
        gap = distance / n
        return {LOSS: total, "entropy": entropy / n, "gap": gap, "wrong": wrong, ERROR: gap + wrong}

    def step(self, batch: Batch) -> tuple[dict[str, Any], int]:
        """As matgl; while training, on atoms that are a little off their places."""
        graph, *rest = batch
        if self.training:
            graph = jittered(graph, self.settings.jitter)
        found: tuple[dict[str, Any], int] = super().step((graph, *rest))
        return found

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Jitter and dropout follow from the step, so that a resumed run is the same."""
        del batch, batch_idx
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Tensors and plain numbers alone: the classes come from the recipe, and nothing is unpickled."""
        for name in ("hyper_parameters", "hparams_name", "hparams_type"):
            checkpoint.pop(name, None)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's)
        """AdamW; a short warm-up, then a cosine, a step at a time."""
        settings = self.settings
        optimiser = torch.optim.AdamW(
            [p for p in self.parameters() if p.requires_grad],
            settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        total = int(self.trainer.estimated_stepping_batches)
        warm_up = max(1, total // 20)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: (
                min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1, step / total)))
            ),
        )
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]


def jittered(graph: PairGraph, deviation: float) -> PairGraph:
    """Return the graph after normal displacements of the atoms, ``deviation`` Å along each axis."""
    moved = deviation * torch.randn(
        len(graph.types), 3, dtype=graph.vectors.dtype, device=graph.vectors.device
    )
    return replace(graph, vectors=graph.vectors + moved[graph.second] - moved[graph.first])


class Draw(Sampler[int]):
    """An epoch's rows: every non-metal and a share of the metals, shuffled.

    They follow from seed and epoch alone, so that a resumed run is the same.
    """

    def __init__(self, rows: np.ndarray, metal: np.ndarray, share: float, seed: int) -> None:
        self.open, self.metals = rows[~metal], rows[metal]
        self.n_metals = round(share * len(self.metals))
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning sets the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.open) + self.n_metals

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        metals = rng.choice(self.metals, self.n_metals, replace=False)
        yield from rng.permutation(np.concatenate([self.open, metals])).tolist()


class History(Callback):
    """One row an epoch, kept in the checkpoint and reported."""

    def __init__(self, progress: Progress, n_train: int) -> None:
        self.rows: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._start = self._seconds = 0.0
        self._progress, self._n_train = progress, n_train

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a checkpoint's rows."""
        self.rows = state["rows"]

    def on_train_epoch_start(self, *_: object) -> None:
        """Start the clock."""
        self._start, self._losses = time.monotonic(), []

    def on_train_batch_end(self, _: object, __: object, outputs: Any, *___: object) -> None:  # noqa: ANN401
        """Collect the losses."""
        self._losses.append(float(outputs["loss"]))

    def on_validation_start(self, *_: object) -> None:
        """Stop the clock."""
        self._seconds = time.monotonic() - self._start

    def on_validation_end(self, trainer: Trainer, _: object) -> None:
        """Record the epoch here, not at its end: the checkpoint is written in between."""
        held_out = {
            name.removeprefix("val_"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        row = {
            "epoch": trainer.current_epoch,
            "train": float(np.mean(self._losses)),
            "held_out": held_out.pop(LOSS),
            **held_out,
            "seconds": self._seconds,
            "crystals_per_s": self._n_train / self._seconds,
        }
        self.rows.append(row)
        epochs = trainer.max_epochs or 1
        self._progress(
            len(self.rows) / epochs,
            f"epoch {len(self.rows)}: train {row['train']:.4f}, held out {row['held_out']:.4f}, "
            f"{row['crystals_per_s']:.0f} crystals/s",
        )


def train(
    network: GraphNetwork,
    scales: Scales,
    table: GraphTable,
    settings: GraphSettings,
    folder: Path,
    *,
    seed: int,
    progress: Progress,
) -> list[dict[str, float]]:
    """Train in place; a killed run goes on from the last epoch in ``folder``.

    The averaged weights of the epoch with the least validation ``ERROR`` are kept.

    Args:
        network: gets the weights.
        scales: shift and unit of the gaps.
        table: crystals; ``train`` rows train, ``validation`` rows choose the epoch.
        settings: the schedule.
        folder: for checkpoints and TensorBoard events, of this training alone.
        seed: of the batches.
        progress: called with (share done, message) after each epoch.

    Returns:
        One row an epoch.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    seed_everything(seed, verbose=False)
    rows = table.rows("train")
    draw = Draw(rows, table.gap[rows] <= 0, settings.metals, seed)
    history = History(progress, len(draw))
    best = ModelCheckpoint(folder, "best", monitor=f"val_{ERROR}", enable_version_counter=False)
    latest = ModelCheckpoint(folder, "last", enable_version_counter=False)
    trainer = Trainer(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=1,
        max_epochs=settings.epochs,
        gradient_clip_val=settings.clip,
        callbacks=[EMAWeightAveraging(decay=settings.ema), history, best, latest],
        logger=TensorBoardLogger(folder.parent, folder.name, version="tensorboard"),
        log_every_n_steps=20,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    last = folder / "last.ckpt"
    trainer.fit(
        GapModule(network, scales, settings, seed),
        _loader(table, draw, network, settings, drop_last=True),
        _loader(table, table.rows("validation"), network, settings),
        ckpt_path=last if last.is_file() else None,
        weights_only=True,
    )
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    network.cpu().eval()
    return history.rows


def _loader(
    table: GraphTable,
    rows: Sampler[int] | np.ndarray,
    network: GraphNetwork,
    settings: GraphSettings,
    *,
    drop_last: bool = False,
) -> DataLoader[int]:
    """Batches as matgl's module takes them: graph, lattice and state (neither is needed), labels."""
    types = node_types(network.shape.elements)
    gaps = torch.from_numpy(table.gap.astype(np.float32))

    def collate(chosen: list[int]) -> Batch:
        joined = CrystalBatch.join([table.frames[k] for k in chosen], [table.pairs[k] for k in chosen])
        graph = pair_graph(joined, types[joined.numbers], network, torch.device("cpu"))
        return graph, None, None, gaps[chosen]

    every: Any = range(len(table.frames))  # a batch is its indices
    return DataLoader(
        every,
        settings.batch,
        sampler=rows if isinstance(rows, Sampler) else rows.tolist(),
        collate_fn=collate,
        drop_last=drop_last,
    )
