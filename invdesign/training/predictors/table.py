"""Recipes and rows of the predictors: settings, crystals with labels, auxiliary compositions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from invdesign.composition.formula import composition_key, read_compositions, reduced_amounts
from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.crystal.gene import Gene
from invdesign.data.splits import grouped_split
from invdesign.predictors.features.composition_and_gene import composition_matrix, counts_of, padded
from invdesign.training.recipe import DataRecipe

PARTS = {"train": 0.76, "validation": 0.05, "calibration": 0.09, "test": 0.10}


class Settings(BaseModel):
    """How an ensemble is trained; the ``network`` section of a recipe.

    ``bag`` is the share of training rows each member sees; an epoch draws ``extra_share`` extra rows for
    every one of these, and each weighs ``extra_weight``. Rows of a source named in ``repeat`` are drawn so
    many times an epoch. ``trees``: boosted trees for each head, averaged with the networks, of at
    most ``tree_leaves`` and ``tree_depth`` (-1: any); of the heads in ``trees_alone`` the networks only give
    the uncertainty. ``forest``: so many extra trees of a head, whose mean with its boosted trees counts.
    ``after``: the head, with zeros, whose trees' out-of-fold predictions are features of those of a head.
    ``kernel``: widths of kernel regressions; the best on validation replaces the networks' mean, none if
    empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: int = 3
    width: int = 256
    depth: int = 3
    dropout: float = 0.25
    epochs: int = 14
    patience: int = 5
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    bag: float = 0.9
    extra_share: float = 1.0
    extra_weight: float = 0.5
    repeat: dict[str, int] = {}
    trees: int = 0
    tree_leaves: int = 31
    tree_depth: int = -1
    trees_alone: tuple[str, ...] = ()
    after: dict[str, str] = {}
    forest: dict[str, int] = {}
    kernel: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to learn from.

    Shapes: ``features`` (n, d) float32, ``labels`` (n, heads) float32 (NaN: not known), ``part``
    (n,) one of ``PARTS``, ``source`` (n,) name of the data set, ``extra`` (n,) bool: auxiliary rows
    (known by composition alone, say), with less weight, and are drawn anew each epoch. The first
    ``composition_width`` features follow from the composition.
    """

    features: np.ndarray
    labels: np.ndarray
    part: np.ndarray
    source: np.ndarray
    extra: np.ndarray
    composition_width: int

    def rows(self, part: str) -> np.ndarray:
        """Return the indices of a part's rows, the extra ones left out."""
        return np.flatnonzero((self.part == part) & ~self.extra)


class PredictorConfig(DataRecipe):
    """Recipe of an ensemble."""

    network: Settings = Settings()


@dataclass(frozen=True, slots=True)
class LabelledCrystals:
    """One structure set: the rows with a gene, their genes and the numeric columns of the file."""

    source: str
    rows: np.ndarray
    genes: list[Gene]
    columns: dict[str, np.ndarray]

    def column(self, name: str) -> np.ndarray:
        """Return a column of these rows, all NaN where the file lacks it."""
        return self.columns.get(name, np.full(len(self.rows), np.nan))


def read_crystals(config: DataRecipe, source: str) -> LabelledCrystals:
    """Genes (tokenised once, cached) and numeric columns of ``structures/<source>.csv.gz``."""
    from invdesign.data.tokens import tokenise

    path = config.data / "structures" / f"{source}.csv.gz"
    tokens = tokenise(path, config.cache)
    columns = read_compositions(path).columns
    return LabelledCrystals(
        source,
        tokens.row,
        [tokens.gene(index) for index in range(len(tokens))],
        {name: values[tokens.row] for name, values in columns.items()},
    )


def lowest_by_composition(path: Path, column: str) -> dict[str, float]:
    """Return the lowest value of a column for each composition (formula as first written)."""
    table = read_compositions(path)
    lowest: dict[tuple[tuple[str, int], ...], float] = {}
    for formula, value in zip(table.formulas, table.columns[column], strict=True):
        key = tuple(reduced_amounts(formula).items())
        lowest[key] = min(value, lowest.get(key, np.inf))
    return {"".join(f"{element}{amount}" for element, amount in key): v for key, v in lowest.items()}


def assemble(
    features: np.ndarray,
    labels: np.ndarray,
    formulas: Sequence[str],
    source: np.ndarray,
    *,
    auxiliary: Sequence[Mapping[str, float]],
    seed: int,
    held_out: str = "",
) -> Table:
    """Return a table of crystals, and of compositions known by a label alone.

    The split goes by composition: the label of a composition is left out where its crystals are held out.

    Args:
        features: of the crystals, (n, d).
        labels: of the crystals, (n, heads).
        formulas: of the crystals, (n,).
        source: name of the data set of each, (n,).
        auxiliary: for each head, label by formula.
        seed: of the split.
        held_out: name of a data set whose compositions are all held out, half for calibration, half for test.
    """
    keys = sorted(set().union(*auxiliary))
    extra_labels = np.array([[known.get(key, np.nan) for known in auxiliary] for key in keys])
    extra_labels = extra_labels.reshape(len(keys), len(auxiliary))
    all_formulas = [*formulas, *keys]
    part = parts_of(all_formulas, seed)
    if held_out:
        part = _hold_out(held_out, source, all_formulas, part, seed)
    extra = np.arange(len(all_formulas)) >= len(formulas)
    keep = ~extra | (part == "train")
    amounts = [reduced_amounts(key) for key, kept in zip(keys, keep[extra], strict=True) if kept]
    composition_rows = composition_matrix(counts_of(amounts))
    extra_features = padded(composition_rows, features.shape[1]) if amounts else features[:0]
    return Table(
        np.concatenate([features, extra_features]),
        np.concatenate([labels, extra_labels])[keep].astype(np.float32),
        part[keep],
        np.concatenate([source, np.full(extra.sum(), "compositions")])[keep],
        extra[keep],
        composition_rows.shape[1],
    )


def parts_of(groups: Sequence[str], seed: int) -> np.ndarray:
    """Return the part of each row, (n,) str: one of ``PARTS``, the same for rows of a composition."""
    part = np.empty(len(groups), dtype="<U16")
    for name, rows in zip(PARTS, grouped_split(groups, list(PARTS.values()), seed), strict=True):
        part[rows] = name
    return part


def _hold_out(
    held_out: str, source: np.ndarray, formulas: Sequence[str], part: np.ndarray, seed: int
) -> np.ndarray:
    """Parts with every composition of a data set, wherever it occurs, in calibration or test."""
    keys = np.array([composition_key(formula) for formula in formulas])
    rows = np.flatnonzero(np.isin(keys, keys[: len(source)][source == held_out]))
    halves = grouped_split([formulas[row] for row in rows.tolist()], [0.5, 0.5], seed + 1)
    part = part.copy()
    for name, half in zip(("calibration", "test"), halves, strict=True):
        part[rows[half]] = name
    return part


def without(table: Table, element: str) -> Table:
    """Return the table with all rows that hold an element as its test, and no other row in it.

    Args:
        table: its features begin with the elements' shares, as those of compositions do.
        element: symbol.
    """
    holds = table.features[:, ATOMIC_NUMBER[element] - 1] > 0
    part = np.where(holds, "test", np.where(table.part == "test", "left out", table.part))
    return replace(table, part=part)
