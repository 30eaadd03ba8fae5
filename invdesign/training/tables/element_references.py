"""Build ``validators/elements``: a small crystal of each element, with its energy above the ground state.

A crystal of the Materials Project (MP-20, MPTS-52) where a small one lies low, since its energy is known;
else the element's textbook structure, which counts as the ground state. Textbook cells are relaxed by a
potential trained on PBE: at room-temperature volumes a stiff metal would lie up to 30 meV/atom too high.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invdesign.data.dataset import read_dataset
from invdesign.dft.results.elements import TABLE as ELEMENTS
from invdesign.io.progress import Progress
from invdesign.io.provenance import sha256
from invdesign.potentials.interface import Potential
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe

if TYPE_CHECKING:
    from pymatgen.core import Structure


SETS = ("mp20", "mpts52")
SMALL, LOW = 4, 0.03  # atoms and eV/atom that a crystal of the data may have to be preferred
LARGEST, HIGHEST = 9, 0.05  # and where there is no textbook structure
NAMED_ERROR = 0.1  # eV/atom between the potential and the Materials Project: named on the card
LARGEST_ERROR = 0.2  # beyond it the textbook lattice (of U, Np) is not that of the ground state
# the data's crystal is another stacking: a long cell, many k-points, within 7 meV/atom of the textbook's
STACKINGS = frozenset({"Mg", "Ca", "Ag", "Dy", "Kr"})
SYMPREC = 0.05  # Å
# molecules and chains: the potential and PBE describe their weak bonds badly (selenium's cell grows by half),
# which hardly changes the energy
UNTOUCHED = frozenset({"H", "N", "P", "Cl", "Se", "Br", "I"})
# space group, cell (a, b, c in Å, right angles but for hexagonal groups), one atom's position
TEXTBOOK: dict[str, tuple[int, tuple[float, float, float], list[tuple[float, float, float]]]] = {
    "H": (194, (3.76, 3.76, 6.14), [(1 / 3, 2 / 3, 0.189)]),
    "B": (166, (4.908, 4.908, 12.567), [(0.1189, -0.1189, 0.8913), (0.1969, -0.1969, 0.0243)]),
    "N": (136, (3.957, 3.957, 5.109), [(0.098, 0.098, 0.0)]),
    "P": (64, (3.314, 10.478, 4.376), [(0.0, 0.1017, 0.0806)]),
    "Cl": (64, (6.145, 4.395, 8.154), [(0.0, 0.1173, 0.1016)]),
    "Br": (64, (6.67, 4.48, 8.72), [(0.0, 0.135, 0.11)]),
    "I": (64, (7.136, 4.686, 9.784), [(0.0, 0.1543, 0.1174)]),
    "Se": (152, (4.366, 4.366, 4.954), [(0.225, 0.0, 1 / 3)]),
    "Te": (152, (4.457, 4.457, 5.929), [(0.263, 0.0, 1 / 3)]),
}
DIAMOND = {"Sn": 6.65}  # Å: grey tin, PBE's ground state


class ElementsConfig(Recipe):
    """Recipe of the table of elements; kind ``elements``."""

    kind: Literal["elements"]
    data: Path
    potential: str = "chgnet"
    mp_energies: dict[str, float]


def build_element_references(config: ElementsConfig, *, progress: Progress) -> Path:
    """Choose, relax where need be, write the table and its card."""
    found: dict[str, tuple[tuple[bool, float, int], Structure, str]] = {}
    for name in SETS:
        progress(0.1, f"elements of {name}")
        for symbol, above, crystal, origin in _reported(config.data, name):
            small = (len(crystal) > SMALL, above, len(crystal))
            if symbol not in found or small < found[symbol][0]:
                found[symbol] = (small, crystal, origin)
    rows: dict[str, dict[str, Any]] = {}
    potential = load_potential(config.potential)
    symbols = list(config.mp_energies)
    for number, symbol in enumerate(symbols):
        progress(0.2 + 0.75 * number / len(symbols), symbol)
        rows[symbol] = {"mp_energy": config.mp_energies[symbol]}
        reported = None if symbol not in found else (found[symbol][0][1], *found[symbol][1:])
        chosen = _chosen(symbol, reported, potential)
        if chosen and abs(_error(chosen | rows[symbol])) < LARGEST_ERROR:
            rows[symbol] |= chosen
    config.out.mkdir(parents=True, exist_ok=True)
    errors = {symbol: _error(row) for symbol, row in rows.items() if "crystal" in row}
    for symbol in errors:
        del rows[symbol]["potential_energy"]
    sources = {name: sha256(config.data / "structures" / f"{name}.csv.gz") for name in SETS}
    table = {"format": 1, "sources": sources, "elements": rows}
    (config.out / ELEMENTS).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    write_card(config, "elements", measure_elements(rows, errors, config))
    progress(1.0, f"{len(errors)} crystals in {config.out}")
    return config.out


def _reported(data: Path, name: str) -> Iterator[tuple[str, float, Structure, str]]:
    """Yield small crystals of one element near its ground state: symbol, energy, primitive cell, origin."""
    for entry in read_dataset(data / "structures" / f"{name}.csv.gz"):
        if not entry.structure.composition.is_element:
            continue
        above = entry.properties["formation_energy_per_atom"]
        crystal = entry.structure.get_primitive_structure()
        symbol = crystal[0].specie.symbol
        preferred = symbol not in STACKINGS and len(crystal) <= SMALL and above <= LOW
        alone = symbol not in TEXTBOOK and len(crystal) <= LARGEST and above <= HIGHEST
        if preferred or (alone and _textbook(symbol) is None):
            yield symbol, round(max(above, 0.0), 5), crystal, f"{entry.id} of {name}"


def _textbook(symbol: str) -> Structure | None:
    """Return the element's structure at room conditions, at its measured lattice parameters."""
    from ase.build import bulk
    from pymatgen.core import Lattice, Structure

    from invdesign.dft.codes.reading import structure_of

    if symbol in DIAMOND:
        return structure_of(bulk(symbol, "diamond", a=DIAMOND[symbol]))
    if symbol not in TEXTBOOK:
        try:
            return structure_of(bulk(symbol))
        except (ValueError, RuntimeError, NotImplementedError, KeyError, TypeError):
            return None  # ASE knows no simple lattice of it
    group, cell, positions = TEXTBOOK[symbol]
    a, b, c = cell
    lattice = Lattice.hexagonal(a, c) if 143 <= group <= 194 else Lattice.from_parameters(a, b, c, 90, 90, 90)
    species = [symbol] * len(positions)
    return Structure.from_spacegroup(group, lattice, species, positions).get_primitive_structure()


