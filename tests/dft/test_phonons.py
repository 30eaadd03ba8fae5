"""Phonon checks: written, run by a stand-in (ASE's EMT) for GPAW, and read back."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from invdesign.crystal.matching import same_crystal
from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.gpaw.code import GPAW
from invdesign.dft.codes.gpaw.read import read_gpaw
from invdesign.dft.manifest import Job, read_manifest
from invdesign.dft.phonons import read_phonons
from invdesign.dft.run_jobs import plan, run
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

FCC = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.99), ["Al"], [[0, 0, 0]])  # EMT's own lattice
SQUARE = Structure(Lattice.tetragonal(2.55, 3.3), ["Al"], [[0, 0, 0]])  # a saddle
EMT = """
import hashlib, json, pathlib
from ase.calculators.emt import EMT
from ase.io import read
atoms = read("structure.vasp")
atoms.calc = EMT()
forces = atoms.get_forces()
names = ("input.json", "structure.vasp")
inputs = {n: hashlib.sha256(pathlib.Path(n).read_bytes()).hexdigest() for n in names}
result = {
    "format": 1, "code": "gpaw", "inputs": inputs, "failed": None, "converged": True, "n_geometries": 1,
    "energy_ev": atoms.get_potential_energy(), "forces_ev_per_a": forces.tolist(),
    "max_force_ev_per_a": float((forces ** 2).sum(1).max() ** 0.5),
    "stress_gpa": (atoms.get_stress() * 160.2).tolist(), "band_gap": 0.0, "direct": None,
    "total_moment": None,
    "symbols": list(atoms.symbols), "cell": atoms.cell.tolist(), "positions": atoms.positions.tolist(),
}
pathlib.Path("result.json").write_text(json.dumps(result))
"""


pytest.importorskip("phonopy", reason="the optional extra invdesign[phonons]")


def written(tmp_path: Path, structure: Structure, code: str = "gpaw") -> Job:
    write_cif(structure, tmp_path / "x.cif", symmetrised=False)
    write_inputs(tmp_path / "x.cif", code, tmp_path / "out", task="phonon-check")
    (job,) = read_manifest(tmp_path / "out")
    return job


def compute(job: Job) -> list[str]:
    """Let EMT compute it through `dft run`; the lines of the plan."""
    out = job.folder.parent
    manifest = json.loads((out / "manifest.json").read_text())
    (entry,) = manifest["candidates"]
    for name in entry["displacements"]:
        (job.folder / name / "run.py").write_text(EMT)
        entry["files"][f"{name}/run.py"] = hashlib.sha256(EMT.encode()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("invdesign.dft.codes.gpaw.code.find_spec", lambda name: object())
        planned = plan(out, None, 1e6)
    outcomes = run([one for one, _ in planned.jobs], 1, 60)
    assert [outcome.end for outcome in outcomes] == ["computed"] * len(job.parts())
    return planned.lines()


@pytest.fixture(scope="module")
def computed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fcc")
    job = written(folder, FCC)
    assert read_phonons(job).status == "not run"
    lines = compute(job)
    assert any(line.startswith("001_Al/rest: about") for line in lines)  # what each costs
    return folder / "out"


@pytest.fixture
def fcc(computed_once: Path, tmp_path: Path) -> Job:
    (job,) = read_manifest(shutil.copytree(computed_once, tmp_path / "out"))
    return job


def test_a_minimum_has_no_imaginary_mode(fcc: Job) -> None:
    reading = read_phonons(fcc)
    assert (reading.status, reading.notes) == ("done", ())
    assert reading.lowest is not None
    assert 1 < reading.lowest < 6
    assert reading.at != (0, 0, 0)


def test_a_saddle_has_one(tmp_path: Path) -> None:
    job = written(tmp_path, SQUARE)
    compute(job)
    reading = read_phonons(job)
    assert reading.lowest is not None
    assert reading.lowest < -0.5
    assert any("GPa" in note for note in reading.notes)  # its cell was not relaxed


def test_every_code_gets_its_inputs(tmp_path: Path) -> None:
    nacl = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for code, names in {
        "vasp": {"INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"},
        "espresso": {"scf.in"},
        "gpaw": {"input.json", "run.py", "structure.vasp"},
    }.items():
        (tmp_path / code).mkdir()
        job = written(tmp_path / code, nacl, code)
        assert job.entry["displacements"] == ["rest", "disp-001", "disp-002"]
        assert job.entry["supercell_atoms"] == 16
        structure = job.structure()
        assert structure is not None
        assert same_crystal(structure, nacl)
        for part in job.parts():
            assert {path.name for path in part.folder.iterdir()} == names == set(part.entry["files"])
            assert part.inputs_changed() is None
        assert job.inputs_changed() is None
        assert job.settings.get("cutoff_ev") in {None, 500.0}  # not the 800 eV of a relaxation
        script = (job.folder.parent / "submit.sh").read_text()
        assert "#SBATCH --array=1-3" in script
        assert "001_NaCl/disp-002" in script
    incar = (tmp_path / "vasp" / "out" / "001_NaCl" / "disp-001" / "INCAR").read_text()
    assert "NSW = 0" in incar
    assert "ISMEAR = 0" in incar


def test_what_is_missing_or_unrelated_is_named(fcc: Job) -> None:
    result = fcc.folder / "disp-001" / "result.json"
    whole = json.loads(result.read_text())
    result.write_text(json.dumps(whole | {"positions": (np.array(whole["positions"]) + 0.5).tolist()}))
    assert read_phonons(fcc).status == "unrelated"
    result.unlink()
    reading = read_phonons(fcc)
    assert reading.status == "not run"
    assert "1 of 2 supercells are done; disp-001" in str(reading.reason)
    result.write_text(json.dumps(whole))
    (fcc.folder / "phonopy_disp.yaml").write_text("phonopy: {}")
    assert read_phonons(fcc).status == "truncated"


def test_forces_in_another_order(fcc: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """As VASP sorts atoms by element, whatever phonopy's order."""
    expected = read_phonons(fcc).lowest

    def shuffled(_: GPAW, folder: Path):
        reading = read_gpaw(folder)
        order = np.random.default_rng(0).permutation(len(reading.structure))
        atoms = AseAtomsAdaptor.get_atoms(reading.structure)[order]
        return replace(reading, structure=AseAtomsAdaptor.get_structure(atoms), forces=reading.forces[order])

    monkeypatch.setattr(GPAW, "read", shuffled)
    assert read_phonons(fcc).lowest == pytest.approx(expected, abs=1e-6)


def test_phonopy_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invdesign.stability.phonons.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"phonon-check needs phonopy.*invdesign\[phonons\]"):
        written(tmp_path, FCC)
    with pytest.raises(InputError, match="task: elk has no 'phonon-check'"):
        written(tmp_path, FCC, "elk")
