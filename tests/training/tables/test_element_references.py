"""The table of elements is rebuilt by its recipe: data's crystals where small and low, else textbooks'."""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING

import pytest
from ase.build import bulk
from pymatgen.io.cif import CifWriter

from invdesign.dft.codes.reading import structure_of
from invdesign.training.tables.element_references import ElementsConfig, _textbook, build_element_references

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("material_id", "formation_energy_per_atom", "cif")


def write_data(folder: Path) -> None:
    """Copper as the data have it: fcc on the ground state, and bcc 0.02 eV/atom above; silver far above."""
    crystals = [
        ("mp-1", 0.02, bulk("Cu", "bcc", a=2.87)),
        ("mp-2", 0.0, bulk("Cu", "fcc", a=3.6)),
        ("mp-3", 0.3, bulk("Ag", "bcc", a=3.3)),
    ]
    (folder / "structures").mkdir()
    for name, rows in (("mp20", crystals), ("mpts52", crystals[2:])):
        with gzip.open(folder / "structures" / f"{name}.csv.gz", "wt", newline="") as file:
            table = csv.writer(file)
            table.writerow(FIELDS)
            for label, height, atoms in rows:
                table.writerow((label, height, str(CifWriter(structure_of(atoms)))))


def test_the_recipe(tmp_path: Path) -> None:
    write_data(tmp_path)
    # EMT counts energies from the elements; gold's is wrong on purpose, manganese has no simple lattice
    config = ElementsConfig(
        kind="elements",
        data=tmp_path,
        out=tmp_path / "elements",
        potential="ase:ase.calculators.emt:EMT",
        mp_energies={"Cu": 0.0, "Ag": 0.0, "Au": -5.0, "Mn": -9.16},
    )
    folder = build_element_references(config, progress=lambda *_: None)
    table = json.loads((folder / "elements.json").read_text())["elements"]
    assert table["Cu"]["crystal"]["origin"] == "mp-2 of mp20"
    assert (table["Cu"]["crystal"]["e_above_hull"], table["Cu"]["crystal"]["space_group"]) == (0.0, 225)
    silver = table["Ag"]["crystal"]
    assert silver["origin"].startswith("textbook structure, relaxed with")
    assert (silver["space_group"], len(silver["positions"])) == (225, 1)
    assert table["Au"] == {"mp_energy": -5.0}
    assert table["Mn"] == {"mp_energy": -9.16}
    card = (folder / "README.md").read_text()
    assert "No crystal: Au, Mn." in card
    assert "| Cu | 1 | 225 | 0.0000 | mp-2 of mp20 |" in card


@pytest.mark.parametrize(
    ("symbol", "atoms", "bond"),
    [
        *[("H", 4, 0.75), ("N", 4, 1.10), ("Cl", 4, 1.95), ("Br", 4, 2.27), ("I", 4, 2.71), ("P", 4, 2.22)],
        *[("Se", 3, 2.37), ("Te", 3, 2.83), ("B", 12, 1.67), ("Sn", 2, 2.88)],
    ],
)
def test_textbook_structures_have_their_bonds(symbol: str, atoms: int, bond: float) -> None:
    crystal = _textbook(symbol)
    assert crystal is not None
    assert len(crystal) == atoms
    neighbours = crystal.get_neighbors(crystal[0], 4.0)
    assert min(site.nn_distance for site in neighbours) == pytest.approx(bond, abs=0.01)
