"""Measure potentials on crystals that every chemist knows: how far above the hull they put them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator

from invdesign.io.progress import Progress
from invdesign.potentials.registry import load_potential
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull
from invdesign.stability.placement import compute_placement
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe
from invdesign.training.stability.calibration_data import FMAX, MAX_STEPS

if TYPE_CHECKING:
    from pymatgen.core import Structure

STRUCTURES = "mp_structures.npz"
SYMPREC = 0.1  # Å
PBE_FAULT = 0.01  # eV/atom above the lowest of its formula: not PBE's ground state
Coordinate = Annotated[float, BeforeValidator(lambda text: float(Fraction(str(text))))]


class TextbookCrystal(BaseModel, extra="forbid"):
    """A measured structure.

    Attributes:
        group: Hermann-Mauguin symbol; first origin, hexagonal axes.
        cell: the lengths that the crystal system leaves free, Å, then the monoclinic angle, degrees.
        density: measured, g/cm³.
        sites: element and fractional coordinates of one atom of each orbit; ``1/3`` is a number.
    """

    group: str
    cell: list[float]
    density: float
    sites: list[tuple[str, Coordinate, Coordinate, Coordinate]]

    def structure(self) -> Structure:
        """Return the primitive cell."""
        from pymatgen.core import Lattice, Structure
        from pymatgen.symmetry.groups import SpaceGroup

        system = SpaceGroup(self.group).crystal_system
        lattice = getattr(Lattice, "hexagonal" if system == "trigonal" else system)(*self.cell)
        symbols, positions = [site[0] for site in self.sites], [site[1:] for site in self.sites]
        return Structure.from_spacegroup(self.group, lattice, symbols, positions).get_primitive_structure()


class TextbookConfig(Recipe):
    """Recipe of the measurement; kind ``textbook``.

    Attributes:
        data: folder with ``structures/``, whose ``mp_structures.npz`` tells what PBE finds.
        potentials: each with a released calibration.
        crystals: by class, then by name: a formula, and a word where it has several structures.
    """

    kind: Literal["textbook"]
    data: Path
    hull: str = "mp-hull"
    potentials: list[str]
    crystals: dict[str, dict[str, TextbookCrystal]]


@dataclass(frozen=True, slots=True)
class Row:
    """A crystal, what PBE says of it, and what the potentials say.

    Attributes:
        name: of the crystal.
        kind: its class.
        group: space group.
        pbe: PBE's energy above the lowest crystal of the formula in the Materials Project, eV/atom; None
            where the data lack the crystal.
        source: its id there.
        products: phases of the hull at its composition; itself, or what it decomposes into.
        e_above_hull: eV/atom, by potential; None where it did not converge.
    """

    name: str
    kind: str
    group: str
    pbe: float | None
    source: str
    products: list[str]
    e_above_hull: dict[str, float | None]


def build_textbook(config: TextbookConfig, *, progress: Progress) -> Path:
    """Relax every crystal with every potential and write the card."""
    kinds = {name: kind for kind, crystals in config.crystals.items() for name in crystals}
    given = {name: crystal for crystals in config.crystals.values() for name, crystal in crystals.items()}
    structures = {name: crystal.structure() for name, crystal in given.items()}
    progress(0.05, "the same crystals by PBE")
    pbe = _above_lowest(config.data, structures, {name: crystal.group for name, crystal in given.items()})
    hull, found = Hull.load(config.hull), {}
    for number, name in enumerate(config.potentials):
        progress(0.2 + 0.75 * number / len(config.potentials), name)
        found[name] = energies_above_hull(list(structures.values()), name, hull)
    rows = [
        Row(name, kinds[name], given[name].group, *pbe[name], products, {by: found[by][i] for by in found})
        for i, (name, structure) in enumerate(structures.items())
        for products in [sorted(hull.e_above_hull(structure.composition, 0.0).decomposition)]
    ]
    write_card(config, "textbook", measure_textbook(rows))
    progress(1.0, f"{len(rows)} crystals in {config.out}")
    return config.out


def energies_above_hull(structures: list[Structure], potential: str, hull: Hull) -> list[float | None]:
    """Relax crystals as a candidate is finished, and place them as reported ones, eV/atom.

    Raises:
        InputError: the potential has no calibration.
    """
    from invdesign.relaxation.relax import relax

    loaded = load_potential(potential)
    calibration = EnergyCalibration.load(loaded.name)
    return [
        compute_placement(
            result.structure.composition, result.energy, calibration, hull, crystal_known=True
        ).e_above_hull
        if result.converged
        else None
        for result in relax(structures, loaded, fmax=FMAX, max_steps=MAX_STEPS, keep_symmetry=True)
    ]


def _above_lowest(
    data: Path, structures: dict[str, Structure], groups: dict[str, str]
) -> dict[str, tuple[float | None, str]]:
    """Look up each crystal in the Materials Project: energy above the lowest of its formula, and its id."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Lattice, Structure

    with np.load(data / "structures" / STRUCTURES, allow_pickle=False) as stored:
        table = {name: stored[name] for name in stored.files}
    ends = np.cumsum(table["n_sites"].astype(int))
    counts = np.zeros((len(ends), 128))
    np.add.at(counts, (np.repeat(np.arange(len(ends)), table["n_sites"]), table["atomic_number"]), 1)
    counts /= table["n_sites"][:, None]
    energies = table["formation_energy_per_atom"].astype(float)
    found: dict[str, tuple[float | None, str]] = dict.fromkeys(structures, (None, ""))
    for name, structure in structures.items():
        wanted = np.bincount(structure.atomic_numbers, minlength=128) / len(structure)
        rows = np.flatnonzero(np.isfinite(energies) & (np.abs(counts - wanted).max(axis=1) < 1e-6))
        for row in rows[np.argsort(energies[rows])]:
            sites = slice(ends[row] - table["n_sites"][row], ends[row])
            lattice = Lattice.from_parameters(*table["cell"][row].astype(float))
            crystal = Structure(lattice, table["atomic_number"][sites], table["fractional"][sites] / 65536)
            # the matcher alone takes TiO2 in Imma for rutile
            same = crystal.get_space_group_info(symprec=SYMPREC)[0] == groups[name]
            if same and StructureMatcher().fit(structure, crystal):
                above = energies[row] - energies[rows].min()
                found[name] = (float(above), f"mp-{table['material_id'][row]}")
                break
    return found


