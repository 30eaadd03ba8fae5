"""+U as the Materials Project does, so that gaps of any code compare with predictions.

The predictors learned the Materials Project's gaps: PBE+U for Co, Cr, Fe, Mn, Mo, Ni, V and W in oxides and
fluorides, PBE for all else. The values were fitted with VASP's projectors (the PAW spheres); other codes
project onto other orbitals, so the same U acts a little differently there, and a total energy with +U must
not meet the Materials Project's hull.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure

ORBITALS = {"Mo": "4d", "W": "5d"}  # 3d the others
FUNCTIONAL = "PBE; +U where hubbard_u says so"
PROJECTORS = (
    "hubbard_u: the Materials Project's values (eV), fitted with VASP's projectors; this code's differ, so "
    "energies with +U do not compare with its hull"
)


def hubbard_u(structure: Structure) -> dict[str, float]:
    """U (eV) by element, from pymatgen's ``MPRelaxSet``; empty where none applies."""
    from pymatgen.io.vasp.sets import MPRelaxSet

    symbols = sorted(structure.symbol_set)
    # the most electronegative element decides, and only two have a table
    anion = next((symbol for symbol in ("F", "O") if symbol in symbols), None)
    table = MPRelaxSet.CONFIG["INCAR"]["LDAUU"].get(anion, {})
    return {symbol: float(table[symbol]) for symbol in symbols if table.get(symbol)}


def orbital(symbol: str) -> str:
    """Return the shell that U acts on, as Quantum ESPRESSO names it: ``Fe-3d``."""
    return f"{symbol}-{ORBITALS.get(symbol, '3d')}"
