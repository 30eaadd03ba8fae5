"""Train the synthesizability score: positive-unlabelled bagging on reported and hypothetical crystals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from invdesign.crystal.gene import Gene
from invdesign.io.progress import Progress
from invdesign.predictors.features.composition_and_gene import gene_matrix
from invdesign.predictors.synthesizability import Bag, Synthesizability
from invdesign.training.cards.render import write_card
from invdesign.training.metrics import auc, calibration_error
from invdesign.training.predictors.table import PredictorConfig, Settings, parts_of, read_crystals


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
    """Train a bag: every member on all reported rows and a separate draw of as many others.

    Args:
        features: (n, d) of ``gene_matrix``, NaN where unknown.
        maker: (n,) 0 where a crystal was reported; of the unlabelled ones their source, 1, 2, …: a draw
            has as many of each.
        settings: sizes and schedule.
        seed: of weights, draws and batches.
        progress: called with (share done, message) after each epoch.
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
    table = CrystalTable.read(config, progress)
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
    released = Synthesizability.load(config.out)
    metrics = held_out_metrics(released, table, config, lambda s, m: progress(0.7 + 0.3 * s, m))
    write_card(config, "synthesizability", metrics)
    progress(1.0, f"written to {config.out}")
    return config.out


REPORTED = ("mp20", "mpts52")
SUBSTITUTED, GENERATED = "wbm", "generated"
SOURCES = (*REPORTED, SUBSTITUTED, GENERATED)
LOW = 0.1  # eV/atom above the hull: the default limit of a campaign
COMPARED_MEMBERS = 2  # of the variants that the card compares with


@dataclass(frozen=True, slots=True)
class CrystalTable:
    """Crystals of all sources.

    Attributes:
        features: of ``gene_matrix``, (n, d).
        reported: whether it was made and reported, (n,) bool.
        source: ``mp20``, ``mpts52``, ``wbm`` or ``generated``, (n,).
        part: ``train``, ``validation``, ``calibration`` or ``test``, by reduced composition, (n,).
        e_above_hull: energy above hull, eV/atom, (n,).
        size: number of elements and of atoms, (n, 2).
        composition_width: so many features follow from the composition.
    """

    features: NDArray[np.float32]
    reported: NDArray[np.bool_]
    source: NDArray[np.str_]
    part: NDArray[np.str_]
    e_above_hull: NDArray[np.float64]
    size: NDArray[np.int64]
    composition_width: int

    @property
    def maker(self) -> NDArray[np.int64]:
        """0 of the reported, 1 of WBM, 2 of generated ones, (n,)."""
        return np.where(self.reported, 0, np.where(self.source == SUBSTITUTED, 1, 2))

    @classmethod
    def read(cls, config: SynthesizabilityConfig, progress: Progress) -> CrystalTable:
        """Read reported crystals of mp20 and mpts52, hypothetical ones of WBM, relaxed generated ones.

        A hypothetical crystal with the gene of a reported one is that one, and left out.
        """
        from invdesign.data.relaxed_genes import read_relaxed
        from invdesign.predictors.features.composition_and_gene import composition_matrix, counts_of
        from invdesign.training.stability.hull import labelled_e_above_hull

        progress(0.0, "reading crystals")
        labels = labelled_e_above_hull(config.data)
        blocks: list[tuple[str, list[Gene], NDArray[np.float64]]] = []
        for name in (*REPORTED, SUBSTITUTED):
            crystals = read_crystals(config, name)
            blocks.append((name, crystals.genes, labels[name][crystals.rows]))
        relaxed = read_relaxed(config.relaxed)
        blocks.append(
            (GENERATED, [relaxed.tokens.gene(i) for i in range(len(relaxed.tokens))], relaxed.e_above_hull)
        )
        known = {gene.hash for name, genes, _ in blocks if name in REPORTED for gene in genes}
        rows = [
            (name, gene, energy)
            for name, genes, energies in blocks
            for gene, energy in zip(genes, energies, strict=True)
            if name in REPORTED or gene.hash not in known
        ]
        genes = [gene.canonical() for _, gene, _ in rows]
        progress(0.1, f"features of {len(rows)} crystals")
        source = np.array([name for name, _, _ in rows])
        return cls(
            gene_matrix(genes),
            np.isin(source, REPORTED),
            source,
            parts_of([gene.formula for gene in genes], config.seed),
            np.array([energy for _, _, energy in rows]),
            np.array([(len(gene.elements), gene.n_atoms) for gene in genes]),
            composition_matrix(counts_of([{"Na": 1}])).shape[1],
        )

    def composition_alone(self) -> NDArray[np.float32]:
        """Features with everything but the composition hidden."""
        hidden = self.features.copy()
        hidden[:, self.composition_width :] = np.nan
        return hidden