def measure_textbook(rows: list[Row]) -> dict[str, Any]:
    """Return the numbers of the card: every row, and mean absolute errors by group of rows, eV/atom."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    groups = {
        "all": rows,
        "elements": [row for row in rows if row.kind == "elements"],
        "compounds": [row for row in rows if row.kind != "elements"],
        "PBE's ground states": [row for row in rows if row.pbe is not None and row.pbe < PBE_FAULT],
        **{kind: [row for row in rows if row.kind == kind] for kind in kinds if kind != "elements"},
    }
    potentials = list(rows[0].e_above_hull)
    with_pbe = [(row.e_above_hull, row.pbe) for row in rows if row.pbe is not None]
    return {
        "potentials": potentials,
        "n": len(rows),
        "n_pbe": len(with_pbe),
        "fault": PBE_FAULT,
        "groups": [
            {"name": name, "n": len(members), "mae": {by: _mae(members, by) for by in potentials}}
            for name, members in groups.items()
            if members
        ],
        "from_pbe": {
            by: _mean(abs(value - pbe) for found, pbe in with_pbe if (value := found[by]) is not None)
            for by in potentials
        },
        "pbe_mae": _mean(pbe for _, pbe in with_pbe),
        "rows": [asdict(row) for row in rows],
    }


def _mae(rows: list[Row], potential: str) -> float:
    """Return the mean absolute E above hull; a known ground state has zero."""
    return _mean(abs(value) for row in rows if (value := row.e_above_hull[potential]) is not None)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
