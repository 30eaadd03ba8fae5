"""Train a property model: from the data files of a recipe to weights and card; kind ``property``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from invdesign.composition.formula import formula_amounts, read_compositions, reduced_amounts
from invdesign.core.properties import PROPERTIES
from invdesign.crystal.elements import atomic_number
from invdesign.data.dataset import is_formula_table, read_dataset
from invdesign.data.materials_project import MaterialsProject
from invdesign.errors import InputError
from invdesign.io.progress import Progress
from invdesign.predictors.features.composition_and_gene import (
    composition_and_space_group_rows,
    composition_rows,
)
from invdesign.predictors.features.structure import (
    BASE,
    Described,
    columns_of,
    described_entries,
    described_file,
    gene_or_general,
)
from invdesign.predictors.models.ensemble import Ensemble, Head
from invdesign.predictors.property_predictor import LearnedProperty
from invdesign.training.cards.render import write_card
from invdesign.training.metrics import domain_metrics, property_metrics
from invdesign.training.predictors.ensemble import fit
from invdesign.training.predictors.table import PARTS, Settings, Table, assemble, without
from invdesign.training.recipe import Recipe

Sees = Literal["structure", "composition", "composition and space group"]
LEAST_ROWS = 65  # of 14 % in validation and calibration, LEAST_SCORES
FORMATION_ENERGY = "formation_energy_per_atom"


class DataFile(BaseModel):
    """One file of a recipe: crystals, or compositions where it has no crystals.

    ``older_scale``: its formation energies carry the Materials Project's older corrections. Of
    ``mp_structures.npz``, the Materials Project's crystals with a gap, ``most_sites`` limits the size,
    crystals whose id is in a file of ``unlike`` are left out, and those of ``cells`` take their cells there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path
    older_scale: bool = False
    most_sites: int = 20
    unlike: tuple[Path, ...] = ()
    cells: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return every file that is read for it."""
        return (self.file, *self.unlike, *self.cells)


class PropertyConfig(Recipe):
    """Recipe of a property model; kind ``property``.

    ``of_several``: what counts of a composition's several rows where only the composition is seen.
    ``embeddings``: the potentials whose embeddings of a structure the model sees, ``chgnet`` first.
    ``inputs``: numeric columns that it sees too, each with the value for files without it and for prediction.
    ``without``: elements, each left out of a further training for the error there in the card.
    """

    kind: Literal["property"]
    data: tuple[DataFile, ...]
    properties: dict[str, LearnedProperty]
    sees: Sees = "structure"
    embeddings: tuple[str, ...] = (BASE,)
    inputs: dict[str, float] = Field({})
    of_several: Literal["lowest", "mean"] = "lowest"
    without: tuple[str, ...] = ()
    note: str = ""
    seed: int = 0
    cache: Path = Path(".cache/invdesign")
    network: Settings = Settings()

    @field_validator("without")
    @classmethod
    def _elements(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in given:
            atomic_number(symbol)
        return given

    @model_validator(mode="after")
    def _structures(self) -> Self:
        """Check what only models of structures see."""
        if self.embeddings[:1] != (BASE,) or len({*self.embeddings}) < len(self.embeddings):
            raise InputError(
                f"embeddings: {', '.join(self.embeddings) or 'none'}; give {BASE} first, then other "
                "potentials, each once, such as [chgnet, 7net-0]."
            )
        if self.sees != "structure" and (len(self.embeddings) > 1 or self.inputs):
            raise InputError(f"embeddings, inputs: a model of {self.sees} sees none; leave them out.")
        return self

    @model_validator(mode="after")
    def _heads(self) -> Self:
        """Check that the heads in the network's settings are properties."""
        own, zeros = set(self.properties), {name for name, m in self.properties.items() if m.zero}
        network = self.network
        for setting, named, known in (
            ("trees_alone", network.trees_alone, own),
            ("forest", network.forest, own),
            ("after", network.after, own),
            ("after", network.after.values(), zeros - set(network.after)),
        ):
            for name in sorted(set(named) - known):
                words = " or ".join(sorted(known)) or "nothing"
                raise ValueError(f"network: {setting} names {name!r}; {words} can be named there.")
        return self

    @field_validator("data", mode="before")
    @classmethod
    def _files(cls, given: object) -> object:
        """Accept a single path, or a list whose entries may be plain paths."""
        entries = given if isinstance(given, list | tuple) else [given]
        return [entry if isinstance(entry, dict | DataFile) else {"file": entry} for entry in entries]