def _chosen(
    symbol: str, reported: tuple[float, Structure, str] | None, potential: Potential
) -> dict[str, Any] | None:
    """Return the table's row of an element, with the potential's energy."""
    if reported is not None:
        above, crystal, origin = reported
    else:
        textbook = _textbook(symbol)
        if textbook is None:
            return None
        above, crystal, origin = 0.0, textbook, "textbook structure"
    if reported is None and symbol not in UNTOUCHED:
        (relaxed,) = relax([crystal], potential, fmax=0.01, max_steps=300)
        if _group(relaxed.structure) == _group(crystal):
            crystal, origin = relaxed.structure, f"{origin}, relaxed with {potential.name}"
        else:  # it relaxed to a more symmetric lattice, which DFT would not
            volume = relaxed.structure.volume
            crystal, origin = crystal.scale_lattice(volume), f"{origin} at the volume of {potential.name}"
    crystal = _exact(crystal)
    return {
        "crystal": {
            "origin": origin,
            "e_above_hull": above,
            "space_group": _group(crystal),
            "cell": crystal.lattice.matrix.round(12).tolist(),
            "positions": crystal.frac_coords.round(12).tolist(),
        },
        "potential_energy": float(potential.evaluate([crystal]).energy[0]) / len(crystal),
    }


def _exact(crystal: Structure) -> Structure:
    """Return the primitive cell with exact symmetry: without it DFT needs four times the k-points."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    exact: Structure = SpacegroupAnalyzer(crystal, symprec=SYMPREC).get_primitive_standard_structure()
    return exact


def _group(crystal: Structure) -> int:
    return int(crystal.get_space_group_info(symprec=SYMPREC)[1])


def _error(row: dict[str, Any]) -> float:
    """Return the potential's energy less the expected one, eV/atom: its error, or a wrong structure's."""
    return float(row["potential_energy"] - row["mp_energy"] - row["crystal"]["e_above_hull"])


def measure_elements(
    rows: dict[str, dict[str, Any]], errors: dict[str, float], config: ElementsConfig
) -> dict[str, Any]:
    """Return the numbers of the table's card.

    Args:
        rows: of the table, by element.
        errors: of the potential, eV/atom, by element with a crystal.
        config: the recipe.
    """
    crystals = [
        {
            "symbol": symbol,
            "atoms": len(rows[symbol]["crystal"]["positions"]),
            **{name: rows[symbol]["crystal"][name] for name in ("space_group", "e_above_hull", "origin")},
            "mp_energy": rows[symbol]["mp_energy"],
            "error": error,
        }
        for symbol, error in errors.items()
    ]
    return {
        "potential": config.potential,
        "n_elements": len(rows),
        "n_from_data": sum("textbook" not in crystal["origin"] for crystal in crystals),
        "small": SMALL,
        "low": LOW,
        "largest": LARGEST,
        "highest": HIGHEST,
        "not_relaxed": sorted(UNTOUCHED),
        "other_stackings": sorted(STACKINGS),
        "without_crystal": [symbol for symbol in rows if symbol not in errors],
        "median_error": sorted(abs(error) for error in errors.values())[len(errors) // 2],
        "named_error": NAMED_ERROR,
        "largest_error": LARGEST_ERROR,
        "crystals": crystals,
    }
