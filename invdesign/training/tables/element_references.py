"""Building ``validators/elements``: a small crystal of each element, with its energy above the ground state.

A crystal of the Materials Project (MP-20, MPTS-52) where a small one lies low, since its energy is known;
else the element's textbook structure, which counts as the ground state. Textbook cells are relaxed by a
potential that learnt PBE: at room-temperature volumes a stiff metal would lie up to 30 meV/atom too high.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from invdesign.data.dataset import read_dataset
from invdesign.dft.results.elements import TABLE as ELEMENTS
from invdesign.io.provenance import sha256
from invdesign.potentials.interface import Potential
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax

if TYPE_CHECKING:
    from pymatgen.core import Structure


SETS = ("mp20", "mpts52")
SMALL, LOW = 4, 0.03  # atoms and eV/atom that a crystal of the data may have to be preferred
LARGEST, HIGHEST = 9, 0.05  # and where there is no textbook structure
DISAGREES = 0.1  # eV/atom between the potential and the Materials Project: named on the card
ANOTHER = 0.2  # beyond it the textbook lattice (of U, Np) is not that of the ground state
# the data's crystal is another stacking: a long cell, many k-points, within 7 meV/atom of the textbook's
STACKINGS = frozenset({"Mg", "Ca", "Ag", "Dy", "Kr"})
SYMPREC = 0.05  # Å
# molecules and chains: what holds them together neither the potential nor PBE knows well (selenium's cell
# grows by half), and it hardly weighs
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


class ElementsConfig(BaseModel):
    """Recipe of the table of elements; kind ``elements``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["elements"]
    data: Path
    out: Path
    potential: str = "chgnet"
    mp_energies: dict[str, float]


def build_element_references(config: ElementsConfig, *, progress: Callable[[float, str], None]) -> Path:
    """Choose, relax where need be, write the table and its card."""
    found: dict[str, tuple[tuple[bool, float, int], Structure, str]] = {}
    for name in SETS:
        progress(0.1, f"elements of {name}")
        for symbol, height, crystal, origin in _reported(config.data, name):
            small = (len(crystal) > SMALL, height, len(crystal))
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
        if chosen and abs(_error(chosen | rows[symbol])) < ANOTHER:
            rows[symbol] |= chosen
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    errors = {symbol: _error(row) for symbol, row in rows.items() if "crystal" in row}
    for symbol in errors:
        del rows[symbol]["potential_energy"]
    sources = {name: sha256(config.data / "structures" / f"{name}.csv.gz") for name in SETS}
    table = {"format": 1, "sources": sources, "elements": rows}
    (config.out / ELEMENTS).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (config.out / "README.md").write_text(_card(rows, errors, config), encoding="utf-8")
    progress(1.0, f"{len(errors)} crystals in {config.out}")
    return config.out


def _reported(data: Path, name: str) -> Iterator[tuple[str, float, Structure, str]]:
    """Yield small crystals of one element near its ground state: symbol, energy, primitive cell, origin."""
    for entry in read_dataset(data / "structures" / f"{name}.csv.gz"):
        if not entry.structure.composition.is_element:
            continue
        height = entry.properties["formation_energy_per_atom"]
        crystal = entry.structure.get_primitive_structure()
        symbol = crystal[0].specie.symbol
        preferred = symbol not in STACKINGS and len(crystal) <= SMALL and height <= LOW
        alone = symbol not in TEXTBOOK and len(crystal) <= LARGEST and height <= HIGHEST
        if preferred or (alone and _textbook(symbol) is None):
            yield symbol, round(max(height, 0.0), 5), crystal, f"{entry.id} of {name}"