def _source(path: Path) -> str:
    """Return what a file's rows are called: its name up to the first dot."""
    return path.name.split(".")[0]


def training_table(config: PropertyConfig, progress: Progress) -> Table:
    """Features, labels and parts of a recipe's rows.

    Raises:
        InputError: a file is missing or has none of the columns, too few rows have a label, or what is
            called hypothetical is none of the files.
    """
    names = [_source(entry.file) for entry in config.data]
    for name, measured in config.properties.items():
        if measured.hypothetical not in ("", *names):
            msg = f"properties: hypothetical of {name} is {measured.hypothetical!r}, none of the data files; "
            msg += f"give {' or '.join(names)}."
            raise InputError(msg)
    blocks = []
    for place, entry in enumerate(config.data):
        share = place / len(config.data)
        progress(share, f"reading {entry.file.name}")
        blocks.append(_block(config, entry, partial(_within, progress, share)))
    crystals = [block for block in blocks if not block.auxiliary]
    known = sum(len(block.labels) for block in crystals)
    if known < LEAST_ROWS:
        raise InputError(
            f"data: {known} rows have a {' or '.join(config.properties)}; at least {LEAST_ROWS} are needed "
            f"to train a model of {config.sees}; with fewer train --from a released model."
        )
    return assemble(
        np.concatenate([block.features for block in crystals]),
        np.concatenate([block.labels for block in crystals]),
        [formula for block in crystals for formula in block.formulas],
        np.concatenate([np.full(len(block.formulas), block.name) for block in crystals]),
        auxiliary=_labels_by_formula([block for block in blocks if block.auxiliary], len(config.properties)),
        seed=config.seed,
    )


def _within(progress: Progress, share: float, _: float, message: str) -> None:
    progress(share, message)


class _Block:
    """Rows of one file: features (n, d), labels (n, heads), formulas; ``auxiliary``: compositions only."""

    def __init__(self, name: str, features: np.ndarray, labels: np.ndarray, formulas: list[str]) -> None:
        known = ~np.isnan(labels).all(axis=1)
        self.name = name
        self.features = features[known] if len(features) else features
        self.labels = labels[known]
        self.formulas = [formula for formula, kept in zip(formulas, known, strict=True) if kept]
        self.auxiliary = len(features) == 0


def _block(config: PropertyConfig, entry: DataFile, progress: Progress) -> _Block:
    path = entry.file
    for needed in entry.paths:
        if not needed.exists():
            raise InputError(
                f"data: {str(needed)!r} is not there; give a CSV with a cif or formula column, or a "
                "structure file."
            )
    name = _source(path)
    if is_formula_table(path):
        table = read_compositions(path)
        labels = _labels(config, table.columns, path)
        labels = _on_scale(labels, table.formulas, entry, config.properties)
        formulas, labels = _by_composition(table.formulas, labels, config.of_several)
        if config.sees != "composition":
            return _Block(name, np.zeros((0, 0)), labels, formulas)
        return _Block(name, composition_rows(formulas), labels, formulas)
    if config.sees == "structure":
        described, columns = _described(config, entry, progress)
        labels, formulas = _labels(config, columns, path), described.formulas.tolist()
        labels = _on_scale(labels, formulas, entry, config.properties)
        for index, measured in enumerate(config.properties.values()):
            if measured.beyond:
                labels[:, index] -= described.energy
        features = described.seen_with(config.embeddings, tuple(config.inputs.values()))
        for index, column in enumerate(config.inputs, start=features.shape[1] - len(config.inputs)):
            features[:, index] = columns.get(column, features[:, index])
        return _Block(name, features, labels, formulas)
    formulas, space_groups, columns = _genes(path)
    labels = _on_scale(_labels(config, columns, path), formulas, entry, config.properties)
    if config.sees == "composition":
        formulas, labels = _by_composition(formulas, labels, config.of_several)
        return _Block(name, composition_rows(formulas), labels, formulas)
    return _Block(name, composition_and_space_group_rows(formulas, space_groups), labels, formulas)


