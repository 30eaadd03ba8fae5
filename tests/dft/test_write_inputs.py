from __future__ import annotations

import csv
import json
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io.espresso import read_espresso_in, read_fortran_namelist
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from invdesign.crystal.matching import same_crystal
from invdesign.crystal.structure_files import write_cif
from invdesign.dft.api import write
from invdesign.dft.codes.espresso.write import find_pseudopotentials
from invdesign.dft.codes.interface import SlurmJob
from invdesign.dft.codes.kpoints import k_grid
from invdesign.dft.slurm import slurm_script
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
FE2O3 = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(5.04, 13.75), ["Fe", "O"], [[0, 0, 0.355], [0.306, 0, 0.25]]
)
FEAL = Structure(Lattice.cubic(2.9), ["Fe", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SODIUM_NITRIDE = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.0), ["Na", "N"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished campaign's folder, as the report part writes it."""
    run = tmp_path / "run"
    (run / "cifs").mkdir(parents=True)
    rows = []
    for rank, structure in enumerate((MGO, FE2O3, FEAL, SODIUM_NITRIDE), start=1):
        name = f"cifs/{rank:02d}_{structure.composition.reduced_formula}.cif"
        write_cif(structure, run / name, symmetrised=True)
        rows.append(
            {
                "rank": rank,
                "candidate": f"c{rank:06d}",
                "formula": structure.composition.reduced_formula,
                "e_above_hull": 0.01 * rank,
                "e_above_hull_low": -0.05,
                "e_above_hull_high": 0.1,
                "band_gap": 1.5,
                "band_gap_low": "",
                "band_gap_high": "",
                "cif_file": name,
            }
        )
    with (run / "shortlist.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (run / "run.json").write_text(json.dumps({"target": "band gap 1.25 to 1.75 eV"}))
    return run


def structure_files(folder: Path, **structures: Structure) -> list[Path]:
    paths = []
    for name, structure in structures.items():
        paths.append(folder / f"{name}.cif")
        write_cif(structure, paths[-1], symmetrised=False)
    return paths


def test_manifest_ties_folders_to_candidates(run_folder: Path, tmp_path: Path) -> None:
    manifest = json.loads(write_inputs(run_folder, "vasp", tmp_path / "vasp").read_text())
    assert manifest["code"] == "vasp"
    assert manifest["task"] == "relax"
    assert manifest["potcar_release"] == "PBE"
    assert "PBE" in manifest["functional"]
    first, *_, last = manifest["candidates"]
    assert (first["candidate"], first["formula"], first["folder"]) == ("c000001", "MgO", "001_MgO")
    assert first["target"] == "band gap 1.25 to 1.75 eV"
    assert first["predicted"]["e_above_hull"] == 0.01
    assert first["predicted"]["e_above_hull_high"] == 0.1
    assert "band_gap_low" not in first["predicted"]  # no interval was given
    assert first["space_group"] == 225
    assert last["formula"] == "NaN"
    static = {"static/INCAR", "static/KPOINTS"}
    assert set(first["files"]) == {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"} | static
    for candidate in manifest["candidates"]:
        assert all((tmp_path / "vasp" / candidate["folder"] / name).is_file() for name in candidate["files"])


def test_shortlist_file_and_folder_give_the_same(run_folder: Path, tmp_path: Path) -> None:
    by_folder = write_inputs(run_folder, "vasp", tmp_path / "a").read_text()
    by_file = write_inputs(run_folder / "shortlist.csv", "vasp", tmp_path / "b").read_text()
    assert by_folder == by_file


def test_a_damaged_run_json_is_one_sentence(run_folder: Path, tmp_path: Path) -> None:
    for text in ("[" * 100_000, '{"target"'):
        (run_folder / "run.json").write_text(text)
        with pytest.raises(InputError, match="cannot be read as JSON"):
            write_inputs(run_folder, "vasp", tmp_path / "out")
    (run_folder / "run.json").write_text("[]")
    manifest = json.loads(write_inputs(run_folder, "vasp", tmp_path / "out").read_text())
    assert manifest["candidates"][0].get("target") is None


def test_vasp_insulator(tmp_path: Path) -> None:
    write_inputs(structure_files(tmp_path, mgo=MGO), "vasp", tmp_path / "out")
    folder = tmp_path / "out" / "001_MgO"
    incar = Incar.from_file(folder / "INCAR")
    assert incar["ENCUT"] == 520
    assert incar["ISIF"] == 3
    assert incar["ISMEAR"] == 0  # right for metals too
    assert incar["NSW"] > 0
    assert not incar.get("LDAU", False)
    assert (folder / "POTCAR.spec").read_text().split() == ["Mg_pv", "O"]
    poscar = Poscar.from_file(folder / "POSCAR", check_for_potcar=False)
    assert len(poscar.structure) == 2  # the primitive cell
    assert same_crystal(poscar.structure, MGO)


def test_vasp_magnetic_oxide_has_u_and_moments(tmp_path: Path) -> None:
    manifest = json.loads(
        write_inputs(structure_files(tmp_path, h=FE2O3), "vasp", tmp_path / "out").read_text()
    )
    incar = Incar.from_file(tmp_path / "out" / "001_Fe2O3" / "INCAR")
    assert incar["LDAU"]
    assert list(incar["LDAUU"]) == [5.3, 0]
    assert incar["ISPIN"] == 2
    assert list(incar["MAGMOM"]) == [5.0] * 4 + [0.6] * 6
    assert manifest["candidates"][0]["hubbard_u"] == {"Fe": 5.3}
    assert manifest["candidates"][0]["potcar"] == ["Fe_pv", "O"]


def test_vasp_intermetallic_has_no_u(tmp_path: Path) -> None:
    manifest = json.loads(
        write_inputs(structure_files(tmp_path, m=FEAL), "vasp", tmp_path / "out").read_text()
    )
    incar = Incar.from_file(tmp_path / "out" / "001_FeAl" / "INCAR")
    assert not incar.get("LDAU", False)
    assert 5.0 in incar["MAGMOM"]
    assert manifest["candidates"][0]["hubbard_u"] == {}
    assert manifest["candidates"][0]["notes"] == []  # pymatgen's remark on metals is settled


@pytest.mark.parametrize("code", ["vasp", "espresso"])
def test_a_gap_without_a_path_is_a_static_run(code: str, run_folder: Path, tmp_path: Path) -> None:
    gap = json.loads(write_inputs(run_folder, code, tmp_path / "gap", task="gap").read_text())
    static = json.loads(write_inputs(run_folder, code, tmp_path / "static", task="static").read_text())
    assert "not along a path" in gap.pop("warnings")[0]
    assert gap == static


def test_vasp_static(tmp_path: Path) -> None:
    write_inputs(structure_files(tmp_path, mgo=MGO), "vasp", tmp_path / "out", task="static")
    incar = Incar.from_file(tmp_path / "out" / "001_MgO" / "INCAR")
    assert incar["NSW"] == 0
    assert incar["ISMEAR"] == -5


@pytest.mark.parametrize(
    "structure", [MGO, FE2O3, FEAL, FEAL * (4, 4, 4)], ids=["MgO", "Fe2O3", "FeAl", "big"]
)
@pytest.mark.parametrize("task", ["relax", "static"])
def test_grids_are_even_and_hold_gamma(structure: Structure, task: str, tmp_path: Path) -> None:
    grid = k_grid(structure, task)  # type: ignore[arg-type]
    assert all(n % 2 == 0 and n >= 2 for n in grid)
    write_inputs(structure_files(tmp_path, x=structure), "vasp", tmp_path / "out", task=task)
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    kpoints = Kpoints.from_file(folder / "KPOINTS")
    assert kpoints.style == Kpoints.supported_modes.Gamma
    assert tuple(kpoints.kpts_shift) == (0, 0, 0)
    assert all(n % 2 == 0 for n in kpoints.kpts[0])


def test_ytterbium_warning_reaches_the_manifest(tmp_path: Path) -> None:
    ybo = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.87), ["Yb", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    manifest = json.loads(
        write_inputs(structure_files(tmp_path, y=ybo), "vasp", tmp_path / "out").read_text()
    )
    candidate = manifest["candidates"][0]
    if candidate["potcar"][0] == "Yb_2":
        assert any("Ytterbium" in note for note in candidate["notes"])
    else:
        assert candidate["potcar"][0].startswith("Yb")


@pytest.mark.parametrize("structure", [MGO, FE2O3, FEAL], ids=["MgO", "Fe2O3", "FeAl"])
def test_espresso_round_trip(structure: Structure, tmp_path: Path) -> None:
    from pymatgen.io.ase import AseAtomsAdaptor

    write_inputs(structure_files(tmp_path, x=structure), "espresso", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*/relax.in")
    atoms = read_espresso_in(path.open())
    assert same_crystal(AseAtomsAdaptor.get_structure(atoms), structure)
    assert len(atoms) == len(structure.get_primitive_structure())
    lists, cards = read_fortran_namelist(path.open())
    assert lists["control"]["calculation"] == "vc-relax"
    assert lists["system"]["occupations"] == "smearing"  # with fixed ones ASE reads every gap as 0
    assert lists["system"]["ecutrho"] >= 8 * lists["system"]["ecutwfc"]
    grid = cards[[line.startswith("K_POINTS automatic") for line in cards].index(True) + 1].split()
    assert all(int(n) % 2 == 0 for n in grid[:3])
    assert grid[3:] == ["0", "0", "0"]


def test_espresso_spin(tmp_path: Path) -> None:
    write_inputs(structure_files(tmp_path, a=FE2O3, b=MGO), "espresso", tmp_path / "out", task="static")
    iron, _ = read_fortran_namelist((tmp_path / "out" / "001_Fe2O3" / "scf.in").open())
    assert iron["system"]["nspin"] == 2
    moments = {key: value for key, value in iron["system"].items() if "magnetization" in key}
    assert sorted(moments.values()) == [0.0, 0.5]
    magnesia, _ = read_fortran_namelist((tmp_path / "out" / "002_MgO" / "scf.in").open())
    assert "nspin" not in magnesia["system"]
    assert magnesia["control"]["calculation"] == "scf"
    assert not list((tmp_path / "out").glob("*/nscf.in"))
    assert np.isclose(magnesia["electrons"]["conv_thr"], 2e-10)


def upf(folder: Path, name: str, *, element: str, functional: str = "PBE", kind: str = "PAW") -> None:
    header = f'<PP_HEADER element="{element}" pseudo_type="{kind}" functional="{functional}"/>'
    (folder / name).write_text(f'<UPF version="2.0.1">\n{header}\n</UPF>\n')


def test_pseudopotentials_are_found_and_checked(tmp_path: Path) -> None:
    upf(tmp_path, "Mg.pbe-spn-kjpaw.UPF", element="Mg")
    upf(tmp_path, "o_pbe_v1.2.upf", element=" O", functional=" SLA  PW   PBX  PBC")
    upf(tmp_path, "Os.upf", element="Os")
    found = find_pseudopotentials(["Mg", "O"], tmp_path)
    assert found.files == {"Mg": "Mg.pbe-spn-kjpaw.UPF", "O": "o_pbe_v1.2.upf"}
    assert found.checked
    assert found.cutoffs == (90.0, 1080.0)
    structures = tmp_path / "structures"
    structures.mkdir()
    out = tmp_path / "out"
    write_inputs(structure_files(structures, x=MGO), "espresso", out, pseudos=tmp_path)
    text = (out / "001_MgO" / "relax.in").read_text()
    assert "o_pbe_v1.2.upf" in text
    assert str(tmp_path) in text


def test_of_several_functionals_pbe_is_taken(tmp_path: Path) -> None:
    upf(tmp_path, "O.pbe.upf", element="O")
    upf(tmp_path, "O.pbesol.upf", element="O", functional="PBESOL")
    assert find_pseudopotentials(["O"], tmp_path).files == {"O": "O.pbe.upf"}


def test_phonons_of_cells_of_another_code_are_warned_of(run_folder: Path, tmp_path: Path) -> None:
    manifest = write_inputs(run_folder, "gpaw", tmp_path / "out", task="phonon-check")
    (said,) = json.loads(manifest.read_text())["warnings"]
    assert "not relaxed with gpaw" in said
    with pytest.raises(InputError, match="elements are computed with --task static"):
        write_inputs(run_folder, "gpaw", tmp_path / "e", task="phonon-check", references=True)


def test_norm_conserving_pseudopotentials_need_a_smaller_density_cutoff(tmp_path: Path) -> None:
    for element in ("Mg", "O"):
        upf(tmp_path, f"{element}.upf", element=element, kind="NC")
    wavefunctions, density = find_pseudopotentials(["Mg", "O"], tmp_path).cutoffs
    assert density == 4 * wavefunctions


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "no file for Mg, O"),
        ([("Mg.upf", "Mg", "PBE"), ("O.upf", "Os", "PBE")], "is for Os, not for O"),
        ([("Mg.upf", "Mg", "PBE"), ("O.upf", "O", "PBESOL")], "functional PBESOL"),
        ([("Mg.upf", "Mg", "PBE"), ("O.upf", "O", "PBE"), ("O_2.upf", "O", "PBE")], "several files for O"),
    ],
)
def test_unfit_pseudopotentials_are_named(
    files: list[tuple[str, str, str]], said: str, tmp_path: Path
) -> None:
    for name, element, functional in files:
        upf(tmp_path, name, element=element, functional=functional)
    with pytest.raises(InputError, match=said):
        find_pseudopotentials(["Mg", "O"], tmp_path)


def test_same_call_again_changes_nothing(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_inputs(run_folder, "vasp", out)
    (out / "001_MgO" / "OUTCAR").write_text("a result")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    write_inputs(run_folder, "vasp", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(InputError, match="holds other files"):
        write_inputs(run_folder, "espresso", out)
    assert [path for path in out.parent.iterdir() if path.name.startswith(".")] == []


def test_errors_leave_nothing_behind(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="code: there is no 'gaussian'"):
        write_inputs(run_folder, "gaussian", out)
    with pytest.raises(InputError, match="task: vasp has no 'melt'"):
        write_inputs(run_folder, "vasp", out, task="melt")
    with pytest.raises(InputError, match="pseudos"):
        write_inputs(run_folder, "vasp", out, pseudos=tmp_path)
    with pytest.raises(InputError, match="no such"):
        write_inputs(tmp_path / "nowhere", "vasp", out)
    (run_folder / "cifs" / "02_Fe2O3.cif").unlink()
    with pytest.raises(InputError, match=r"02_Fe2O3\.cif.*c000002"):
        write_inputs(run_folder, "vasp", out)
    (run_folder / "shortlist.csv").write_text("rank,candidate,formula,cif\n")
    with pytest.raises(InputError, match="lists no candidate"):
        write_inputs(run_folder, "vasp", out)
    (run_folder / "shortlist.csv").unlink()
    (run_folder / "candidates.db").write_bytes(b"")
    with pytest.raises(InputError, match=r"no shortlist\.csv"):
        write_inputs(run_folder, "vasp", out)
    assert not out.exists()


def test_a_file_in_the_way(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write_inputs(run_folder, "vasp", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_collapsed_structures_are_refused(tmp_path: Path) -> None:
    collapsed = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0, 0, 0]])
    with pytest.raises(InputError, match="two atoms are"):
        write_inputs(structure_files(tmp_path, x=collapsed), "vasp", tmp_path / "out")


@pytest.mark.parametrize(
    ("code", "task", "runs"),
    [
        ("vasp", "relax", "pmg potcar -s $(cat POTCAR.spec) -f PBE\nsrun vasp_std"),
        ("espresso", "static", "srun pw.x -in scf.in > scf.out"),
        ("gpaw", "gap", "python run.py"),
        ("elk", "gap", "elk-lapw"),
    ],
)
def test_a_slurm_array_over_the_folders(code: str, task: str, runs: str, tmp_path: Path) -> None:
    write_inputs(structure_files(tmp_path, a=MGO, b=SODIUM_NITRIDE), code, tmp_path / "out", task=task)
    script = tmp_path / "out" / "submit.sh"
    assert "#SBATCH --array=1-2\n" in script.read_text()
    assert runs in script.read_text()
    subprocess.run(["bash", "-n", script], check=True)
    start = script.read_text().split("# module")[0].split("# source")[0].split("# sppath")[0]
    environment = {"SLURM_ARRAY_TASK_ID": "2", "PATH": "/usr/bin:/bin"}
    place = subprocess.check_output(
        ["bash", "-c", start + "pwd"], cwd=script.parent, env=environment, text=True
    )
    assert place.strip().endswith("002_NaN")


def test_a_thousand_folders_at_a_time() -> None:
    script = slurm_script(SlurmJob("run"), [f"{n:04d}_MgO" for n in range(1, 2301)])
    assert "#SBATCH --array=1-1000\n" in script
    assert "#   FIRST=1000 sbatch --array=1-1000 submit.sh\n#   FIRST=2000 sbatch --array=1-300" in script
    start = script.split("cd ")[0] + 'echo "${folders[$SLURM_ARRAY_TASK_ID - 1 + ${FIRST:-0}]}"'
    environment = {"SLURM_ARRAY_TASK_ID": "300", "FIRST": "2000", "PATH": "/usr/bin:/bin"}
    assert subprocess.check_output(["bash", "-c", start], env=environment, text=True).strip() == "2300_MgO"


def test_a_refusal_keeps_no_structures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="elements are computed with --task static"):
        write([MGO], code="vasp", task="gap", references=True, out=tmp_path / "dft")
    assert list(tmp_path.iterdir()) == []
