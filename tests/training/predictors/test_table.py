"""Tables: no compound on two sides, and nothing learned from a held-out composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from invdesign.composition.formula import composition_key
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.predictors.features.composition_and_gene import gene_matrix
from invdesign.training.predictors.property import LearnedProperty, PropertyConfig, training_table
from invdesign.training.predictors.table import assemble, lowest_by_composition

if TYPE_CHECKING:
    from pathlib import Path

METALS = [
    "Li",
    "Na",
    "K",
    "Rb",
    "Cs",
    "Mg",
    "Ca",
    "Sr",
    "Ba",
    "Sc",
    "Y",
    "La",
    "Ti",
    "Zr",
    "Hf",
    "Mn",
    "Fe",
    "Co",
    "Ni",
    "Cu",
    "Zn",
    "Cd",
]
ANIONS = ["O", "S", "Se", "Te"]


def test_lowest_value_of_each_composition(tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text("formula,band_gap\nNa2Cl2,5.1\nNaCl,4.9\nNaN,0.0\n")
    assert lowest_by_composition(path, "band_gap") == {"Cl1Na1": 4.9, "N1Na1": 0.0}


def test_held_out_compositions_are_not_trained_on() -> None:
    genes = [Gene.parse(f"225 {metal}@a {anion}@b") for metal in METALS for anion in ANIONS]
    keys = [composition_key(gene.formula) for gene in genes]
    features, n = gene_matrix(genes), len(genes)
    taught = dict.fromkeys([*keys, "Cl1Na1"], 1.0)
    labels = np.full((n, 1), 2.0)
    formulas = [gene.formula for gene in genes]
    table = assemble(features, labels, formulas, np.full(n, "mine"), auxiliary=[taught], seed=0)
    assert not table.extra[:n].any()
    assert table.extra[n:].all()
    assert set(table.part[table.extra]) == {"train"}
    n_train = (table.part[:n] == "train").sum()
    assert n_train < n
    assert table.extra.sum() - n_train in {0, 1}  # salt is nobody's crystal: in training or left out
    assert (table.labels[table.extra] == 1.0).all()
    assert np.isnan(table.features[table.extra][:, -1]).all()
    assert table.rows("train").tolist() == np.flatnonzero(table.part[:n] == "train").tolist()


def test_same_seed_same_split() -> None:
    genes = [Gene.parse(f"225 {metal}@a O@b") for metal in METALS]
    features, formulas = gene_matrix(genes), [gene.formula for gene in genes]
    parts = [
        assemble(
            features, np.ones((22, 1)), formulas, np.full(22, "x"), auxiliary=[{}], seed=seed
        ).part.tolist()
        for seed in (0, 0, 1)
    ]
    assert parts[0] == parts[1]
    assert parts[0] != parts[2]


def test_labels_of_two_tables_meet_on_one_row() -> None:
    genes = [Gene.parse("225 Na@a Cl@b")]
    table = assemble(
        gene_matrix(genes),
        np.array([[1.0, np.nan]]),
        ["NaCl"],
        np.array(["x"]),
        auxiliary=[{"Li1F1": 0.5, "Mg1O1": 0.1}, {"Mg1O1": 4.0}],
        seed=3,
    )
    assert table.labels.shape[1] == 2
    assert pytest.approx(table.labels[0, 0]) == 1.0


def test_compositions_of_the_evaluated_set_are_held_out_wherever_they_occur() -> None:
    genes = [Gene.parse(f"225 {metal}@a {anion}@b") for metal in METALS for anion in ANIONS]
    n = len(genes)
    formulas = [gene.formula for gene in genes] * 2
    source = np.array(["known"] * n + ["judged"] * n)
    source[n : n + 60] = "known"
    taught = dict.fromkeys([composition_key(formula) for formula in formulas], 1.0)
    table = assemble(
        np.concatenate([gene_matrix(genes)] * 2),
        np.ones((2 * n, 1)),
        formulas,
        source,
        auxiliary=[taught],
        seed=0,
        held_out="judged",
    )
    held_out = {f for f, name in zip(formulas, source, strict=True) if name == "judged"}
    parts = {part for f, part in zip(formulas, table.part[: 2 * n], strict=True) if f in held_out}
    assert parts == {"calibration", "test"}
    assert len(table.part) - 2 * n <= len(set(formulas) - held_out)
    assert (table.part[: 2 * n] == "train").any()


def test_hypothetical_crystals_of_no_data_file_are_reported(tmp_path: Path) -> None:
    measured = {"hardness": LearnedProperty(hypothetical="guessed")}
    config = PropertyConfig(
        kind="property", out=tmp_path, data=({"file": "mine.csv"},), properties=measured, sees="composition"
    )
    with pytest.raises(InputError, match="hypothetical of hardness is 'guessed', none of the data files"):
        training_table(config, lambda *_: None)