def _described(
    config: PropertyConfig, entry: DataFile, progress: Progress
) -> tuple[Described, dict[str, np.ndarray]]:
    """Descriptions and numeric columns of the crystals of a file."""
    if entry.file.suffix != ".npz":
        return described_file(entry.file, config.cache, progress, config.embeddings)
    left_out = {known.id for file in entry.unlike for known in read_dataset(file)}
    cells = {known.id: known.structure for file in entry.cells for known in read_dataset(file)}
    crystals = list(MaterialsProject.read(entry.file).with_gaps(entry.most_sites, left_out, cells))
    return described_entries(_source(entry.file), crystals, config.cache, progress, config.embeddings)


def _genes(path: Path) -> tuple[list[str], list[int], dict[str, np.ndarray]]:
    """Formulas, space groups and numeric columns of the crystals of a file."""
    entries = list(read_dataset(path))
    genes = [gene_or_general(entry.structure) for entry in entries]
    return [gene.formula for gene in genes], [gene.space_group for gene in genes], columns_of(entries)


def _labels(config: PropertyConfig, columns: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Labels (n, heads) as the model works on them."""
    n = len(next(iter(columns.values()), ()))
    labels = np.full((n, len(config.properties)), np.nan)
    found = False
    for index, (name, measured) in enumerate(config.properties.items()):
        column = next((c for c in measured.columns or (name,) if c in columns), None)
        if column is None:
            continue
        found = True
        values = columns[column].astype(float)
        if measured.log10 and not column.startswith("log10_"):
            values = np.log10(np.where(values > measured.least, values, np.nan))
        if measured.zero:
            values = np.where(values < measured.least, 0.0, values)
        labels[:, index] = values
    if not found:
        wanted = [c for name, m in config.properties.items() for c in m.columns or (name,)]
        raise InputError(
            f"data: {str(path)!r} has no column {' or '.join(wanted)} with numbers (it has "
            f"{', '.join(columns) or 'none'}); name it under properties, columns."
        )
    return labels


def _on_scale(
    labels: np.ndarray, formulas: Sequence[str], entry: DataFile, properties: Iterable[str]
) -> np.ndarray:
    if not entry.older_scale:
        return labels
    from invdesign.training.stability.hull import load_shift, on_mp2020, parse

    shifted = labels.copy()
    for index in [i for i, name in enumerate(properties) if name == FORMATION_ENERGY]:
        shifted[:, index] = on_mp2020(parse(formulas), labels[:, index], load_shift())
    return shifted


def _by_composition(
    formulas: Sequence[str], labels: np.ndarray, of_several: str
) -> tuple[list[str], np.ndarray]:
    """One row a reduced composition; doped ones, in no ratio of small whole numbers, are left out."""
    rows: dict[str, list[int]] = {}
    for row, formula in enumerate(formulas):
        try:
            amounts = reduced_amounts(formula)
        except InputError:
            formula_amounts(formula)  # what is no formula at all is still reported
            continue
        rows.setdefault("".join(f"{element}{n}" for element, n in amounts.items()), []).append(row)
    fold = np.fmin.reduce if of_several == "lowest" else _mean
    return list(rows), np.array([fold(labels[own]) for own in rows.values()])


def _mean(labels: np.ndarray) -> np.ndarray:
    known = ~np.isnan(labels)
    return np.where(known.any(0), np.nansum(labels, axis=0) / np.maximum(known.sum(0), 1), np.nan)


def _labels_by_formula(blocks: Sequence[_Block], n_heads: int) -> list[dict[str, float]]:
    """For each head, label by formula."""
    labels: list[dict[str, float]] = [{} for _ in range(n_heads)]
    for block in blocks:
        for formula, row in zip(block.formulas, block.labels, strict=True):
            for head, label in zip(labels, row.tolist(), strict=True):
                if not np.isnan(label):
                    head[formula] = label
    return labels


def train_property(config: PropertyConfig, *, progress: Progress) -> Path:
    """Train, measure and write a property model."""
    start = time.process_time()
    table = training_table(config, lambda share, message: progress(0.4 * share, message))
    each = 0.55 / (1 + len(config.without))
    ensemble = train_on(config, table, lambda share, message: progress(0.4 + each * share, message))
    minutes = (time.process_time() - start) / 60
    metrics = card_metrics(config, ensemble, table) | {"cpu_minutes": minutes}
    for place, element in enumerate(config.without, start=1):
        progress(0.4 + place * each, f"again, without {element}")
        part = without(table, element)
        other = train_on(config, part, lambda *_: None)
        for name, prop in config.properties.items():
            found = property_metrics(other, part, name, prop)
            columns = {f"{element}, {k}": v for k, v in found.items() if not k.endswith(", trivial")}
            metrics["without"].setdefault(name, {}).update(columns)
    ensemble.save(config.out, config.kind)
    write_card(config, "property", metrics)
    progress(1.0, f"written to {config.out}")
    return config.out


def card_metrics(config: PropertyConfig, ensemble: Ensemble, table: Table) -> dict[str, Any]:
    """Return the metrics of a model and its test rows for the card; template ``property``."""
    network, calibration = config.network, ensemble.calibration
    return {
        "name": config.out.name,
        "sees": config.sees,
        "embeddings": list(config.embeddings),
        "inputs": config.inputs,
        "learner": "kernel" if network.kernel else "trees" if network.trees else "networks",
        "members": network.members,
        "by_thirds": any(len(set(scales)) > 1 for scales in calibration.scales.values()),
        "hypothetical": sorted({head.hypothetical for head in ensemble.heads if head.hypothetical}),
        "data": [entry.file.name for entry in config.data],
        "rows": {part: len(table.rows(part)) for part in PARTS} | {"auxiliary": int(table.extra.sum())},
        "seed": config.seed,
        "note": config.note.strip(),
        "properties": {
            name: {
                "words": PROPERTIES[name].words if name in PROPERTIES else name,
                **prop.model_dump(include={"unit", "log10", "zero"}),
                "trees_alone": name in network.trees_alone,
                "forest": name in network.forest,
                "after": network.after.get(name, ""),
                "held_out": property_metrics(ensemble, table, name, prop),
                "domain": domain_metrics(ensemble, table, name),
            }
            for name, prop in config.properties.items()
        },
        "without": {},
    }


def train_on(config: PropertyConfig, table: Table, progress: Progress) -> Ensemble:
    """Fit an ensemble to a recipe's table."""
    network = config.network
    heads = tuple(
        Head(
            name,
            m.zero,
            hypothetical=m.hypothetical,
            trees_alone=name in network.trees_alone,
            after=network.after.get(name, ""),
        )
        for name, m in config.properties.items()
    )
    ensemble = fit(table, heads, network, config.seed, progress)
    ensemble.about = {
        "sees": config.sees,
        "properties": {name: m.model_dump(mode="json") for name, m in config.properties.items()},
        "embeddings": list(config.embeddings),
        "inputs": config.inputs,
    }
    return ensemble