def measure(
    score: NDArray[np.float64], table: CrystalTable, against: str, chosen: NDArray[np.bool_]
) -> dict[str, float]:
    """How well a score separates reported crystals from those of one source, in the test rows ``chosen``.

    Args:
        score: of every row, (n,).
        table: all rows.
        against: ``wbm`` or ``generated``.
        chosen: (n,).

    Returns:
        Numbers of both, AUC, AUC within crystals similar in size, AUC of the energy above hull alone.
    """
    rows = chosen & (table.part == "test") & (table.reported | (table.source == against))
    positive = table.reported[rows]
    return {
        "n_reported": int(positive.sum()),
        "n_hypothetical": int((~positive).sum()),
        "auc": auc(score[rows], positive),
        "auc_similar_size": stratified_auc(score[rows], positive, strata(table.size[rows])),
        "auc_energy": auc(-table.e_above_hull[rows], positive),
    }


def strata(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each crystal that those of as many elements and about as many atoms share, (n,)."""
    atoms = np.digitize(size[:, 1], [3, 5, 7, 9, 11, 13, 15, 17, 19])
    return np.asarray(size[:, 0] * 16 + atoms)


def stratified_auc(
    score: NDArray[np.float64], positive: NDArray[np.bool_], stratum: NDArray[np.int64]
) -> float:
    """AUC over the pairs within one stratum, all strata together."""
    total, pairs = 0.0, 0
    for value in np.unique(stratum):
        chosen = stratum == value
        n = int(positive[chosen].sum()) * int((~positive[chosen]).sum())
        if n:
            total += n * auc(score[chosen], positive[chosen])
            pairs += n
    return total / pairs if pairs else float("nan")


def held_out_metrics(
    model: Synthesizability, table: CrystalTable, config: SynthesizabilityConfig, progress: Progress
) -> dict[str, Any]:
    """Return the numbers of the card: the model and variants of it, trained here, on the test rows."""
    scores = {"released": model.score_features(table.features)}
    fewer = config.network.model_copy(update={"members": COMPARED_MEMBERS})
    train = table.part == "train"
    variants = {
        "composition alone": (table.composition_alone(), train),
        "trained without our generated crystals": (table.features, train & (table.source != GENERATED)),
        "trained without WBM": (table.features, train & (table.source != SUBSTITUTED)),
    }
    for number, (name, (features, rows)) in enumerate(variants.items()):
        progress(number / len(variants), f"compared with: {name}")
        other = fit(features[rows], table.maker[rows], fewer, config.seed, lambda _share, _message: None)
        scores[name] = other.score_features(features)
    every, low = np.ones(len(table.source), bool), table.e_above_hull <= LOW
    score, test = scores["released"], table.part == "test"
    chance = weights(table.maker[test])
    even = np.random.default_rng(0).choice(len(chance), 20_000, p=chance)
    in_test = {name: score[test & (table.source == name)] for name in SOURCES}
    return {
        "members": config.network.members,
        "members_of_variants": COMPARED_MEMBERS,
        "rows_of": {
            name: {
                part: np.count_nonzero(table.part[table.source == name] == part) for part in ("train", "test")
            }
            for name in SOURCES
        },
        "comparisons": [
            {
                "against": against,
                "low": chosen is low,
                "model": name,
                **measure(compared, table, against, chosen),
            }
            for chosen in (every, low)
            for against in (SUBSTITUTED, GENERATED)
            for name, compared in scores.items()
        ],
        "scores": {
            name: {"above_half": float((found > 0.5).mean()), "median": float(np.median(found))}
            for name, found in in_test.items()
        },
        "low_generated_above_half": float((score[test & (table.source == GENERATED) & low] > 0.5).mean()),
        "ece": calibration_error(score[test][even], table.reported[test][even]),
    }
