"""DFT energies on the hull's scale: VASP with corrections, GPAW with its own elements, or why not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.test
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.gpaw.code import GPAW
from invdesign.dft.codes.gpaw.job import digests
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.dft.codes.registry import get_code
from invdesign.dft.codes.vasp.read import read_vasp
from invdesign.dft.collect_results import collect
from invdesign.dft.manifest import Job
from invdesign.dft.results.calculation import Calculation
from invdesign.dft.results.elements import element_energies, references, vasp_energies
from invdesign.dft.results.formation_energies import compute_placements
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError
from invdesign.stability.hull.hull import Hull
from invdesign.stability.hull.vasp import corrected_energy, corrections

if TYPE_CHECKING:
    from invdesign.dft.results.formation_energies import DftPlacement
    from invdesign.stability.hull.vasp import VaspRun

DATA = Path(__file__).parents[2] / "data" / "dft"
VASP = Path(ase.test.__file__).parent / "testdata" / "vasp"
SETTINGS = {"code": "gpaw", "cutoff_ev": 800.0, "setups": "gpaw-data 1.2, PBE"}


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    cell = Lattice.cubic(a)
    whole = Structure.from_spacegroup("Fm-3m", cell, [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return whole.get_primitive_structure()


MGO = rock_salt("Mg", "O", 4.25)


@pytest.fixture(scope="module")
def hull() -> Hull:
    return Hull.load()


def run(structure: Structure, energy: float, task: str = "relax", **entry: Any) -> Calculation:
    settings = SETTINGS | entry.pop("settings", {})
    job = Job(Path("here"), settings["code"], task, entry, settings)
    return Calculation(Path("here"), job, get_code(settings["code"]), structure, energy)


def element(symbol: str, energy: float, **entry: Any) -> Calculation:
    return run(references()[symbol].structure, energy, "static", **{"reference_e_above_hull": 0.0} | entry)


def placed(*runs: Calculation, hull: Hull) -> DftPlacement:
    return compute_placements(runs, element_energies(runs), hull)[0]


def test_every_reference_is_a_crystal_of_its_element() -> None:
    table = references()
    assert len(table) > 80
    for symbol, reference in table.items():
        structure = reference.structure
        assert structure.symbol_set == (symbol,)
        assert len(structure) <= 12
        assert 0 <= reference.e_above_hull <= 0.05
        assert structure.is_valid(tol=0.7)
        assert structure.get_space_group_info(1e-4)[1] > 2  # exact, or four times the k-points
    assert table["O"].structure.volume < 50  # two atoms
    assert not table.keys() & {"Mn", "Pu"}  # no small crystal is the ground state
    assert vasp_energies()["O"] == pytest.approx(-4.948, abs=1e-3)
    assert "Yb" not in vasp_energies()  # its POTCAR changed


def test_real_magnesia_by_gpaw(tmp_path: Path, hull: Hull) -> None:
    # MgO relaxed, Mg and O2 static, all by GPAW 26.7 at PW(800); -3.05 by the Materials Project
    write_cif(rock_salt("Mg", "O", 4.3), tmp_path / "mgo.cif", symmetrised=True)
    write_inputs(tmp_path / "mgo.cif", "gpaw", tmp_path / "dft")
    write_inputs(tmp_path / "mgo.cif", "gpaw", tmp_path / "elements", references=True)
    stored = {"001_MgO": "mgo_gpaw.json", "001_Mg": "mg_gpaw.json", "002_O2": "o2_gpaw.json"}
    for folder in [*(tmp_path / "dft").glob("0*"), *(tmp_path / "elements").glob("0*")]:
        result = json.loads((DATA / stored[folder.name]).read_text()) | {"inputs": digests(folder)}
        (folder / "result.json").write_text(json.dumps(result))
    alone = collect([tmp_path / "dft"], tmp_path).rows[0]
    assert alone["e_above_hull_dft"] is None
    assert "no energy of Mg, O" in alone["scale"]
    assert "dft write … --code gpaw --references" in alone["scale"]
    row, *elements = collect([tmp_path / "dft", tmp_path / "elements"], tmp_path).rows
    assert [one["candidate"] for one in elements] == ["element Mg", "element O"]
    known = dict(hull.phases(["Mg", "O"]))["MgO"]
    assert row["formation_energy_dft"] == pytest.approx(known, abs=0.06)
    assert row["e_above_hull_dft"] == pytest.approx(0.0, abs=0.06)
    assert row["scale"] == "GPAW, elements computed with the same settings; MP2020: anion (oxide)"


def test_formation_energy_is_counted_from_element_energies(hull: Hull) -> None:
    height = references()["O"].e_above_hull
    mg, o2 = element("Mg", 2 * -1.6), element("O", 2 * (-4.9 + height), reference_e_above_hull=height)
    found = placed(run(MGO, -12.0), mg, o2, hull=hull)
    oxide = (corrections(MGO) or {})["MP2020 anion correction (oxide)"]
    assert oxide == pytest.approx(-0.687 / 2)
    assert found.formation_energy == pytest.approx((-12.0 + 1.6 + 4.9) / 2 + oxide)
    # the lowest of several crystals of an element counts
    other = run(references()["Mg"].structure, 2 * -1.7, "relax", reference_e_above_hull=0.0)
    lower = placed(run(MGO, -12.0), mg, o2, other, hull=hull)
    assert lower.formation_energy == pytest.approx((found.formation_energy or 0) + 0.05)


def test_energies_of_other_settings_are_no_references(hull: Hull) -> None:
    mg, o2 = element("Mg", -3.2), element("O", -9.8)
    coarse = element("O", -9.8, settings={"cutoff_ev": 400.0})
    assert "no energy of O" in placed(run(MGO, -12.0), mg, coarse, hull=hull).scale
    forces = run(references()["O"].structure, -9.8, "phonon-check", reference_e_above_hull=0.0)
    assert "no energy of O" in placed(run(MGO, -12.0), mg, forces, hull=hull).scale
    sparse = replace(
        element("O", -9.8, kpoints=[8, 8, 8]), output=ParsedOutput("done", settings={"kpoints": [2, 2, 2]})
    )
    assert "no energy of O" in placed(run(MGO, -12.0), mg, sparse, hull=hull).scale
    lowered = ParsedOutput("done", functional="PBE", settings={"cutoff_ev": 400.0})
    runs = [replace(one, output=lowered) for one in (run(MGO, -12.0), mg, o2)]
    assert placed(*runs, hull=hull).e_above_hull is not None  # all of them
    assert "no energy of Mg, O" in placed(runs[0], mg, o2, hull=hull).scale
    qe = {"settings": {"code": "espresso"}, "pseudopotentials": {"Mg": "Mg.UPF", "O": "O.UPF"}}
    mg_qe, o_qe = (
        element(el, -9.0, settings={"code": "espresso"}, pseudopotentials=files)
        for el, files in (("Mg", {"Mg": "Mg.UPF"}), ("O", {"O": "O_other.UPF"}))
    )
    assert "no energy of O in" in placed(run(MGO, -12.0, **qe), mg_qe, o_qe, mg, o2, hull=hull).scale


def test_plus_u_has_no_energy_above_hull(hull: Hull) -> None:
    feo = rock_salt("Fe", "O", 4.3)
    both = element("Fe", -8.0), element("O", -9.8)
    with_u = placed(run(feo, -12.0, hubbard_u={"Fe": 5.3}), *both, hull=hull)
    assert with_u.e_above_hull is None
    assert "computed with +U" in with_u.scale
    without = placed(run(feo, -12.0), *both, hull=hull)
    assert without.e_above_hull is None
    assert "the Materials Project computes this with +U" in without.scale


def test_what_else_has_no_energy_above_hull(hull: Hull) -> None:
    single = Calculation(Path("here"), None, GPAW(), MGO, -12.0)
    assert "no manifest says" in compute_placements([single], [], hull)[0].scale
    elk = run(MGO, -12.0, settings={"code": "elk"})
    assert "muffin-tin" in placed(elk, hull=hull).scale
    missing = placed(run(rock_salt("Mn", "S", 5.2), -12.0), element("S", -40.0), hull=hull)
    assert "compute a crystal of Mn" in missing.scale
    matpes = run(MGO, -12.0, settings={"code": "vasp", "input_set": "matpes"})
    assert "matpes" in placed(matpes, hull=hull).scale
    assert element_energies([single, elk]) == []


def test_less_sure_with_4f_electrons(hull: Hull) -> None:
    both = element("Sm", -10.0), element("S", -40.0)
    assert (
        "less sure: 4f electrons of Sm"
        in placed(run(rock_salt("Sm", "S", 6.0), -20.0), *both, hull=hull).scale
    )


def vasp_run(folder: Path) -> VaspRun:
    run = read_vasp(folder).vasp
    assert run is not None
    return run


def as_of_materials_project(folder: Path) -> Path:
    """ASE's NaCl run, with the name of the Materials Project's sodium POTCAR in place of its own."""
    text = (VASP / "vasprun_dfpt.xml").read_text()
    folder.mkdir()
    (folder / "vasprun.xml").write_text(text.replace("PAW_PBE Na 08Apr2002", "PAW_PBE Na_pv 05Jan2001"))
    return folder


def test_vasp_with_the_materials_projects_elements(tmp_path: Path, hull: Hull) -> None:
    folder = as_of_materials_project(tmp_path / "run")
    energy, parts = corrected_energy(vasp_run(folder))
    assert parts == {"MP2020 anion correction (Cl)": pytest.approx(-0.307)}
    assert energy == pytest.approx(-6.74587304 / 2 - 0.307)
    (row,) = collect([folder], tmp_path).rows
    known = dict(hull.phases(["Na", "Cl"]))["NaCl"]
    assert row["formation_energy_dft"] == pytest.approx(known, abs=0.03)
    assert row["e_above_hull_dft"] == pytest.approx(row["formation_energy_dft"] - known)
    assert row["scale"] == "VASP, the Materials Project's settings and elements; MP2020: anion (Cl)"


def test_other_potcars_and_functionals_have_no_energy_above_hull(tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_bytes((VASP / "vasprun_dfpt.xml").read_bytes())
    with pytest.raises(InputError, match="POTCARs or U that are not the Materials Project's"):
        corrected_energy(vasp_run(tmp_path))
    (row,) = collect([tmp_path], tmp_path).rows
    assert (row["status"], row["e_above_hull_dft"]) == ("done", None)
    assert "not the Materials Project's" in row["scale"]
    (tmp_path / "vasprun.xml").write_bytes((VASP / "vasprun_pstress.xml").read_bytes())
    assert "the Materials Project's hull PBE" in collect([tmp_path], tmp_path).rows[0]["scale"]


def test_references_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    write_cif(MGO, tmp_path / "mgo.cif", symmetrised=True)
    for code, why in (("vasp", "the Materials Project's elements"), ("elk", "muffin-tin")):
        with pytest.raises(InputError, match=why):
            write_inputs(tmp_path / "mgo.cif", code, tmp_path / "out", references=True)
    write_cif(rock_salt("Mn", "S", 5.2), tmp_path / "mns.cif", symmetrised=True)
    manifest = json.loads(
        write_inputs(tmp_path / "mns.cif", "espresso", tmp_path / "out", references=True).read_text()
    )
    assert manifest["task"] == "static"
    assert [one["candidate"] for one in manifest["candidates"]] == ["element S"]
    assert manifest["candidates"][0]["reference_e_above_hull"] == pytest.approx(0.0409, abs=1e-3)
    assert manifest["skipped"][0]["candidate"] == "element Mn"


def test_oxygen_starts_as_a_triplet(tmp_path: Path) -> None:
    write_cif(MGO, tmp_path / "mgo.cif", symmetrised=True)
    for code in ("gpaw", "espresso"):
        write_inputs(tmp_path / "mgo.cif", code, tmp_path / code, references=True)
    settings = json.loads((tmp_path / "gpaw" / "002_O2" / "input.json").read_text())
    assert settings["magmoms"] == [1.0, 1.0]
    assert "nspin            = 2" in (tmp_path / "espresso" / "002_O2" / "scf.in").read_text()


def test_a_candidate_that_is_an_element_is_no_reference(hull: Hull) -> None:
    bad = run(Structure(Lattice.cubic(3.2), ["Mg"], [[0, 0, 0]]), -0.5)
    o2 = element("O", -9.8)
    assert element_energies([bad]) == []
    assert "no energy of Mg" in placed(run(MGO, -12.0), bad, o2, hull=hull).scale
    found = compute_placements([bad], element_energies([bad, element("Mg", -3.2)]), hull)[0]
    assert found.e_above_hull == pytest.approx(-0.5 + 1.6, abs=0.02)  # it has a height of its own


def test_own_crystals_of_elements_that_the_table_lacks(tmp_path: Path) -> None:
    mn = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.5), ["Mn"], [[0, 0, 0]])
    files = [tmp_path / "mns.cif", tmp_path / "mn.cif"]
    for structure, file in zip((rock_salt("Mn", "S", 5.2), mn), files, strict=True):
        write_cif(structure, file, symmetrised=True)
    manifest = json.loads(write_inputs(files, "gpaw", tmp_path / "out", references=True).read_text())
    heights = {one["candidate"]: one["reference_e_above_hull"] for one in manifest["candidates"]}
    assert heights == {"element S": pytest.approx(0.0409, abs=1e-3), "element Mn": 0.0}
