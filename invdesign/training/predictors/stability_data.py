"""What the stability model learns from, split by chemical system: compounds, known or not, and decoys."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import read_compositions
from invdesign.composition.oxidation_states import ChargeRules
from invdesign.crystal.elements import SYMBOLS
from invdesign.filters.charge_balance_batch import charge_verdicts
from invdesign.io.progress import Progress
from invdesign.predictors.stability.analogues import Known, composition_keys, system_keys
from invdesign.predictors.stability.context_features import HullContext
from invdesign.stability.hull.hull import Hull
from invdesign.training.predictors.table import PARTS, Settings, Table, parts_of
from invdesign.training.recipe import Recipe

EXISTS = 0.1
"""eV/atom above the hull up to which a known compound counts as evidence that there is one."""
CAP = (-0.5, 1.0)
"""Energies above hull, eV/atom, between which the model learns: what lies beyond counts as the end."""
SOURCES = ("mp", "wbm", "generated")
DECOY = "decoy"
_HELD = ("validation", "calibration", "test")
FOLDS = 10
"""Training systems in so many folds; half of them see nothing of the same fold, as a novel system would."""
_SHIFT = 10.0  # makes what exists positive and nothing zero, as the head asks
WAYS = ("stoichiometry", "enumerated", "elements")
"""The same elements in the stoichiometry of another compound; in any with up to 12 atoms; its stoichiometry
with other elements, drawn as often as compounds have them."""
KINDS = tuple(product(WAYS, (False, True)))
"""Way, and whether only those count whose charges balance by usual oxidation states, or all-metal ones."""
USUAL = ChargeRules(commonality="medium")
"""Oxidation states with at least a tenth of the element's reports: a quarter of the decoys pass."""
_MOST_ATOMS = 12
_TRIES = 15


class StabilityConfig(Recipe):
    """Recipe of the stability model; kind ``stability``.

    ``decoys``: of each kind, for one known compound. ``generated``: artifact of relaxed generated crystals,
    that count by ``extra_weight`` of ``network``.
    """

    kind: Literal["stability"]
    data: Path
    generated: str = "relaxed-genes"
    decoys: int = 1
    seed: int = 0
    network: Settings = Settings()


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one part and source: features (n, d) and labels (n, 2)."""

    features: NDArray[np.float32]
    labels: NDArray[np.float32]
    part: str
    source: str


@dataclass(frozen=True, slots=True)
class HullEnergies:
    """Compositions of one source and their energies above hull, eV/atom, (n,)."""

    batch: CompositionBatch
    energy: NDArray[np.float64]


def read_mp(data: Path) -> Known:
    """Compounds of ``mp_hull.csv.gz``, one a composition."""
    table = read_compositions(data / "compositions" / "mp_hull.csv.gz")
    batch, wrong = CompositionBatch.of(table.formulas)
    right = np.delete(np.arange(len(table.formulas)), list(wrong))
    formation = table.columns["formation_energy_per_atom"][right]
    known = Known(
        batch,
        formation.astype(np.float32),
        table.columns["decomposition_energy_per_atom"][right].astype(np.float32),
    )
    return known.take(_lowest(batch, formation))


def _lowest(batch: CompositionBatch, energy: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row of lowest energy of each composition; elements are left out."""
    order = np.argsort(energy, kind="stable")
    _, first = np.unique(composition_keys(batch)[order], return_index=True)
    rows = np.sort(order[first])
    return np.asarray(rows[(batch.amounts[rows] > 0).sum(axis=1) > 1])


def read_wbm(data: Path, around: HullContext) -> HullEnergies:
    """Hypothetical compounds of WBM, the lowest of each composition, above or below their competitors."""
    from invdesign.training.stability.hull import load_shift, on_mp2020, parse, read_set

    table = read_set(data, "wbm")
    formulas = table["pretty_formula"].tolist()
    energies = on_mp2020(
        parse(formulas), table["formation_energy_per_atom"].to_numpy(dtype=float), load_shift()
    )
    batch, _ = CompositionBatch.of(formulas)
    rows = _lowest(batch, energies)
    batch = batch.take(rows)
    return HullEnergies(batch, energies[rows] - around.hull.competitors(batch).energy)


def read_generated(name: str) -> HullEnergies:
    """Read generated crystals relaxed with two potentials, the lowest of each composition."""
    from invdesign.data.relaxed_genes import read_relaxed

    relaxed = read_relaxed(name)
    formulas = [relaxed.tokens.gene(row).formula for row in range(len(relaxed.tokens))]
    batch, _ = CompositionBatch.of(formulas)
    energies = relaxed.e_above_hull.astype(float)
    rows = _lowest(batch, energies)
    return HullEnergies(batch.take(rows), energies[rows])


