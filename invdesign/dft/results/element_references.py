"""The elements, from which formation energies are counted: a crystal of each, and its energy in VASP.

``validators/elements`` has, per element, the Materials Project's energy of its ground state (MP2020, from
which its formation energies are counted), and a small crystal that is that state, or lies above it by a
known height, to be computed with any other code at the candidates' own settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.interface import Code
from invdesign.dft.inputs import InputStructure, skipped
from invdesign.errors import InputError
from invdesign.io import artifacts

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pymatgen.core import Structure

ELEMENTS = "elements.json"


@dataclass(frozen=True, slots=True)
class Reference:
    """One element.

    Attributes:
        structure: a small crystal of it.
        height: energy of that crystal above the element's ground state, eV/atom.
        origin: where the crystal comes from.
    """

    structure: Structure
    height: float
    origin: str


def reference_structures(
    inputs: Iterable[InputStructure], code: Code
) -> tuple[list[InputStructure], list[dict[str, str]]]:
    """The elements of crystals as what is handed to a code.

    Args:
        inputs: the crystals. One that is itself an element which the table lacks, from a file of the
            user's own, is taken as that element's ground state.
        code: that will compute them.

    Returns:
        Those with a crystal in the table, and the others (``inputs.skipped``).

    Raises:
        InputError: the code needs none, or has no energies that compare.
    """
    if code.elements_unavailable:
        raise InputError(f"references: {code.elements_unavailable}; leave --references out.")
    table = references()
    inputs = list(inputs)
    symbols = sorted({symbol for one in inputs for symbol in one.structure.symbol_set})
    own = {
        one.structure[0].specie.symbol: one
        for one in inputs
        if one.structure.composition.is_element and not one.predicted
    }
    found = [
        InputStructure(
            f"element {symbol}",
            table[symbol].structure.copy(),
            {"path": f"validators/elements: {table[symbol].origin}"},
            reference_height=table[symbol].height,
        )
        for symbol in symbols
        if symbol in table
    ]
    lacking = [symbol for symbol in symbols if symbol not in table]
    found += [
        InputStructure(f"element {symbol}", own[symbol].structure, own[symbol].source, reference_height=0.0)
        for symbol in lacking
        if symbol in own
    ]
    why = "there is no small crystal of it; give a file of your own among the sources"
    return found, [skipped(f"element {symbol}", symbol, why) for symbol in lacking if symbol not in own]


def vasp_energies() -> dict[str, float]:
    """The Materials Project's energy of each element (VASP, PBE, MP2020), eV/atom."""
    return {symbol: float(row["mp_energy"]) for symbol, row in _table().items() if "mp_energy" in row}


@cache
def references() -> dict[str, Reference]:
    """All elements that have a crystal in the table.

    Raises:
        InputError: the table is missing or damaged.
    """
    from pymatgen.core import Lattice, Structure

    found = {}
    for symbol, row in _table().items():
        if "crystal" not in row:
            continue
        crystal = row["crystal"]
        n = len(crystal["positions"])
        structure = Structure(Lattice(crystal["cell"]), [symbol] * n, crystal["positions"])
        found[symbol] = Reference(structure, crystal["height"], crystal["origin"])
    return found


@cache
def _table() -> dict[str, dict[str, Any]]:
    path: Path = artifacts.find("validators", "elements", needs=(ELEMENTS,)) / ELEMENTS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["elements"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"elements: {path} is damaged ({error!r}); restore it.") from error
