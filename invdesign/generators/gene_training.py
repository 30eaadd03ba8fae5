"""How the gene diffusion model is trained (recipe kind ``gene-diffusion``)."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch.nn import functional

from invdesign.data.tokens import LETTERS, tokenise
from invdesign.generators.gene_transformer import GeneTransformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    Progress = Callable[[float, str], None]

_MAX_RELABELLINGS = 8


class GeneDiffusionConfig(BaseModel):
    """Recipe of a gene diffusion model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["gene-diffusion"] = "gene-diffusion"
    data: Path
    out: Path
    cache: Path = Path(".cache/invdesign")
    seed: int = 0
    max_atoms: int = 20
    width: int = 192
    depth: int = 4
    heads: int = 6
    dropout: float = 0.1
    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    held_out: float = 0.04
    drop_condition: float = 0.3
    non_metal_share: float = 0.6


@dataclass(frozen=True)
class Corpus:
    """Training crystals: tokens of every equivalent labelling, and conditions (NaN where unknown).

    Attributes:
        group (N,), elements (N, S), letters (N, R, S), n_labellings (N,), conditions (N, C).
        formula: (N,) reduced composition keys for the split.
    """

    group: Tensor
    elements: Tensor
    letters: Tensor
    n_labellings: Tensor
    conditions: Tensor
    formula: NDArray[np.str_]


CONDITIONS = ("band_gap", "e_above_hull", "formation_energy_per_atom", "n_atoms")
_COLUMNS = {
    "mp20": {"band_gap": "band_gap", "formation_energy_per_atom": "formation_energy_per_atom"},
    "mpts52": {"formation_energy_per_atom": "formation_energy_per_atom"},
    "wbm": {"band_gap": "band_gap", "formation_energy_per_atom": "formation_energy_per_atom"},
}


def read_corpus(config: GeneDiffusionConfig) -> Corpus:
    """mp20, mpts52 and wbm crystals of up to ``max_atoms`` atoms, with the conditions that each has.

    Raises:
        InputError: a file of the data folder is missing or unreadable.
    """
    import pandas as pd

    from invdesign.crystal.wyckoff import space_group_table
    from invdesign.validators.hull_build import labelled_e_above_hull

    labels = labelled_e_above_hull(config.data)
    sources = np.array(labels.sources)
    blocks, conditions, formulas = [], [], []
    for source, columns in _COLUMNS.items():
        path = config.data / "structures" / f"{source}.csv.gz"
        tokens = tokenise(path, config.cache, max_atoms=config.max_atoms)
        table = pd.read_csv(path, keep_default_na=False, usecols=[*columns.values(), "pretty_formula"])
        known = np.full((len(table), len(CONDITIONS)), np.nan)
        for name, column in columns.items():
            known[:, CONDITIONS.index(name)] = table[column].to_numpy(float)
        mine = sources == source
        known[labels.rows[mine], CONDITIONS.index("e_above_hull")] = labels.e_above_hull[mine]
        known = known[tokens.row]
        known[:, CONDITIONS.index("n_atoms")] = tokens.n_atoms
        blocks.append(tokens)
        conditions.append(known)
        formulas.append(table["pretty_formula"].to_numpy(str)[tokens.row])
    width = max(tokens.elements.shape[1] for tokens in blocks)
    group = np.concatenate([tokens.space_group for tokens in blocks])
    elements = np.concatenate([_widen(tokens.elements, width) for tokens in blocks])
    letters = np.concatenate([_widen(tokens.letters, width) for tokens in blocks])
    labellings = np.zeros((len(group), _MAX_RELABELLINGS, width), dtype=np.int64)
    n_labellings = np.ones(len(group), dtype=np.int64)
    for i in range(len(group)):
        maps = [
            np.array([0, *(LETTERS.index(mapping.get(letter, "a")) for letter in LETTERS[1:])])
            for mapping, _ in space_group_table(int(group[i])).relabellings
        ]
        distinct = np.unique(np.array([image[letters[i]] for image in maps]), axis=0)[:_MAX_RELABELLINGS]
        labellings[i, : len(distinct)] = distinct
        n_labellings[i] = len(distinct)
    return Corpus(
        group=torch.tensor(group),
        elements=torch.tensor(elements),
        letters=torch.tensor(labellings),
        n_labellings=torch.tensor(n_labellings),
        conditions=torch.tensor(np.concatenate(conditions), dtype=torch.float32),
        formula=np.concatenate(formulas),
    )