def parts_of_systems(numbers: NDArray[np.integer], seed: int) -> NDArray[np.str_]:
    """Part of each composition by its chemical system alone, (n,).

    Args:
        numbers: atomic numbers, (n, k), 0 where padded.
        seed: of the split.
    """
    systems = ["".join(sorted(SYMBOLS[z] for z in row if z)) for row in numbers.tolist()]
    return parts_of(systems, seed)


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that is read, and what each held-out part may see.

    Attributes:
        hull: known phases.
        known: compounds of the Materials Project.
        all_known: their compositions and then the hull's, (m,): no decoy may be one.
        all_parts: parts of these, (m,).
    """

    hull: Hull
    known: Known
    all_known: CompositionBatch
    all_parts: NDArray[np.str_]

    @property
    def part(self) -> NDArray[np.str_]:
        """Parts of the compounds, (n,)."""
        return self.all_parts[: len(self.known.batch)]

    @classmethod
    def read(cls, data: Path, seed: int) -> Sources:
        """Read the known."""
        hull, known = Hull.load(), read_mp(data)
        of_hull, _ = CompositionBatch.of(hull.formulas)
        both = joined([known.batch, of_hull])
        return cls(hull, known, both, parts_of_systems(both.numbers, seed))

    def without(self, *parts: str, fold: int | None = None) -> HullContext:
        """HullContext to which the systems of these parts are unknown; those of a training fold besides."""
        keys = system_keys(self.all_known.numbers)
        hidden = np.isin(self.all_parts, parts)
        if fold is not None:
            hidden |= fold_of(keys) == fold
        return HullContext(self.hull, self.known, np.unique(keys[hidden]))


def fold_of(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Fold of chemical systems, (n,)."""
    return (keys % np.uint64(FOLDS)).astype(np.int64)


def joined(batches: list[CompositionBatch]) -> CompositionBatch:
    """Several batches one after another."""
    width = max(batch.numbers.shape[1] for batch in batches)
    pads = [((0, 0), (0, width - batch.numbers.shape[1])) for batch in batches]
    numbers = [np.pad(batch.numbers, pad) for batch, pad in zip(batches, pads, strict=True)]
    amounts = [np.pad(batch.amounts, pad) for batch, pad in zip(batches, pads, strict=True)]
    return CompositionBatch(np.concatenate(numbers), np.concatenate(amounts))


