"""+U and starting moments in every code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.sets import MPRelaxSet

from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.espresso.read import read_espresso
from invdesign.dft.codes.hubbard import hubbard_u, orbital
from invdesign.dft.codes.magmoms import starting_moments
from invdesign.dft.write_inputs import write_inputs


def rocksalt(cation: str, anion: str) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.4), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


FE2O3 = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(5.04, 13.75), ["Fe", "O"], [[0, 0, 0.355], [0.306, 0, 0.25]]
)
WO3 = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.8), ["W", "O"], [[0, 0, 0], [0.5, 0, 0]])
MNOF = Structure(Lattice.cubic(4.4), ["Mn", "O", "F"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "structure",
    [FE2O3, WO3, MNOF, rocksalt("Mg", "O"), rocksalt("Fe", "S"), rocksalt("Cu", "O"), rocksalt("Ni", "F")],
    ids=lambda structure: structure.composition.reduced_formula,
)
def test_the_same_u_as_the_materials_project(structure: Structure) -> None:
    theirs = MPRelaxSet(structure)
    values = theirs.incar.get("LDAUU", [0.0] * len(theirs.poscar.site_symbols))
    assert hubbard_u(structure) == {
        el: u for el, u in zip(theirs.poscar.site_symbols, values, strict=True) if u
    }


def test_shells() -> None:
    assert [orbital(symbol) for symbol in ("Fe", "Mo", "W")] == ["Fe-3d", "Mo-4d", "W-5d"]


def written(code: str, structure: Structure, tmp_path: Path) -> tuple[dict, Path]:
    write_cif(structure, tmp_path / "x.cif", symmetrised=False)
    manifest = json.loads(write_inputs(tmp_path / "x.cif", code, tmp_path / code, task="static").read_text())
    (entry,) = manifest["candidates"]
    return {**manifest, **entry}, tmp_path / code / entry["folder"]


def test_espresso_has_the_card_of_version_7(tmp_path: Path) -> None:
    entry, folder = written("espresso", FE2O3, tmp_path)
    assert "HUBBARD {ortho-atomic}\nU Fe-3d 5.3\n" in (folder / "scf.in").read_text()
    assert entry["hubbard_u"] == {"Fe": 5.3}
    assert entry["starting_magnetization"] == {"Fe": 0.5, "O": 0.0}
    assert any("7.1 or newer" in note for note in entry["notes"])
    assert "do not compare with its hull" in entry["projectors"]
    (tmp_path / "b").mkdir()
    entry, folder = written("espresso", rocksalt("Mg", "O"), tmp_path / "b")
    assert "HUBBARD" not in (folder / "scf.in").read_text()
    assert (entry["hubbard_u"], entry["starting_magnetization"], entry["notes"]) == ({}, {}, [])


def test_gpaw_has_it_in_its_setups(tmp_path: Path) -> None:
    entry, folder = written("gpaw", WO3, tmp_path)
    assert entry["hubbard_u"] == {"W": 6.2}
    assert json.loads((folder / "input.json").read_text())["setups"] == {"W": ":d,6.2"}


def test_low_spin_ions() -> None:
    licoo2 = Structure.from_spacegroup(
        "R-3m", Lattice.hexagonal(2.83, 14.1), ["Li", "Co", "O"], [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.24]]
    )
    assert max(starting_moments(licoo2)) == 0.6  # Co3+: spin is looked for, but starts small
    assert max(starting_moments(rocksalt("Co", "O"))) == 3  # Co2+
    uo2 = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.47), ["U", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    assert max(starting_moments(uo2)) == 2  # f2


def test_an_espresso_that_ignored_it_did_not_do_what_was_asked(tmp_path: Path) -> None:
    """As pw.x 6.7 prints it: it goes on without, and ends well."""
    (tmp_path / "scf.out").write_text(
        "     Program PWSCF v.6.7MaX starts\nWarning: card HUBBARD {ORTHO-ATOMIC} ignored\n"
        "Warning: card U FE-3D 5.3 ignored\n   JOB DONE.\n"
    )
    reading = read_espresso(tmp_path)
    assert reading.status == "failed"
    assert "7.1 or newer" in str(reading.reason)
