"""What drove a prediction: Shapley values of groups of features that have a name in materials science.

A group is switched from the average training crystal (every feature at its mean) to the crystal at hand; what
that changes, averaged over orders in which the groups can be switched, is its contribution. In every order
the changes add up to the difference between the two predictions, so the contributions do. It needs nothing of
a model but its predictions: networks, kernels and trees are explained the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.predictors.features.bonds import N_BOND_FEATURES
from invdesign.predictors.features.composition_and_gene import widths

if TYPE_CHECKING:
    from invdesign.predictors.models.ensemble import Ensemble
    from invdesign.predictors.transfer import Transferred

    Value = Callable[[np.ndarray], np.ndarray]

ORDERS = 24  # drawn; each is also taken backwards, which halves the error
ABSENT, AVERAGES, BALANCE = "elements that are absent", "means over the elements", "charge balance"
SITES, SIZE, BONDS = "space group and sites", "volume and density", "bonds"
ELECTRONS = "electron count"
_N_SIZE = 4  # columns of volume and density
_N_BALANCE = 2  # last columns of the composition
_ALIKE = 3  # decimals of the features of atoms that count as one kind of site
_WORDS = 2  # drivers named each way


@dataclass(frozen=True, slots=True)
class Driver:
    """What one group of features adds to the prediction, in the property's unit.

    An element's includes ``local_environment``: CHGNet's features of its atoms.
    """

    name: str
    contribution: float
    local_environment: float = 0.0


@dataclass(frozen=True, slots=True)
class Attribution:
    """A prediction taken apart: ``baseline`` plus all contributions, and ``residual``, is ``expected``.

    Attributes:
        baseline: prediction for what the contributions start from.
        expected: the crystal's expected value (a share of it counts as zero where the model doubts).
        drivers: largest first.
        sites: what each atom (of a model of features: CHGNet's features of it) adds, (n_atoms,); part of its
            element's contribution.
        start: what the contributions start from.
        residual: what they leave over; nothing, but for integrated gradients.
    """

    baseline: float
    expected: float
    drivers: tuple[Driver, ...]
    sites: np.ndarray
    start: str = "average training crystal"
    residual: float = 0.0


def attribute(
    value: Value,
    ensemble: Ensemble | Transferred,
    features: np.ndarray,
    species: Sequence[str],
    atoms: np.ndarray,
) -> Attribution:
    """Take the prediction for one crystal apart.

    Args:
        value: the predicted value (n,) of standardised rows (n, d).
        ensemble: whose scales the rows have.
        features: of ``structure_matrix``, (d,).
        species: element of each atom.
        atoms: CHGNet's features of each, (n_atoms, e), whose mean ends ``features``; nan where it failed.
    """
    row = ensemble.standardise(features[None])[0]
    kinds = _kinds(species, atoms)
    parts = _parts(ensemble, row, atoms)
    named = groups(len(row) - atoms.shape[1], frozenset(species))
    deltas = np.zeros((len(named) + len(kinds), len(row)), dtype=np.float32)
    for place, columns in enumerate(named.values()):
        deltas[place, columns] = row[columns]
    for place, members in enumerate(kinds, start=len(named)):
        deltas[place, -atoms.shape[1] :] = parts[members].sum(axis=0)
    baseline, expected, shares = shapley(value, deltas)
    sites = np.zeros(len(species))
    for members, share in zip(kinds, shares[len(named) :].tolist(), strict=True):
        sites[members] = share / len(members)
    drivers = []
    for name, share in zip(named, shares.tolist(), strict=False):
        of_sites = float(sites[[symbol == name for symbol in species]].sum())
        drivers.append(Driver(name, share + of_sites, of_sites))
    drivers.sort(key=lambda driver: -abs(driver.contribution))
    return Attribution(baseline, expected, tuple(drivers), sites)


def shapley(value: Value, deltas: np.ndarray, seed: int = 0) -> tuple[float, float, np.ndarray]:
    """Share of every player in the way from zeros to the sum of their parts.

    Args:
        value: of rows (n, d).
        deltas: what each player adds to the row, (players, d).
        seed: of the orders.

    Returns:
        The value without players, with all, and each one's share (players,); these add up to the difference.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(deltas)) for _ in range(ORDERS)]
    orders += [order[::-1] for order in orders]
    rows = [np.cumsum(deltas[order[:-1]], axis=0) for order in orders]  # all but the ends, which they share
    ends = np.stack([np.zeros_like(deltas[0]), deltas.sum(axis=0)])
    found = value(np.concatenate([ends, *rows])).astype(np.float64)
    first, last = found[:2].tolist()
    shares = np.zeros(len(deltas))
    for order, between in zip(orders, found[2:].reshape(len(orders), -1), strict=True):
        shares[order] += np.diff(between, prepend=first, append=last)
    return first, last, shares / len(orders)


def groups(n_columns: int, elements: frozenset[str]) -> dict[str, np.ndarray]:
    """Columns of ``structure_matrix`` before the embedding, by meaning; each element by itself.

    Args:
        n_columns: how many there are.
        elements: symbols in the crystal.
    """
    n_composition, n_gene = widths()
    n_shares = len(SYMBOLS) - 1  # of each element; then their square roots
    place = {symbol: [ATOMIC_NUMBER[symbol] - 1, n_shares + ATOMIC_NUMBER[symbol] - 1] for symbol in elements}
    present = [column for columns in place.values() for column in columns]
    bonds = n_columns - N_BOND_FEATURES
    named = {symbol: np.array(columns) for symbol, columns in sorted(place.items())}
    return named | {
        ABSENT: np.setdiff1d(np.arange(2 * n_shares), present),
        AVERAGES: np.arange(2 * n_shares, n_composition - _N_BALANCE),
        BALANCE: np.arange(n_composition - _N_BALANCE, n_composition),
        SITES: np.arange(n_composition, n_gene),
        ELECTRONS: np.arange(n_gene, bonds - _N_SIZE),
        SIZE: np.arange(bonds - _N_SIZE, bonds),
        BONDS: np.arange(bonds, n_columns),
    }


def _kinds(species: Sequence[str], atoms: np.ndarray) -> list[list[int]]:
    """Atoms by kind of site: same element, same features."""
    kinds: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for i, symbol in enumerate(species):
        kinds[symbol, (np.round(atoms[i], _ALIKE) + 0.0).tobytes()].append(i)
    return list(kinds.values())


def _parts(ensemble: Ensemble | Transferred, row: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return what each atom adds to the standardised embedding, which is a mean over atoms, (n_atoms, e)."""
    width = atoms.shape[1]
    of_atoms = (atoms - ensemble.feature_mean[-width:]) / ensemble.feature_std[-width:] / len(atoms)
    total = of_atoms.sum(axis=0)
    # the row is clipped where the sum is far out
    scale = np.divide(row[-width:], total, out=np.zeros(width, dtype=np.float32), where=total != 0)
    return np.asarray(np.nan_to_num(of_atoms * scale))


def in_words(attribution: Attribution, least: float) -> str:
    """Return what raises and lowers a value most: ``raised by O, Cl, lowered by La``.

    Absent elements and means over elements are left out: nobody can do much with these words.

    Args:
        attribution: of one crystal.
        least: contributions below it, in the property's unit, are not worth a word.
    """
    phrases = []
    for word, sign in (("raised by", 1), ("lowered by", -1)):
        strong = [
            driver.name
            for driver in attribution.drivers
            if sign * driver.contribution >= least and driver.name not in {ABSENT, AVERAGES}
        ]
        if strong:
            phrases.append(f"{word} {', '.join(strong[:_WORDS])}")
    return ", ".join(phrases)
