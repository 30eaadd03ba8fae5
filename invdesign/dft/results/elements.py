"""The elements, from which formation energies are counted: reference crystals, and energies.

``validators/elements`` has, per element, the Materials Project's energy of its ground state (MP2020, from
which its formation energies are counted), and a small crystal that is that state, or lies above it by a
known energy, to be computed with any other code at the candidates' settings. A campaign keeps the energies
that were computed, for later collections.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.interface import Code
from invdesign.dft.inputs import InputStructure, skipped
from invdesign.dft.results.calculation import Calculation
from invdesign.errors import InputError
from invdesign.io import artifacts
from invdesign.io.atomic import atomic_write

if TYPE_CHECKING:
    from pymatgen.core import Structure

TABLE = "elements.json"  # of the artifact
STORED = "elements-dft.json"  # in a campaign's folder
COMPARABLE = frozenset({"relax", "static", "gap"})  # tasks whose energies are converged
Key = tuple[str, str, str]  # settings, symbol, pseudopotential


@dataclass(frozen=True, slots=True)
class ReferenceCrystal:
    """A small crystal of one element.

    Attributes:
        structure: its cell.
        e_above_hull: energy above the element's ground state, eV/atom.
        origin: source of the crystal.
    """

    structure: Structure
    e_above_hull: float
    origin: str


def reference_structures(
    inputs: Sequence[InputStructure], code: Code
) -> tuple[list[InputStructure], list[dict[str, str]]]:
    """Return the elements of crystals as input structures.

    Args:
        inputs: the crystals. A structure file of an element that the table lacks is taken as that
            element's ground state.
        code: that will compute them.

    Returns:
        Those with a crystal, and the others (:func:`invdesign.dft.inputs.skipped`).

    Raises:
        InputError: the code's energies are not counted from computed elements.
    """
    if code.elements_unavailable:
        raise InputError(f"references: {code.elements_unavailable}; leave --references out.")
    table = references()
    given = {
        one.structure[0].specie.symbol: one
        for one in inputs
        if one.structure.composition.is_element and not one.predicted
    }
    found, missing = [], []
    for symbol in sorted({symbol for one in inputs for symbol in one.structure.symbol_set}):
        name = f"element {symbol}"
        if symbol in table:
            crystal = table[symbol]
            source = {"path": f"validators/elements: {crystal.origin}"}
            found.append(
                InputStructure(
                    name, crystal.structure.copy(), source, reference_e_above_hull=crystal.e_above_hull
                )
            )
        elif symbol in given:
            one = given[symbol]
            found.append(InputStructure(name, one.structure, one.source, reference_e_above_hull=0.0))
        else:
            reason = "there is no small crystal of it; add a structure file of it to the sources"
            missing.append(skipped(name, symbol, reason))
    return found, missing


def vasp_energies() -> dict[str, float]:
    """Return the Materials Project's energy of each element (VASP, PBE, MP2020), eV/atom."""
    return {symbol: float(row["mp_energy"]) for symbol, row in _table().items() if "mp_energy" in row}


@cache
def references() -> dict[str, ReferenceCrystal]:
    """Return the crystals of the table by element.

    Raises:
        InputError: the table is missing or damaged.
    """
    from pymatgen.core import Lattice, Structure

    found = {}
    for symbol, row in _table().items():
        if crystal := row.get("crystal"):
            positions = crystal["positions"]
            structure = Structure(Lattice(crystal["cell"]), [symbol] * len(positions), positions)
            found[symbol] = ReferenceCrystal(structure, crystal["e_above_hull"], crystal["origin"])
    return found


@cache
def _table() -> dict[str, dict[str, Any]]:
    path: Path = artifacts.find("validators", "elements", needs=(TABLE,)) / TABLE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["elements"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"elements: {path} is damaged ({error!r}); restore it.") from error


@dataclass(frozen=True, slots=True)
class ElementEnergy:
    """The computed energy of one element.

    Attributes:
        settings: of the calculation (``Calculation.scale``).
        symbol: of the element.
        pseudopotential: its file; empty where the code has none.
        energy: of the ground state, eV/atom.
        folder: of the run.
    """

    settings: str
    symbol: str
    pseudopotential: str
    energy: float
    folder: str


def element_energies(calculations: Iterable[Calculation]) -> list[ElementEnergy]:
    """Return the energies of runs that were written as references and run so, not of elemental candidates."""
    return [
        ElementEnergy(
            *key(one, one.structure[0].specie.symbol),
            one.energy_per_atom - one.job.entry["reference_e_above_hull"],
            str(one.folder.resolve()),
        )
        for one in calculations
        if one.job is not None
        and "reference_e_above_hull" in one.job.entry
        and one.job.task in COMPARABLE
        and one.departure is None
        and one.structure.composition.is_element
    ]


def key(calculation: Calculation, symbol: str) -> Key:
    """Return what an element's energy must have been computed with to compare with a calculation."""
    return calculation.scale, symbol, calculation.pseudopotentials.get(symbol, "")


def lowest(elements: Sequence[ElementEnergy]) -> Mapping[Key, float]:
    """Return the energy of each element's ground state, eV/atom: the lowest of several crystals."""
    found: dict[Key, float] = {}
    for one in elements:
        place = (one.settings, one.symbol, one.pseudopotential)
        found[place] = min(one.energy, found.get(place, one.energy))
    return found


def with_stored(
    campaign: Path, elements: Sequence[ElementEnergy], collected: Iterable[Path]
) -> list[ElementEnergy]:
    """Add the elements that a campaign stores of other folders than those collected.

    Raises:
        InputError: what the campaign stores is damaged.
    """
    path = campaign / STORED
    if not path.is_file():
        return list(elements)
    try:
        stored = [ElementEnergy(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise InputError(
            f"out: {path} is damaged ({error}); remove it and collect the elements again."
        ) from error
    now = {str(folder.resolve()) for folder in collected}
    return [*(one for one in stored if one.folder not in now), *elements]


def store_elements(campaign: Path, elements: Sequence[ElementEnergy]) -> None:
    """Store them in a campaign's folder; no file is created for none."""
    if not elements and not (campaign / STORED).is_file():
        return
    with atomic_write(campaign / STORED) as draft:
        rows = [asdict(one) for one in sorted(elements, key=lambda one: (one.symbol, one.folder))]
        draft.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
