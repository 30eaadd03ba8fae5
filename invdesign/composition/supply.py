"""Where the elements come from and what they do: abundance, supply risk, toxicity, radioactivity.

Works on amounts by atomic number, (n, 104), as
:func:`invdesign.predictors.features.composition_and_gene.counts_of` gives them, so that millions of
compositions cost seconds. The values by element are in ``supply.csv``:

- abundance in the earth's continental crust, mg/kg: CRC Handbook of Chemistry and Physics (taken from
  mendeleev 1.3; smact 4.0 has misprints: S, Nb and Lu are off by factors of 10 and 100, Ru is missing);
- Herfindahl-Hirschman index of production and of reserves by country, 0 (spread) to 10 000 (one country):
  Gaultois et al. 2013, doi:10.1021/cm400893e (as in pymatgen and smact).

Hydrogen, which Gaultois et al. leave out, counts as oxygen does; what else they leave out has no index, and a
compound of it has none.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table

TOXIC: frozenset[str] = frozenset(("Be", "As", "Se", "Cd", "Hg", "Tl", "Pb", "U"))
"""Elements whose compounds European law treats as toxic, whichever compound it is.

Those with an entry "… compounds" in Annex VI, Table 3 of Regulation (EC) 1272/2008 (CLP) as Acute Tox. 1 to
3, Carc. 1 or Repr. 1, and those that Annex II of Directive 2011/65/EU (RoHS) restricts in every form. Not
those of which only some compounds are (chromium VI, nickel), nor the merely harmful (antimony, soluble
barium).
"""

HHI = ("hhi_production", "hhi_reserves")
ABUNDANT, CONCENTRATED = 1.0, 5500.0
"""Least mg/kg in the crust of an abundant element, and the HHI of production at which it is none."""


@lru_cache(maxsize=1)
def _table() -> dict[str, np.ndarray]:
    """Columns of ``supply.csv`` by atomic number, (104,) each; NaN where there is no value."""
    columns = {name: np.full(len(SYMBOLS), np.nan) for name in ("abundance", *HHI)}
    with Path(__file__).with_name("supply.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, values in columns.items():
                values[ATOMIC_NUMBER[row["symbol"]]] = float(row[name] or "nan")
    for name in HHI:
        columns[name][1] = columns[name][8]
    for values in columns.values():
        values.flags.writeable = False
    return columns


def supply_risk(amounts: np.ndarray) -> np.ndarray:
    """Herfindahl-Hirschman indices of compositions: production and reserves, (n, 2).

    The mean over the elements by mass (Gaultois et al. 2013). Below 1 500 a market is called unconcentrated,
    above 2 500 highly concentrated. NaN where an element has no value.

    Args:
        amounts: by atomic number, (n, 104).
    """
    mass = element_table()["mass"]
    index = np.stack([_table()[name] for name in HHI], axis=1)  # (104, 2)
    weighted = np.nan_to_num(index) * mass[:, None]
    # one product for all: index times mass, mass, mass without an index
    columns = np.column_stack([weighted, mass, mass * np.isnan(index[:, 0])])
    # in double precision: sums in single depend on how many rows there are
    total = amounts.astype(float) @ columns
    # rounded: elements of one index have it together, too
    return np.where(total[:, 3:] > 0, np.nan, np.round(total[:, :2] / total[:, 2:3], 6))


def scarcest(amounts: np.ndarray) -> np.ndarray:
    """Abundance of each composition's scarcest element in the crust, mg/kg, (n,); 0 where one is unknown.

    Args:
        amounts: by atomic number, (n, 104).
    """
    abundance = np.nan_to_num(_table()["abundance"])
    return np.asarray(np.where(amounts > 0, abundance, np.inf).min(axis=1))


def scarcer_than(abundance: float) -> frozenset[str]:
    """Elements less abundant in the crust than so many mg/kg, those without a value among them."""
    known = np.nan_to_num(_table()["abundance"])
    return frozenset(symbol for symbol, number in ATOMIC_NUMBER.items() if known[number] < abundance)


def scarce() -> frozenset[str]:
    """Elements that are not abundant: rarer than 1 mg/kg, or produced by hardly more than one country.

    A country with three quarters of the production makes an index of 5 500: the rare earths, Cs, Rb, W, Nb
    and Be are beyond it, though the crust has plenty of some. What has no index is scarce.
    """
    production = _table()["hhi_production"]
    return scarcer_than(ABUNDANT) | {
        symbol for symbol, number in ATOMIC_NUMBER.items() if not production[number] < CONCENTRATED
    }


@lru_cache(maxsize=64)
def too_concentrated(
    limit: float, required: frozenset[str], open_: frozenset[str], n_atoms: int
) -> frozenset[str]:
    """Elements that no compound within a limit of both indices can have, whatever else is in it.

    Args:
        limit: of the mean index by mass.
        required: elements that every compound has.
        open_: elements that it may have.
        n_atoms: most atoms of a compound.

    Returns:
        Some of ``required`` and ``open_``; all of them where nothing can meet the limit.
    """
    symbols = sorted(required | open_)
    numbers = [ATOMIC_NUMBER[symbol] for symbol in symbols]
    index = np.stack([_table()[name][numbers] for name in HHI], axis=1)
    excess = np.nan_to_num((index - limit) * element_table()["mass"][numbers, None], nan=np.inf)
    needed = np.array([symbol in required for symbol in symbols])
    base = excess[needed].sum(axis=0)
    left = n_atoms - needed.sum() - ~needed  # atoms that are free once the element is in
    best = base + np.where(needed[:, None], 0, excess) + left[:, None] * np.minimum(excess.min(axis=0), 0)
    return frozenset(np.array(symbols)[(best > 0).any(axis=1)].tolist())


def unconcentrated(limit: float) -> frozenset[str]:
    """Elements of which both indices are within a limit, and so are those of every compound of them."""
    index = np.stack([_table()[name] for name in HHI])
    return frozenset(SYMBOLS[z] for z in np.flatnonzero((index <= limit).all(axis=0)))


class Supply(NamedTuple):
    """One compound: both indices (NaN: unknown), mg/kg of its scarcest element, its toxic elements."""

    hhi_production: float
    hhi_reserves: float
    abundance: float
    toxic: tuple[str, ...]


def supply_of(amounts: Mapping[str, float]) -> Supply:
    """Return the same values of one composition, amounts by symbol."""
    row = np.zeros((1, len(SYMBOLS)))
    for symbol, amount in amounts.items():
        row[0, ATOMIC_NUMBER[symbol]] = amount
    production, reserves = map(float, supply_risk(row)[0])
    return Supply(production, reserves, float(scarcest(row)[0]), tuple(sorted(TOXIC & amounts.keys())))
