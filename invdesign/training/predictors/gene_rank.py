"""Train the gene ranker: ``invdesign train configs/predictors/gene-rank.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from invdesign.crystal.gene import Gene
from invdesign.data.relaxed_genes import read_relaxed
from invdesign.io.progress import Progress
from invdesign.predictors.gene_ranker import (
    CHOSEN,
    SOURCES,
    UNSELECTED,
    known_crystals,
    query_origin_features,
    rank_matrix,
)
from invdesign.predictors.models.ensemble import Distribution, Ensemble, Head
from invdesign.stability.hull.hull import Hull
from invdesign.training.cards.render import write_card
from invdesign.training.metrics import (
    View,
    domain_metrics,
    gap_metrics,
    held_out,
    rank_metrics,
    trivial,
)
from invdesign.training.predictors.ensemble import fit
from invdesign.training.predictors.table import (
    PARTS,
    PredictorConfig,
    Table,
    assemble,
    lowest_by_composition,
    read_crystals,
)
from invdesign.training.stability.hull import labelled_e_above_hull, load_shift, on_mp2020, parse, read_set

OLDER_SCALE = "wbm"  # its formation energies need the shift to MP2020
HULL_THRESHOLD = 0.1  # eV/atom
COMPARED = ("wbm", UNSELECTED)
"""Sources for which composition alone and the trivial prediction are measured as well."""
RANGE = (-0.2, 0.5)  # eV/atom; how far beyond is of no interest
HEADS = (
    Head("e_above_hull", calibrated_on=UNSELECTED),
    Head("band_gap", zero=True),
    Head("formation_energy_per_atom"),  # trains the shared layers; not reported
)


class GeneRankConfig(PredictorConfig):
    """Recipe of a gene ranker; kind ``gene-rank``."""

    kind: Literal["gene-rank"]
    relaxed: str = "relaxed-genes"
    note: str = ""  # of the card
    unselected: int  # seed of the campaign that relaxed nearly all; calibrates and tests


def train_gene_rank(config: GeneRankConfig, *, progress: Progress) -> Path:
    """Train, measure and write a gene ranker."""
    table = training_table(config, progress)
    ensemble = fit(table, HEADS, config.network, config.seed, lambda s, m: progress(0.2 + 0.75 * s, m))
    ensemble.save(config.out, config.kind)
    metrics = {
        "members": config.network.members,
        "rows": {part: len(table.rows(part)) for part in PARTS} | {"auxiliary": int(table.extra.sum())},
        "calibrated_on": ["validation", "calibration"],
        "e_above_hull": held_out_metrics(ensemble, table, "e_above_hull"),
        "domain": domain_metrics(ensemble, table, "e_above_hull"),
        "band_gap": held_out_metrics(ensemble, table, "band_gap", query=query_origin_features),
        "note": config.note.strip(),
    }
    write_card(config, "gene_rank", metrics)
    progress(1.0, f"written to {config.out}")
    return config.out


def held_out_metrics(
    ensemble: Ensemble, table: Table, head: str, *, query: View | None = None
) -> dict[str, dict[str, float]]:
    """Return the metrics of one head on the test rows, by source and for the baselines of ``COMPARED``.

    Args:
        ensemble: the model.
        table: its test rows are measured.
        head: property.
        query: turns the features of a held-out crystal into those of a query, if they differ.
    """
    index = [h.name for h in ensemble.heads].index(head)
    zero = ensemble.heads[index].zero

    def measure(found: Distribution, label: np.ndarray) -> dict[str, float]:
        return gap_metrics(found, label) if zero else rank_metrics(found, label, HULL_THRESHOLD)

    def composition_alone(features: np.ndarray) -> np.ndarray:
        alone = features.copy()
        alone[:, table.composition_width :] = np.nan
        alone[:, table.composition_width] = 0.0
        return alone

    columns = {}
    for source, (found, label, inside) in held_out(ensemble, table, head).items():
        columns[source] = measure(found, label) | {"inside": float(inside.mean())}
    if query:
        for source, (found, label, _) in held_out(ensemble, table, head, query).items():
            columns[f"{source}, as a query"] = measure(found, label)
    for source, (found, label, _) in held_out(ensemble, table, head, composition_alone).items():
        if source in COMPARED:
            columns[f"{source}, composition alone"] = measure(found, label)
            columns[f"{source}, trivial"] = measure(trivial(table, index, len(label), zero=zero), label)
    return columns


def training_table(config: GeneRankConfig, progress: Progress) -> Table:
    """Gene features, energies above hull, gaps, formation energies; by composition alone for more.

    Those of generated crystals are predicted from the relaxed structure, not computed with DFT.
    """
    progress(0.0, "energies above hull")
    hull, known = Hull.load(), known_crystals()
    hull_energies, energies = _energies(config)
    blocks = []
    for place, name in enumerate(SOURCES):
        progress(0.05 + 0.05 * place, f"features of {name}")
        crystals = read_crystals(config, name)
        columns = [
            hull_energies[name][crystals.rows],
            crystals.column("band_gap"),
            energies[name][crystals.rows],
        ]
        blocks.append((name, crystals.genes, np.stack(columns, axis=1)))
    blocks += _generated(config)
    return assemble(
        np.concatenate([rank_matrix(genes, name, hull, known) for name, genes, _ in blocks]),
        np.concatenate([labels for _, _, labels in blocks]),
        [gene.formula for _, genes, _ in blocks for gene in genes],
        np.concatenate([np.full(len(genes), name) for name, genes, _ in blocks]),
        auxiliary=_by_composition(config),
        seed=config.seed,
        held_out=UNSELECTED,
    )


def _generated(config: GeneRankConfig) -> list[tuple[str, list[Gene], np.ndarray]]:
    """Relaxed generated crystals, of the campaigns that chose which to relax and of the one that did not."""
    found = read_relaxed(config.relaxed)
    labels = np.full((len(found.proposed), len(HEADS)), np.nan)
    labels[:, 0] = found.e_above_hull.clip(*RANGE)
    labels[:, 1] = found.band_gap
    blocks = []
    for name, rows in (
        (CHOSEN, np.flatnonzero(found.campaign != config.unselected)),
        (UNSELECTED, np.flatnonzero(found.campaign == config.unselected)),
    ):
        blocks.append((name, [found.proposed[row] for row in rows], labels[rows]))
    return blocks


def _energies(config: GeneRankConfig) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Energies above hull (within ``RANGE``) and MP2020 formation energies of every row, by source."""
    labels = labelled_e_above_hull(config.data)
    hull_energies = {name: labels[name].clip(*RANGE) for name in SOURCES}
    energies = {}
    for name in SOURCES:
        table = read_set(config.data, name)
        energies[name] = table["formation_energy_per_atom"].to_numpy()
        if name == OLDER_SCALE:
            compositions = parse(table["pretty_formula"].tolist())
            energies[name] = on_mp2020(compositions, energies[name], load_shift())
    return hull_energies, energies


def _by_composition(config: GeneRankConfig) -> list[dict[str, float]]:
    """For each head, its label by formula where only the composition is known."""
    folder = config.data / "compositions"
    hull = folder / "mp_hull.csv.gz"
    hull_energies = lowest_by_composition(hull, "decomposition_energy_per_atom")
    energies = lowest_by_composition(hull, "formation_energy_per_atom")
    shifted = on_mp2020(parse(list(energies)), np.array(list(energies.values())), load_shift())
    return [
        {formula: min(max(energy, 0.0), RANGE[1]) for formula, energy in hull_energies.items()},
        lowest_by_composition(folder / "mp_band_gap.csv.gz", "band_gap"),
        dict(zip(energies, shifted.tolist(), strict=True)),
    ]
