"""Training of the gene diffusion model, and the loop that all generators share, at toy size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from invdesign.data.tokens import TokenSet
from invdesign.generators.gene_diffusion.model import GeneTransformer
from invdesign.generators.gene_diffusion.pipeline import GeneDiffusionPipeline
from invdesign.training.generators.corpus import CONDITIONS, Corpus
from invdesign.training.generators.gene_diffusion import (
    GeneDiffusionConfig,
    labellings,
    masked_loss,
    sampling_weights,
    trainer_of,
)
from invdesign.training.trainer import Trainer, TrainingConfig

N = 128


@pytest.fixture
def corpus() -> Corpus:
    """Rock salt, one insulator and one metal, many times; every fourth hypothetical, every fifth held out."""
    rows = np.arange(N)
    tokens = TokenSet(
        ids=rows.astype(str),
        space_group=np.full(N, 225),
        elements=np.tile([[11, 17], [29, 47]], (N // 2, 1)),
        letters=np.tile([[1, 2]], (N, 1)),
        n_atoms=np.full(N, 2),
        lattice=np.tile([5.6, 5.6, 5.6, 90.0, 90.0, 90.0], (N, 1)),
        free=np.full((N, 2, 3), np.nan),
        row=rows,
    )
    conditions = np.tile(0.01 * rows[:, None], (1, len(CONDITIONS)))
    conditions[:, 0] = np.tile([5.0, 0.0], N // 2)
    return Corpus(
        tokens,
        conditions.astype(np.float32),
        np.array(["NaCl", "CuAg"] * (N // 2)),
        np.where(rows % 4 == 3, "wbm", "mp20"),
        rows % 5 == 0,
    )


def _config(folder: Path) -> GeneDiffusionConfig:
    return GeneDiffusionConfig(
        data=folder, out=folder / "model", cache=folder, epochs=40, width=32, depth=1, heads=2,
        batch_size=64, learning_rate=1e-2, ema=0.8, dropout=0.0,
    )  # fmt: skip


def test_training_learns_conditions_and_resumes(tmp_path: Path, corpus: Corpus) -> None:
    trainer = trainer_of(_config(tmp_path), corpus)
    said: list[str] = []
    trainer.run(lambda _, message: said.append(message))
    assert trainer.history[-1]["held_out"] < 0.5 * trainer.history[0]["held_out"]
    assert (tmp_path / "model/training.csv").read_text().count("\n") == 41
    assert list((tmp_path / "model-tensorboard").glob("events*"))
    pipeline = GeneDiffusionPipeline(transformer=trainer.averaged)
    share = {
        gap: np.mean(
            [set(gene.elements) == {"Na", "Cl"} for gene in pipeline([{"band_gap": gap}] * 40, seed=0)]
        )
        for gap in (5.0, 0.0)
    }
    assert share[5.0] > share[0.0] + 0.3

    again = trainer_of(_config(tmp_path), corpus)
    again.run(lambda _, message: said.append(message))
    assert len(said) == 40
    assert again.history == trainer.history


class KilledError(Exception):
    """Stands for kill -9 after an epoch."""


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    points = torch.linspace(-1, 1, 64)[:, None]

    def make(name: str) -> Trainer:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))

        def loss(network: nn.Module, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            noise = 0.01 * torch.randn(len(rows), 1, generator=generator)
            return (network(points[rows] + noise) - points[rows]).pow(2).mean()

        config = TrainingConfig(
            kind="toy", data=tmp_path, out=tmp_path / name, cache=tmp_path, epochs=4, batch_size=16
        )
        return Trainer(config, network, loss, torch.arange(48), torch.arange(48, 64))

    def die(share: float, _: str) -> None:
        if share == 0.5:
            raise KilledError

    unbroken = make("unbroken")
    unbroken.run(lambda *_: None)
    with pytest.raises(KilledError):
        make("broken").run(die)
    resumed = make("broken")
    resumed.run(lambda *_: None)
    for ours, theirs in zip(resumed.averaged.parameters(), unbroken.averaged.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_loss_is_finite_for_every_draw(corpus: Corpus) -> None:
    network = GeneTransformer(
        conditions=CONDITIONS, condition_mean=(0.0,) * 6, condition_std=(1.0,) * 6, width=32, depth=1, heads=2
    )
    group = torch.from_numpy(corpus.tokens.space_group)
    batch = (group, torch.from_numpy(corpus.tokens.elements), torch.from_numpy(corpus.tokens.letters))
    known = torch.from_numpy(corpus.conditions)
    known[::3, 1] = torch.nan
    for seed in range(5):
        loss = masked_loss(network, batch, known, torch.Generator().manual_seed(seed), 0.3)
        assert torch.isfinite(loss)


def test_draws_have_the_asked_shares(corpus: Corpus) -> None:
    weights = sampling_weights(corpus, 0.6, 0.35)
    assert float(weights[torch.from_numpy(corpus.source == "wbm")].sum()) == pytest.approx(0.35)
    reported = torch.from_numpy(corpus.source == "mp20")
    non_metal = torch.from_numpy(corpus.conditions[:, 0] > 0)
    share = weights[reported & non_metal].sum() / weights[reported].sum()
    # of the reported, two thirds are the insulator, and each of its rows weighs less for that
    assert float(share) == pytest.approx(0.75, abs=0.01)


def test_labellings_are_equivalent_genes(corpus: Corpus) -> None:
    letters, count = labellings(corpus)
    assert count.tolist() == [2] * N
    assert {tuple(row) for row in letters[0, :2].tolist()} == {(1, 2), (2, 1)}


def test_other_data_start_anew(tmp_path: Path, corpus: Corpus) -> None:
    config = _config(tmp_path).model_copy(update={"epochs": 1})
    trainer_of(config, corpus).run(lambda *_: None)
    corpus.conditions[:, 0] += 1.0  # the recipe's text is the same
    said: list[str] = []
    trainer_of(config, corpus).run(lambda _, message: said.append(message))
    assert "starting anew" in said[0]
    assert len(said) == 2