def _textbook(symbol: str) -> Structure | None:
    """Return the element's structure at room conditions, at its measured lattice parameters."""
    from ase.build import bulk
    from pymatgen.core import Lattice, Structure

    from invdesign.dft.codes.interface import structure_of

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
        height, crystal, origin = reported
    else:
        textbook = _textbook(symbol)
        if textbook is None:
            return None
        height, crystal, origin = 0.0, textbook, "textbook structure"
    if reported is None and symbol not in UNTOUCHED:
        (relaxed,) = relax([crystal], potential, fmax=0.01, max_steps=300)
        if _group(relaxed.structure) == _group(crystal):
            crystal, origin = relaxed.structure, f"{origin}, relaxed with {potential.name}"
        else:  # it fell into a more symmetric lattice, which DFT would not
            volume = relaxed.structure.volume
            crystal, origin = crystal.scale_lattice(volume), f"{origin} at the volume of {potential.name}"
    crystal = _exact(crystal)
    return {
        "crystal": {
            "origin": origin,
            "height": height,
            "space_group": _group(crystal),
            "cell": crystal.lattice.matrix.round(12).tolist(),
            "positions": crystal.frac_coords.round(12).tolist(),
        },
        "potential_energy": float(potential.evaluate([crystal]).energy[0]) / len(crystal),
    }


def _exact(crystal: Structure) -> Structure:
    """Its primitive cell with the symmetry exact: a few thousandths off, it needs four times the k-points."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    exact: Structure = SpacegroupAnalyzer(crystal, symprec=SYMPREC).get_primitive_standard_structure()
    return exact


def _group(crystal: Structure) -> int:
    return int(crystal.get_space_group_info(symprec=SYMPREC)[1])


def _error(row: dict[str, Any]) -> float:
    """Return the potential's energy less the expected one, eV/atom: its error, or a wrong structure's."""
    return float(row["potential_energy"] - row["mp_energy"] - row["crystal"]["height"])


def _card(rows: dict[str, dict[str, Any]], errors: dict[str, float], config: ElementsConfig) -> str:
    apart = ", ".join(f"{symbol} {error:+.2f}" for symbol, error in errors.items() if abs(error) > DISAGREES)
    median = sorted(abs(error) for error in errors.values())[len(errors) // 2]
    known = [symbol for symbol in errors if "textbook" not in rows[symbol]["crystal"]["origin"]]
    lines = [
        f"| {symbol} | {len(row['crystal']['positions'])} | {row['crystal']['space_group']} | "
        f"{row['crystal']['height']:.4f} | {row['crystal']['origin']} | {row['mp_energy']:.4f} | "
        f"{errors[symbol]:+.3f} |"
        for symbol, row in rows.items()
        if symbol in errors
    ]
    without = ", ".join(symbol for symbol in rows if symbol not in errors)
    named = f"; by more than {DISAGREES} for {apart}" if apart else ""
    return f"""# elements: what formation energies are counted from

`{ELEMENTS}`: for {len(rows)} elements the Materials Project's energy of the ground state (VASP, PBE,
GGA/GGA+U with MP2020, which leaves elements uncorrected; eV/atom), and for {len(errors)} a small crystal
to compute with another code. `recipe.yaml` rebuilds it: `invdesign train` on it, a minute on one core.

## Crystals

{len(known)} are the Materials Project's own (MP-20, MPTS-52: at most {SMALL} atoms, at most {LOW} eV/atom
above the ground state, the lowest; at most {LARGEST} atoms and {HIGHEST} where there is no textbook
structure). Their height is known and is subtracted from what is computed. The others are textbook
structures, relaxed with {config.potential} ({", ".join(sorted(UNTOUCHED))} are not),
and count as the ground state: PBE may prefer another by some meV/atom (for sodium the Materials Project has
a cell of 29 atoms). For {", ".join(sorted(STACKINGS))} the data have another stacking with a long cell, at
most 7 meV/atom above the ground state; the textbook's is taken.

They are computed as they are, without relaxing: a volume wrong by 1 % costs a stiff metal 1 meV/atom.
No crystal: {without}.

**Check.** {config.potential}, which learnt these energies, differs from energy and height by
{median:.3f} eV/atom in the median{named}.
That is the potential's error and a wrong structure's together: it would show a wrong structure or a wrong
energy, not one of 30 meV. Where they are {ANOTHER} apart there is no crystal.

| | atoms | space group | height, eV/atom | crystal | Materials Project, eV/atom | {config.potential} − both |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(lines)}

## Terms

Energies and crystals of the Materials Project (Jain et al. 2013), CC BY 4.0; MP-20 (Xie et al. 2022),
MPTS-52 (Baird, Sparks 2022). The lowest entries of bismuth and iodine were others in 2023: those taken agree
with the heights in MP-20 to 0.1 meV/atom.
"""
