"""The way back, on real outputs: GPAW 26.7 (MgO), pw.x 6.7 (BN), and the VASP files that ASE brings."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import ase.test
import numpy as np
import pytest
from ase.io import Trajectory, write
from pymatgen.core import Lattice, Structure

from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.band_gap import gap_by_occupation
from invdesign.dft.codes.espresso.read import read_espresso
from invdesign.dft.codes.gpaw.job import digests
from invdesign.dft.codes.gpaw.read import read_gpaw, read_trajectory
from invdesign.dft.codes.trajectory import Trajectory as TrajectoryFiles
from invdesign.dft.codes.vasp.read import read_vasp
from invdesign.dft.collect_results import collect
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

DATA = Path(__file__).parents[1] / "data" / "dft"
VASP = Path(ase.test.__file__).parent / "testdata" / "vasp"
MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
BN = Structure.from_spacegroup("F-43m", Lattice.cubic(3.626), ["B", "N"], [[0, 0, 0], [0.25, 0.25, 0.25]])
NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.4548), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def written(tmp_path: Path, structure: Structure, code: str, task: str = "relax", name: str = "out") -> Path:
    """Inputs for a shortlist of one, with a predicted gap of 4 eV."""
    run = tmp_path / f"{name}_run"
    run.mkdir()
    write_cif(structure, run / "c.cif", symmetrised=True)
    row = {"rank": 1, "candidate": "c000001", "cif_file": "c.cif"}
    row |= {"band_gap": 4.0, "band_gap_low": 3.5, "band_gap_high": 4.5}
    with (run / "shortlist.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, row)
        table.writeheader()
        table.writerow(row)
    write_inputs(run, code, tmp_path / name, task=task)
    return tmp_path / name


def only(out: Path) -> Path:
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    return folder


def unpacked(name: str, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(gzip.decompress((DATA / name).read_bytes()))


def computed(folder: Path, **changes: Any) -> None:
    """GPAW's stored results of MgO, in a folder that was written for it."""
    result = json.loads((DATA / "mgo_gpaw.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"inputs": digests(folder)} | changes))
    shutil.copy(DATA / "mgo_gpaw.traj", folder / "trajectory.traj")


def test_gpaw_round_trip(tmp_path: Path) -> None:
    out = written(tmp_path, MGO, "gpaw")
    computed(only(out))
    (row,) = collect([out], tmp_path).rows
    assert (row["status"], row["candidate"], row["formula"]) == ("done", "c000001", "MgO")
    assert (row["band_gap_predicted"], row["band_gap_predicted_low"]) == (4.0, 3.5)
    assert row["band_gap_dft"] == pytest.approx(4.49, abs=0.01)
    assert (4 * 2 * row["volume_dft"]) ** (1 / 3) == pytest.approx(4.25, abs=0.02)
    assert row["volume_predicted"] == pytest.approx(4.3**3 / 8)
    assert row["rmsd"] == pytest.approx(0, abs=1e-6)
    assert abs(row["pressure"]) < 0.2
    assert row["e_above_hull_dft"] is None  # another scale than the hull's
    with (tmp_path / "dft.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["band_gap_dft"]) == row["band_gap_dft"]
    assert line["e_above_hull_dft"] == ""
    assert json.loads((tmp_path / "dft.json").read_text())["runs"] == [row]


def test_values_that_are_none_stop_nothing(tmp_path: Path) -> None:
    for gap in (float("nan"), -3.0):
        out = written(tmp_path, MGO, "gpaw", name=f"out{gap}")
        computed(only(out), band_gap=gap)
        (row,) = collect([out], tmp_path / f"{gap}").rows
        assert (row["status"], row["band_gap_dft"]) == ("truncated", None)
    with pytest.raises(InputError, match="is a file; give a folder"):
        collect([out], out / "manifest.json")


def test_renamed_folders_are_named(tmp_path: Path) -> None:
    out = written(tmp_path, MGO, "gpaw")
    only(out).rename(out / "mine")
    found = collect([out, out], tmp_path)
    (row,) = found.rows
    assert (row["status"], row["reason"]) == ("not run", "its folder is gone")
    assert found.notes == [f"{out / 'mine'}: not in the manifest, left alone"]


def test_gpaw_failures_are_distinguished(tmp_path: Path) -> None:
    folder = only(written(tmp_path, MGO, "gpaw"))
    assert read_gpaw(folder).status == "not run"
    (folder / "trajectory.traj").touch()
    assert read_gpaw(folder).status == "unfinished"
    shutil.copy(DATA / "mgo_gpaw.traj", folder / "trajectory.traj")
    assert "4 geometries so far" in (read_gpaw(folder).reason or "")
    (folder / "run.log").write_text("Traceback (most recent call last):\nMemoryError: 20 GB\n")
    assert (read_gpaw(folder).status, read_gpaw(folder).reason) == (
        "failed",
        "MemoryError: 20 GB (see run.log)",
    )
    (folder / "run.log").unlink()
    computed(folder, converged=False, n_geometries=100)
    assert read_gpaw(folder).status == "not converged"
    (folder / "result.json").write_text((folder / "result.json").read_text()[:300])
    assert read_gpaw(folder).status == "truncated"
    computed(folder, failed="the self-consistent cycle did not converge", converged=False)
    assert (read_gpaw(folder).status, read_gpaw(folder).band_gap) == ("failed", None)
    computed(folder, inputs={})
    assert read_gpaw(folder).status == "unrelated"
    (folder / "result.json").write_text("[]")
    assert read_gpaw(folder).status == "unrelated"


def test_one_bad_run_does_not_stop_the_others(tmp_path: Path) -> None:
    good, bad = written(tmp_path, MGO, "gpaw", name="good"), written(tmp_path, MGO, "gpaw", name="bad")
    computed(only(good))
    computed(only(bad))
    (only(bad) / "trajectory.traj").write_bytes(b"no trajectory")
    (only(bad) / "result.json").unlink()
    changed = written(tmp_path, MGO, "gpaw", name="changed")
    computed(only(changed))
    write_cif(BN, tmp_path / "changed_run" / "c.cif", symmetrised=True)
    rows = collect([good, bad, changed], tmp_path).rows
    assert [row["status"] for row in rows] == ["done", "truncated", "changed"]
    assert "c.cif changed" in rows[2]["reason"]
    assert rows[2]["band_gap_dft"] is None
    for row in rows:  # three runs of one candidate
        assert row["notes"][-1].startswith("computed again in ")
        assert row["folder"] not in row["notes"][-1]


def test_espresso_relaxation(tmp_path: Path) -> None:
    out = written(tmp_path, BN, "espresso")
    assert collect([out], tmp_path).rows[0]["status"] == "not run"
    unpacked("bn_relax.out.gz", only(out) / "relax.out")
    unpacked("bn_relax.xml.gz", only(out) / "out" / "pwscf.xml")
    (row,) = collect([out], tmp_path).rows
    assert row["status"] == "done"
    assert row["band_gap_dft"] == pytest.approx(4.477, abs=0.001)
    assert row["gap_is_direct"] is False
    assert row["energy_per_atom"] == pytest.approx(-39.8547575883 * 13.605693 / 2, abs=1e-3)  # as printed
    assert row["volume_dft"] / row["volume_predicted"] == pytest.approx(1.0026, abs=1e-4)
    assert abs(row["pressure"]) < 0.01


def test_espresso_static_run_has_the_energy_of_its_scf_and_the_bands_of_its_nscf(tmp_path: Path) -> None:
    unpacked("bn_nscf.xml.gz", tmp_path / "out" / "pwscf.xml")  # its own energy is 0
    alone = read_espresso(tmp_path)
    assert (alone.status, alone.energy) == ("done", None)
    assert "nscf run alone" in alone.notes[0]
    unpacked("bn_scf.out.gz", tmp_path / "scf.out")
    both = read_espresso(tmp_path)
    assert both.energy == pytest.approx(-542.2515, abs=1e-3)
    assert both.pressure == pytest.approx(0.984)
    assert both.max_force == pytest.approx(0, abs=1e-6)
    assert both.band_gap == pytest.approx(4.480, abs=0.001)


def test_espresso_with_fixed_occupations_has_no_gap_rather_than_none(tmp_path: Path) -> None:
    """ASE reads 0 from this run: it has the four occupied bands alone."""
    unpacked("bn_fixed.xml.gz", tmp_path / "out" / "pwscf.xml")
    reading = read_espresso(tmp_path)
    assert reading.band_gap is None
    assert "no empty band" in reading.notes[0]
    assert reading.energy == pytest.approx(-542.2515, abs=1e-3)


def test_espresso_failures_are_distinguished(tmp_path: Path) -> None:
    unpacked("bn_relax.out.gz", tmp_path / "relax.out")
    unpacked("bn_relax.xml.gz", tmp_path / "out" / "pwscf.xml")
    text, xml = (tmp_path / "relax.out").read_text(), (tmp_path / "out" / "pwscf.xml").read_text()
    (tmp_path / "out" / "pwscf.xml").write_text(xml[:5000])
    assert read_espresso(tmp_path).status == "truncated"
    (tmp_path / "relax.out").unlink()
    (tmp_path / "out" / "pwscf.xml").write_text("<other/>")
    assert read_espresso(tmp_path).status == "unrelated"
    (tmp_path / "relax.out").write_text(text[:50000])
    assert read_espresso(tmp_path).status == "unfinished"
    error = "%%%%%%%%\n     Error in routine cdiaghg (123):\n     S matrix not positive definite\n%%%%%%%%"
    (tmp_path / "relax.out").write_text(text[:50000] + error)
    failed = read_espresso(tmp_path)
    assert failed.status == "failed"
    assert "cdiaghg (123): S matrix not positive definite" in (failed.reason or "")
    (tmp_path / "relax.out").write_text("Siesta")
    assert read_espresso(tmp_path).status == "unrelated"
    not_done = xml.replace("<n_opt_steps>", "<x>").replace("</n_opt_steps>", "</x>")
    opt = not_done.split("<opt_conv>")[1].replace("true", "false", 1)
    (tmp_path / "relax.out").write_text(text)
    (tmp_path / "out" / "pwscf.xml").write_text(not_done.split("<opt_conv>")[0] + "<opt_conv>" + opt)
    assert read_espresso(tmp_path).status == "not converged"


def test_vasp(tmp_path: Path) -> None:
    shutil.copy(VASP / "vasprun_dfpt.xml", tmp_path / "vasprun.xml")
    reading = read_vasp(tmp_path)
    assert (reading.status, reading.band_gap, reading.direct) == ("done", 5.4988, True)
    assert reading.energy == pytest.approx(-6.74587304)
    assert reading.pressure == pytest.approx(3.609, abs=0.001)
    assert "odd k-point grid [3, 3, 3]" in reading.notes[0]
    shutil.copy(VASP / "vasprun_pstress.xml", tmp_path / "vasprun.xml")
    assert read_vasp(tmp_path).notes == ()  # 4 x 4 x 4


def test_vasp_failures_are_distinguished(tmp_path: Path) -> None:
    assert read_vasp(tmp_path).status == "not run"
    text = (VASP / "vasprun_dfpt.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(text[:40000])
    assert read_vasp(tmp_path).status == "unfinished"
    (tmp_path / "OUTCAR").write_text(" Voluntary context switches: 12\n")
    assert read_vasp(tmp_path).status == "truncated"
    (tmp_path / "vasprun.xml").write_text("<html></html>")
    assert read_vasp(tmp_path).status == "unrelated"
    (tmp_path / "vasprun.xml").unlink()
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode())[:2000])
    assert read_vasp(tmp_path).status == "truncated"
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
    assert read_vasp(tmp_path).status == "done"


def test_vasp_run_of_another_crystal_is_unrelated(tmp_path: Path) -> None:
    own, other = written(tmp_path, NACL, "vasp", name="own"), written(tmp_path, MGO, "vasp", name="other")
    for out in (own, other):
        shutil.copy(VASP / "vasprun_dfpt.xml", only(out) / "vasprun.xml")
    (only(own) / "INCAR").write_text("NCORE = 4\n")  # a user's own setting
    good, unrelated = collect([own, other], tmp_path).rows
    assert (good["status"], good["candidate"]) == ("done", "c000001")
    assert "INCAR changed since it was written" in good["notes"]
    assert unrelated["status"] == "unrelated"
    assert "(NaCl)" in unrelated["reason"]
    assert unrelated["band_gap_dft"] is None


def test_runs_without_a_manifest(tmp_path: Path) -> None:
    vasp, trajectory, empty = tmp_path / "v", tmp_path / "t", tmp_path / "e"
    for folder in (vasp, trajectory, empty):
        folder.mkdir()
    shutil.copy(VASP / "vasprun_dfpt.xml", vasp / "vasprun.xml")
    shutil.copy(DATA / "mgo_gpaw.traj", trajectory / "relax.traj")
    rows = collect([vasp, trajectory], tmp_path).rows
    assert [(row["formula"], row["code"], row["status"]) for row in rows] == [
        ("NaCl", "vasp", "done"),
        ("MgO", "ase", "done"),
    ]
    with pytest.raises(InputError, match=r"has no manifest\.json, vasprun\.xml"):
        collect([empty], tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        collect([tmp_path / "nowhere"], tmp_path)


def test_trajectories(tmp_path: Path) -> None:
    with Trajectory(DATA / "mgo_gpaw.traj") as frames:
        first = frames[0]
    (tmp_path / "bare").mkdir()
    (tmp_path / "moving").mkdir()
    write(tmp_path / "bare" / "bare.traj", MGO.to_ase_atoms(msonable=False))
    assert TrajectoryFiles().read(tmp_path / "bare").status == "failed"
    first.calc.results["forces"][0] = [0.2, 0, 0]
    write(tmp_path / "moving" / "moving.traj", first)
    assert "forces up to 0.20" in (TrajectoryFiles().read(tmp_path / "moving").reason or "")
    (tmp_path / "cut.traj").write_bytes((DATA / "mgo_gpaw.traj").read_bytes()[:100])
    assert read_trajectory(tmp_path / "cut.traj").status == "truncated"


def test_what_is_damaged_inside_is_reported_as_such(tmp_path: Path) -> None:
    folder = only(written(tmp_path, MGO, "gpaw"))
    for change in ({"positions": [[0, 0, 0]]}, {"symbols": None}, {"cell": [[1, 0], [0, 1]]}):
        computed(folder, **change)
        assert read_gpaw(folder).status == "truncated"
    (folder / "result.json").unlink()
    whole = (DATA / "mgo_gpaw.traj").read_bytes()
    for place in range(24, 200, 8):  # lengths and offsets among them
        (folder / "trajectory.traj").write_bytes(whole[:place] + b"\xff" * 6 + whole[place + 6 :])
        assert read_gpaw(folder).status in {"truncated", "unfinished"}
    qe = tmp_path / "qe"
    unpacked("bn_relax.xml.gz", qe / "out" / "pwscf.xml")
    xml = (qe / "out" / "pwscf.xml").read_text()
    first = xml.index("<eigenvalues")
    (qe / "out" / "pwscf.xml").write_text(xml[: first + 60] + "********" + xml[first + 68 :])
    reading = read_espresso(qe)
    assert (reading.status, reading.band_gap) == ("done", None)  # stars cost what they stand for
    assert reading.energy is not None
    vasp = tmp_path / "vasp"
    vasp.mkdir()
    text = (VASP / "vasprun_dfpt.xml").read_text()
    for cut in range(2000, len(text) - 500, len(text) // 5):  # a piece is missing, its end is there
        (vasp / "vasprun.xml").write_text(text[:cut] + text[cut + 300 :])
        assert read_vasp(vasp).status in {"failed", "done"}


def levels(gap: float | None, fermi: float, width: float = 0.05) -> np.ndarray:
    """Simple cubic bands on 8x8x8 k-points, as VASP writes them with SIGMA: a metal, or a gap at Γ."""
    erfc = np.vectorize(math.erfc)
    k = np.array(np.meshgrid(*[np.arange(8) / 8] * 3)).reshape(3, -1).T
    band = -2 * np.cos(2 * np.pi * k).sum(axis=1)
    if gap is None:
        energies = np.stack([band - 20, band, band + 20], axis=1)
    else:
        energies = np.stack([-band - 6, band + 6 + gap], axis=1)
    return np.stack([energies, 0.5 * erfc((energies - fermi) / width)], axis=-1)


def gap_of(*spins: np.ndarray) -> dict[str, Any]:
    return gap_by_occupation(*np.moveaxis(spins, -1, 0))


def test_vasp_gap_of_metals_and_narrow_gaps() -> None:
    """Smearing fills levels a little above the Fermi level: they are not occupied for that."""
    assert gap_of(levels(None, 0.03)) == {"band_gap": 0.0, "direct": None}
    narrow = gap_of(levels(0.2, 0.1))
    assert (narrow["band_gap"], narrow["direct"]) == (pytest.approx(0.2), True)
    assert gap_of(levels(0.2, 0.1), levels(None, 0.03)[:, 1:])["band_gap"] == 0.0  # a half-metal


def test_functional_is_what_the_output_says(tmp_path: Path) -> None:
    out = written(tmp_path, NACL, "vasp")
    text = (VASP / "vasprun_dfpt.xml").read_text()
    hybrid = re.sub(r'(<i type="logical" name="LHFCALC">)\s*F', r"\1 T", text)
    hybrid = re.sub(r'(<i name="AEXX">)\s*0.0', r"\1 0.25", hybrid)
    (only(out) / "vasprun.xml").write_text(hybrid)
    (row,) = collect([out], tmp_path).rows
    assert (row["status"], row["functional"]) == ("done", "PBE0")
    (only(out) / "vasprun.xml").write_text(text)
    (row,) = collect([out], tmp_path).rows
    assert row["functional"] == "PBE"
    assert "changed by hand: kpoints [3, 3, 3]" in row["scale"]  # and 400 eV
    assert '"encut_ev": 400.0' in row["settings"]


def test_settings_are_what_the_output_says(tmp_path: Path) -> None:
    out = written(tmp_path, BN, "espresso")
    unpacked("bn_relax.out.gz", only(out) / "relax.out")
    unpacked("bn_relax.xml.gz", only(out) / "out" / "pwscf.xml")
    xml = (only(out) / "out" / "pwscf.xml").read_text()
    (row,) = collect([out], tmp_path).rows
    settings = json.loads(row["settings"])
    assert (settings["ecutwfc_ry"], settings["ecutrho_ry"]) == (90.0, 1080.0)  # Hartree in the XML
    assert settings["smearing"] == "gaussian, 0.005 Ry"  # as in our manifests
    assert settings["pseudopotentials"]["B"] == "B.pbe-n-kjpaw_psl.1.0.0.UPF"
    assert row["functional"] == "PBE"
    (only(out) / "out" / "pwscf.xml").write_text(xml.replace(">4.500000000000000e1<", ">2.5e1<"))
    (row,) = collect([out], tmp_path).rows
    assert json.loads(row["settings"])["ecutwfc_ry"] == 50.0
    (only(out) / "out" / "pwscf.xml").write_text(xml.replace("<functional>PBE<", "<functional>PBESOL<"))
    (row,) = collect([out], tmp_path).rows
    assert (row["status"], row["functional"]) == ("done", "PBESOL")
    assert "computed with PBESOL; the hull is of PBE" in row["scale"]


def test_a_restarted_relaxation_is_still_compared_with_what_was_written(tmp_path: Path) -> None:
    out = written(tmp_path, NACL, "vasp")
    shutil.copy(VASP / "vasprun_dfpt.xml", only(out) / "vasprun.xml")
    before = collect([out], tmp_path).rows[0]
    (only(out) / "POSCAR").write_text((only(out) / "POSCAR").read_text().replace("1.0", "1.001", 1))
    after = collect([out], tmp_path).rows[0]
    assert "POSCAR changed since it was written" in after["notes"]
    assert after["volume_predicted"] == before["volume_predicted"]
    assert after["volume_dft"] == before["volume_dft"]
    assert after["rmsd"] == pytest.approx(before["rmsd"], abs=1e-9)