def training_table(config: StabilityConfig, sources: Sources, progress: Progress) -> Table:
    """Features, labels and parts; what lies in the systems of a held-out part is hidden from its rows.

    Labels, (n, 2): whether something is there (0 for decoys, above for compounds that lie low, NaN for what
    lies high), and the energy (NaN for decoys).
    """
    rng = np.random.default_rng(config.seed)
    blocks: list[Block] = []
    seen_by_train = sources.without(*_HELD)
    fold = fold_of(system_keys(sources.known.batch.numbers))
    for part in PARTS:
        inside = sources.part == part
        if part != "train":
            around = sources.without("test") if part == "test" else seen_by_train
            blocks += _compounds_and_decoys(sources, inside, around, config.decoys, rng)
            continue
        for number in range(FOLDS // 2):
            progress(number / FOLDS, f"features of training systems, fold {number} of {FOLDS}")
            around = sources.without(*_HELD, fold=number)
            blocks += _compounds_and_decoys(sources, inside & (fold == number), around, config.decoys, rng)
        rest = inside & (fold >= FOLDS // 2)
        blocks += _compounds_and_decoys(sources, rest, seen_by_train, config.decoys, rng)
    progress(0.8, "features of hypothetical compounds")
    taken = composition_keys(sources.all_known)
    read = (
        read_wbm(config.data, HullContext(sources.hull, sources.known)),
        read_generated(config.generated),
    )
    for source, energies in zip(SOURCES[1:], read, strict=True):
        novel = ~np.isin(composition_keys(energies.batch), taken)
        batch, labels = energies.batch.take(novel), _energy_labels(energies.energy[novel])
        of_part, features = parts_of_systems(batch.numbers, config.seed), seen_by_train.features(batch)
        blocks += [Block(features[of_part == part], labels[of_part == part], part, source) for part in PARTS]
    return _table(blocks)


def _compounds_and_decoys(
    sources: Sources,
    chosen: NDArray[np.bool_],
    around: HullContext,
    times: int,
    rng: np.random.Generator,
) -> list[Block]:
    """Rows of some known compounds, of one part, and of decoys of them."""
    known, part = sources.known.take(chosen), str(sources.part[chosen][0])
    blocks = [Block(around.features(known.batch), _known_labels(known), part, SOURCES[0])]
    for kind in KINDS:
        made, _ = decoys(kind, known.batch, sources.all_known, times, rng)
        nothing = np.tile(np.array([0.0, np.nan], dtype=np.float32), (len(made), 1))
        blocks.append(Block(around.features(made), nothing, part, DECOY))
    return blocks


def _energy_labels(energy: NDArray[np.floating]) -> NDArray[np.float32]:
    labels = np.full((len(energy), 2), np.nan, dtype=np.float32)
    labels[:, 1] = np.clip(energy, *CAP)
    return labels


def _known_labels(known: Known) -> NDArray[np.float32]:
    labels = _energy_labels(known.decomposition)
    low = known.decomposition <= EXISTS
    labels[low, 0] = _SHIFT + labels[low, 1]
    return labels


def _table(blocks: list[Block]) -> Table:
    part, source = (
        np.concatenate([np.full(len(b.labels), name) for b, name in zip(blocks, names, strict=True)])
        for names in ([b.part for b in blocks], [b.source for b in blocks])
    )
    return Table(
        np.concatenate([block.features for block in blocks]),
        np.concatenate([block.labels for block in blocks]),
        part,
        source,
        (source == SOURCES[2]) & (part == "train"),
        0,
    )


def decoys(
    kind: tuple[str, bool],
    real: CompositionBatch,
    known: CompositionBatch,
    times: int,
    rng: np.random.Generator,
) -> tuple[CompositionBatch, NDArray[np.int64]]:
    """Compositions that are not known, ``times`` for each real one where so many are found.

    Args:
        kind: one of ``KINDS``.
        real: what they are made after.
        known: what none of them may be; its stoichiometries and elements are drawn from.
        times: how many.
        rng: source of chance.

    Returns:
        The decoys (with repeats), and which real one each is of.
    """
    way, neutral = kind
    of = np.repeat(np.arange(len(real)), times)
    numbers, amounts = real.numbers[of].copy(), real.amounts[of].copy()
    size, taken = (amounts > 0).sum(axis=1), composition_keys(known)
    todo = np.arange(len(of))
    for _ in range(_TRIES):
        for k in np.unique(size[todo]).tolist():
            rows = todo[size[todo] == k]
            if way == "elements":
                numbers[rows, :k] = _elements(known, len(rows), k, rng)
            elif way == "stoichiometry":
                amounts[rows, :k] = _stoichiometries(known, len(rows), k, rng)
            else:
                amounts[rows, :k] = _small(len(rows), k, rng)
        made = CompositionBatch(numbers[todo], amounts[todo])
        passed = ~np.isin(composition_keys(made), taken)
        if neutral:
            passed &= charge_verdicts(made, USUAL) > 0
        todo = todo[~passed]
        if not len(todo):
            break
    kept = np.ones(len(of), dtype=bool)
    kept[todo] = False
    return CompositionBatch(numbers[kept], amounts[kept]), of[kept]


def _elements(known: CompositionBatch, n: int, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw k different elements n times, as often as the known compounds have them (Gumbel's trick)."""
    often = np.bincount(known.numbers[known.amounts > 0], minlength=len(SYMBOLS)).astype(float)
    with np.errstate(divide="ignore"):
        score = np.log(often) + rng.gumbel(size=(n, len(SYMBOLS)))
    return np.argsort(-score, axis=1)[:, :k]


def _stoichiometries(known: CompositionBatch, n: int, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Those of known compounds of k elements, in any order, n times."""
    pool = np.flatnonzero((known.amounts > 0).sum(axis=1) == k)
    return rng.permuted(known.amounts[rng.choice(pool, n), :k], axis=1)


def _small(n: int, k: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Any of up to 12 atoms (of many elements k + 2), in smallest whole numbers, n times."""
    most = max(_MOST_ATOMS, k + 2)
    drawn = np.zeros((n, k), dtype=np.int32)
    left = np.arange(n)
    while len(left):
        drawn[left] = rng.integers(1, most - k + 2, (len(left), k))
        left = left[(drawn[left].sum(axis=1) > most) | (np.gcd.reduce(drawn[left], axis=1) > 1)]
    return drawn
