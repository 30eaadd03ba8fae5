"""Crystals that are known to hold, and others that are known not to."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pandas as pd
from pymatgen.core import Lattice, Structure

if TYPE_CHECKING:
    from pathlib import Path

MOST_ATOMS = 8  # in the primitive cell
MOST_COSTLY = 83  # bismuth: no actinides


def ground_states(data: Path, n: int, seed: int, *, metals: bool) -> list[tuple[str, Structure]]:
    """Known compounds on the Materials Project's hull (mp20), drawn at random."""
    table = pd.read_csv(data / "structures" / "mp20.csv.gz", keep_default_na=False)
    table = table[(table.e_above_hull <= 0) & ((table.band_gap == 0) == metals)]
    drawn = []
    for row in table.sample(frac=1, random_state=seed).itertuples():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Structure.from_str(row.cif, fmt="cif")
        strange = any(e.is_rare_earth or e.is_noble_gas or MOST_COSTLY < e.Z for e in structure.composition)
        if len(structure) <= MOST_ATOMS and len(structure.composition) > 1 and not strange:
            drawn.append((f"{row.material_id} {row.pretty_formula}", structure))
        if len(drawn) == n:
            return drawn
    return drawn


def saddles() -> list[tuple[str, Structure]]:
    """Crystals whose imaginary modes at 0 K are well known, by DFT and by what they turn into on cooling."""
    perovskites = {
        "BaTiO3": 4.03, "PbTiO3": 3.97, "KNbO3": 4.02, "SrTiO3": 3.94, "CaTiO3": 3.89, "NaNbO3": 3.98,
        "LaAlO3": 3.81, "CsPbI3": 6.38, "CsSnI3": 6.28, "CsPbBr3": 5.99,
    }  # fmt: skip
    found = [(f"cubic {formula}", _perovskite(formula, edge)) for formula, edge in perovskites.items()]
    for formula, edge in {"ZrO2": 5.12, "HfO2": 5.07, "TiO2": 4.84}.items():
        cell = Lattice.cubic(edge)
        fluorite = Structure.from_spacegroup("Fm-3m", cell, [formula[:2], "O"], [[0, 0, 0], [0.25] * 3])
        found.append((f"fluorite {formula}", fluorite.get_primitive_structure()))
    for symbol, edge in {"Ti": 3.25, "Zr": 3.57}.items():
        bcc = Structure(Lattice.cubic(edge), [symbol] * 2, [[0, 0, 0], [0.5] * 3])
        found.append((f"bcc {symbol}", bcc.get_primitive_structure()))
    return found


def _perovskite(formula: str, edge: float) -> Structure:
    from pymatgen.core import Composition

    large, small, anion = (e.symbol for e in Composition(formula).elements)
    sites = [[0.5] * 3, [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return Structure(Lattice.cubic(edge), [large, small, *[anion] * 3], sites)
