"""What the generators learn from: crystals as tokens, with the properties that each is known to have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.formula import composition_key
from invdesign.data.splits import grouped_split
from invdesign.data.tokens import TokenSet, join, tokenise
from invdesign.filters.charge_balance import usual_charges
from invdesign.training.stability.hull import labelled_e_above_hull
from invdesign.training.trainer import TrainingConfig

CONDITIONS = (
    "band_gap",
    "e_above_hull",
    "formation_energy_per_atom",
    "bulk_modulus_gpa",
    "n_atoms",
    "reported",  # 1: found by experiment, 0: hypothetical
)
HELD_OUT = 0.04
"""Share of the compositions that no generator is trained on: the same ones for all."""
HYPOTHETICAL = ("wbm", "relaxed")

_COLUMNS = {
    "mp20": {"band_gap": "band_gap", "formation_energy_per_atom": "formation_energy_per_atom"},
    "mpts52": {"formation_energy_per_atom": "formation_energy_per_atom"},
    "wbm": {"band_gap": "band_gap", "formation_energy_per_atom": "formation_energy_per_atom"},
    "aflow_elastic": {"bulk_modulus_gpa": "bulk_modulus"},
}


@dataclass(frozen=True)
class Corpus:
    """N crystals.

    Attributes:
        tokens: genes and geometries.
        conditions: (N, C) in the order of ``CONDITIONS``; NaN where unknown.
        formula: (N,) reduced.
        source: (N,) name of the data set.
        held_out: (N,) bool, not to be trained on; by composition.
    """

    tokens: TokenSet
    conditions: NDArray[np.float32]
    formula: NDArray[np.str_]
    source: NDArray[np.str_]
    held_out: NDArray[np.bool_]


class GeneratorConfig(TrainingConfig):
    """What every generator's recipe says.

    Attributes:
        relaxed: folder of generated crystals (kind ``relaxed-genes``) to learn from as well.
        max_atoms: in the primitive cell.
    """

    relaxed: Path | None = None
    max_atoms: int = 20


def read_corpus(data: Path, cache: Path, *, max_atoms: int = 20, relaxed: Path | None = None) -> Corpus:
    """mp20, mpts52, wbm and AFLOW's elastic crystals of up to ``max_atoms`` atoms.

    Args:
        data: folder with ``structures/`` and ``compositions/``.
        cache: where the tokens are kept.
        max_atoms: atoms in the primitive cell.
        relaxed: folder of generated crystals (kind ``relaxed-genes``), of which the verified ones of new
            composition are taken, of those with a gap the ones with usual charges; source ``relaxed``.

    Raises:
        InputError: a file of the data folder is missing or unreadable.
    """
    labels = labelled_e_above_hull(data)
    blocks = [_read(data, cache, source, max_atoms, labels.get(source)) for source in _COLUMNS]
    if relaxed is not None:
        blocks.append(_verified(relaxed))
    tokens = join([tokens for tokens, _, _ in blocks])
    conditions = np.concatenate([known for _, known, _ in blocks])
    formula = np.concatenate([names for _, _, names in blocks])
    source = np.repeat([*_COLUMNS, "relaxed"][: len(blocks)], [len(names) for _, _, names in blocks])
    _fill_bulk_moduli(data, conditions, formula, source)
    conditions[:, CONDITIONS.index("n_atoms")] = tokens.n_atoms
    conditions[:, CONDITIONS.index("reported")] = ~np.isin(source, HYPOTHETICAL)
    held_out = np.zeros(len(formula), dtype=bool)
    held_out[grouped_split(formula.tolist(), (1 - HELD_OUT, HELD_OUT), 0)[1]] = True
    return Corpus(tokens, conditions.astype(np.float32), formula, source, held_out)


def _read(
    data: Path, cache: Path, source: str, max_atoms: int, labels: NDArray[np.float64] | None
) -> tuple[TokenSet, NDArray[np.float64], NDArray[np.str_]]:
    import pandas as pd

    path = data / "structures" / f"{source}.csv.gz"
    tokens = tokenise(path, cache, max_atoms=max_atoms)
    columns = _COLUMNS[source]
    table = pd.read_csv(path, keep_default_na=False, usecols=[*columns.values(), "pretty_formula"])
    known = np.full((len(table), len(CONDITIONS)), np.nan)
    for name, column in columns.items():
        known[:, CONDITIONS.index(name)] = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    if labels is not None:
        known[:, CONDITIONS.index("e_above_hull")] = labels
    return tokens, known[tokens.row], table["pretty_formula"].to_numpy(str)[tokens.row]


def _verified(folder: Path) -> tuple[TokenSet, NDArray[np.float64], NDArray[np.str_]]:
    from invdesign.data.relaxed_genes import read_relaxed

    stable = read_relaxed(folder).stable()
    new = stable.select(stable.novelty == 2)
    usual = [usual_charges(new.tokens.gene(i).composition) for i in range(len(new.tokens))]
    found = new.select((new.band_gap == 0) | np.array(usual))
    known = np.full((len(found.tokens), len(CONDITIONS)), np.nan)
    known[:, CONDITIONS.index("e_above_hull")] = found.e_above_hull
    known[:, CONDITIONS.index("band_gap")] = found.band_gap
    names = np.array([found.tokens.gene(i).formula for i in range(len(found.tokens))])
    return found.tokens, known, names


def _fill_bulk_moduli(
    data: Path, conditions: NDArray[np.float64], formula: NDArray[np.str_], source: NDArray[np.str_]
) -> None:
    """Bulk moduli known by composition alone, for reported crystals whose modulus is not known."""
    import pandas as pd

    table = pd.read_csv(data / "compositions" / "mp_bulk_modulus.csv.gz", keep_default_na=False)
    grouped = table.groupby(table["formula"].map(composition_key))["log10_bulk_modulus_gpa"].median()
    column = CONDITIONS.index("bulk_modulus_gpa")
    for i in np.flatnonzero(np.isnan(conditions[:, column]) & np.isin(source, ["mp20", "mpts52"])):
        if (found := grouped.get(composition_key(str(formula[i])))) is not None:
            conditions[i, column] = 10**found