def _widen(tokens: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    return np.pad(tokens, ((0, 0), (0, width - tokens.shape[1])))


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
    condition = network.embed_conditions(conditions.nan_to_num(), present)
    group_logits, element_logits, letter_logits = network(
        group.masked_fill(hide_group, 0),
        elements.masked_fill(hide_element, 0),
        letters.masked_fill(hide_letter, 0),
        occupied,
        condition,
    )
    losses = []
    if hide_group.any():
        losses.append(functional.cross_entropy(group_logits[hide_group], group[hide_group], reduction="sum"))
    losses.append(
        functional.cross_entropy(element_logits[hide_element], elements[hide_element], reduction="sum")
    )
    wanted = hide_letter & ~hide_group[:, None]
    losses.append(functional.cross_entropy(letter_logits[wanted], letters[wanted], reduction="sum"))
    parts = hide_group.sum() + hide_element.sum() + wanted.sum()
    size_loss = functional.cross_entropy(network.size_logits(condition), sizes)
    return torch.stack(losses).sum() / parts + 0.1 * size_loss


def sampling_weights(corpus: Corpus, non_metal_share: float) -> Tensor:
    """Draw weights that give crystals with a gap the asked share of those with a known gap.

    Two thirds of the known crystals are metals; without this a gap target is rarely met (DESIGN.md §4).
    Among non-metals wide gaps are raised by the square root of their rarity.
    """
    gap = corpus.conditions[:, CONDITIONS.index("band_gap")]
    weights = torch.ones(len(gap))
    non_metal, metal = gap > 0, gap == 0
    bins = torch.bucketize(gap.nan_to_num(), torch.arange(0.5, 8.0, 0.5))
    counts = torch.bincount(bins[non_metal], minlength=16).float()
    weights[non_metal] = counts[bins[non_metal]].rsqrt()
    known = float(metal.sum() + non_metal.sum())
    weights[non_metal] *= known * non_metal_share / weights[non_metal].sum()
    weights[metal] *= known * (1 - non_metal_share) / weights[metal].sum()
    return weights


def build(config: GeneDiffusionConfig, *, progress: Progress) -> Path:
    """Train (or go on training) and write the pipeline, its figures and its recipe to ``config.out``.

    A checkpoint is written after every epoch beside the cache; the same config resumes from it.
    """
    import yaml

    from invdesign.data.splits import grouped_split
    from invdesign.generators.gene_diffusion import GeneDiffusionPipeline

    progress(0.0, "reading genes")
    corpus = read_corpus(config)
    train, held_out = grouped_split(
        corpus.formula.tolist(), (1 - config.held_out, config.held_out), config.seed
    )
    trainer = Trainer(config, corpus, torch.as_tensor(train), torch.as_tensor(held_out))
    trainer.run(progress)
    pipeline = GeneDiffusionPipeline(transformer=trainer.averaged.to(torch.float16))
    pipeline.save_pretrained(config.out, safe_serialization=True)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    (config.out / "training.json").write_text(json.dumps({"epochs": trainer.history}, indent=1))
    progress(1.0, f"written to {config.out}")
    return config.out


def _spread(column: Tensor) -> list[float]:
    """201 quantiles of a condition's known values; of the gap, of the non-metals alone."""
    values = column[~column.isnan() & (column != 0)]
    return [round(float(q), 4) for q in values.quantile(torch.linspace(0, 1, 201))]


class Trainer:
    """AdamW with warm-up and cosine decay, an exponential moving average, a checkpoint an epoch."""

    def __init__(self, config: GeneDiffusionConfig, corpus: Corpus, train: Tensor, held_out: Tensor) -> None:
        torch.manual_seed(config.seed)
        self.config, self.corpus, self.train, self.held_out = config, corpus, train, held_out
        known = corpus.conditions
        mean = [float(column[~column.isnan()].mean()) for column in known.T]
        std = [float(column[~column.isnan()].std()) for column in known.T]
        sizes = {"width": config.width, "depth": config.depth, "heads": config.heads}
        spread = [_spread(column) for column in known.T]
        options: dict[str, Any] = {
            "conditions": CONDITIONS,
            "condition_mean": mean,
            "condition_std": std,
            "condition_quantiles": spread,
            "dropout": config.dropout,
            "max_orbits": config.max_atoms,
            **sizes,
        }
        self.network = GeneTransformer(**options)
        self.averaged = GeneTransformer(**options).eval()
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            config.learning_rate,
            (0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        total = self.steps_per_epoch * config.epochs
        warm_up = min(300, math.ceil(total / 10))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: (
                min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
            ),
        )
        self.weights = sampling_weights(corpus, config.non_metal_share)[train]
        self.history: list[dict[str, float]] = []
        self.checkpoint = config.cache / f"{config.out.name}-checkpoint.pt"

    def run(self, progress: Progress) -> None:
        """All epochs that are not done yet."""
        if self.checkpoint.is_file():
            self._restore()
        for epoch in range(len(self.history), self.config.epochs):
            start = time.monotonic()
            loss = self._epoch(epoch)
            held = self._held_out_loss()
            self.history.append(
                {"epoch": epoch, "train": loss, "held_out": held, "s": time.monotonic() - start}
            )
            self._save()
            progress(
                (epoch + 1) / self.config.epochs, f"epoch {epoch + 1}: train {loss:.4f}, held out {held:.4f}"
            )

    def _epoch(self, epoch: int) -> float:
        self.network.train()
        generator = torch.Generator().manual_seed(self.config.seed * 1000 + epoch)
        n = self.steps_per_epoch * self.config.batch_size
        drawn = self.train[torch.multinomial(self.weights, n, replacement=True, generator=generator)]
        # batches of like size waste less on padding; sizes are mixed across the epoch by shuffling batches
        sizes = (self.corpus.elements[drawn] > 0).sum(1)
        drawn = drawn[(sizes + torch.rand(n, generator=generator) * 2).argsort()]
        batches = drawn.view(self.steps_per_epoch, -1)[
            torch.randperm(self.steps_per_epoch, generator=generator)
        ]
        total = 0.0
        for rows in batches:
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
        return total / self.steps_per_epoch

    def _loss(self, network: GeneTransformer, rows: Tensor, generator: torch.Generator) -> Tensor:
        corpus = self.corpus
        width = int((corpus.elements[rows] > 0).sum(1).max())
        labelling = (torch.rand(len(rows), generator=generator) * corpus.n_labellings[rows]).long()
        batch = (corpus.group[rows], corpus.elements[rows, :width], corpus.letters[rows, labelling, :width])
        # bf16 is ten times faster with AMX and twenty times slower without
        amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001 - torch has no public name for it
        with torch.autocast("cpu", torch.bfloat16, enabled=amx):
            return masked_loss(network, batch, corpus.conditions[rows], generator, self.config.drop_condition)

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        generator = torch.Generator().manual_seed(0)
        losses = [
            self._loss(self.averaged, rows, generator).item() * len(rows)
            for rows in torch.split(self.held_out, self.config.batch_size)
        ]
        return sum(losses) / len(self.held_out)

    def _save(self) -> None:
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(
            {
                "config": self.config.model_dump_json(),
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": {"last_epoch": self.schedule.last_epoch},
                "history": self.history,
            },
            temporary,
        )
        temporary.replace(self.checkpoint)

    def _restore(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        if state["config"] != self.config.model_dump_json():
            return
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = state["schedule"]["last_epoch"]
        self.history = state["history"]
