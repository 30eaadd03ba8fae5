"""GPAW without GPAW: inputs, guards, moments, cost, and how jobs are run, with stand-ins for the engine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.io import Trajectory, read
from pymatgen.core import Lattice, Structure

from invdesign.crystal.matching import same_crystal
from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.gpaw import job as gpaw_job
from invdesign.dft.codes.gpaw.code import GPAW
from invdesign.dft.codes.gpaw.write import unsupported_reason
from invdesign.dft.codes.magmoms import starting_moments
from invdesign.dft.codes.reading import structure_of
from invdesign.dft.manifest import read_manifest
from invdesign.dft.run_jobs import plan, run
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

DATA = Path(__file__).parents[2] / "data" / "dft"


def rocksalt(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


MGO, MNO, NAN = rocksalt("Mg", "O", 4.3), rocksalt("Mn", "O", 4.44), rocksalt("Na", "N", 5.0)
AL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.05), ["Al"], [[0, 0, 0]])
GAAS = Structure.from_spacegroup("F-43m", Lattice.cubic(5.75), ["Ga", "As"], [[0, 0, 0], [0.25, 0.25, 0.25]])
UO2 = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.47), ["U", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
FE2O3 = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(5.04, 13.75), ["Fe", "O"], [[0, 0, 0.355], [0.306, 0, 0.25]]
)


def written(tmp_path: Path, task: str = "relax", **structures: Structure) -> Path:
    for name, structure in structures.items():
        write_cif(structure, tmp_path / f"{name}.cif", symmetrised=False)
    out = tmp_path / "out"
    write_inputs([tmp_path / f"{name}.cif" for name in structures], "gpaw", out, task=task)
    return out


def stand_in(out: Path, script: str) -> None:
    """Put another script in the place of ours, as if it had been written so."""
    manifest = json.loads((out / "manifest.json").read_text())
    for entry in manifest["candidates"]:
        (out / entry["folder"] / "run.py").write_text(script)
        entry["files"]["run.py"] = hashlib.sha256(script.encode()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invdesign.dft.codes.gpaw.code.find_spec", lambda name: object())


def test_inputs(tmp_path: Path) -> None:
    out = written(tmp_path, mgo=MGO)
    (job,) = read_manifest(out)
    settings = json.loads((job.folder / "input.json").read_text())
    assert settings["cutoff_ev"] >= 800
    assert all(n % 2 == 0 for n in settings["kpoints"])
    assert settings["magmoms"] == []
    assert settings["bands"] >= settings["converged_bands"] > job.entry["n_electrons"] / 2
    structure = structure_of(read(job.folder / "structure.vasp"))
    assert len(structure) == 2
    assert same_crystal(structure, MGO)
    gpaw_job.check_settings(settings)
    script = (job.folder / "run.py").read_text()
    assert script == Path(gpaw_job.__file__).read_text()
    assert "invdesign" not in script  # it runs where we are not installed


def test_what_gpaw_cannot_compute_is_named_and_the_rest_written(tmp_path: Path) -> None:
    out = written(tmp_path, mgo=MGO, gaas=GAAS, uo2=UO2)
    manifest = json.loads((out / "manifest.json").read_text())
    assert [entry["formula"] for entry in manifest["candidates"]] == ["MgO"]
    reasons = {one["formula"]: one["reason"] for one in manifest["skipped"]}
    assert "Ga setup freezes 3d" in reasons["GaAs"]
    assert "no setup for U" in reasons["UO2"]
    with pytest.raises(InputError, match=r"nothing that gpaw can compute .*no setup for U"):
        write_inputs([tmp_path / "uo2.cif"], "gpaw", tmp_path / "other")
    with pytest.raises(InputError, match="task: elk has no 'relax'"):
        write_inputs([tmp_path / "mgo.cif"], "elk", tmp_path / "other", task="relax")
    assert all(
        unsupported_reason(Structure(Lattice.cubic(5), [el], [[0, 0, 0]])) for el in ("Tc", "Po", "Ac", "Ga")
    )


def test_moments_by_oxidation_state() -> None:
    def moments(structure: Structure) -> dict[str, float]:
        found = starting_moments(structure)
        return dict(zip((site.specie.symbol for site in structure), found, strict=False))

    assert moments(MNO)["Mn"] == 5  # d5
    assert moments(rocksalt("Ni", "O", 4.2))["Ni"] == 2  # d8
    assert moments(FE2O3)["Fe"] == 5  # Fe3+
    assert moments(rocksalt("Eu", "O", 5.1))["Eu"] == 7  # f7
    assert moments(rocksalt("Cd", "O", 4.7)) == {}  # d10: no spin needed
    assert moments(MGO) == {}
    assert moments(NAN) == {}
    assert moments(AL) == {}  # odd, but a metal
    assert moments(Structure(Lattice.cubic(2.9), ["Fe", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]]))["Fe"] > 1
    odd = Structure(Lattice.cubic(4), ["N", "O"], [[0, 0, 0], [0.3, 0, 0]])
    assert sum(starting_moments(odd)) == pytest.approx(1)


def test_band_gap_counts_electrons() -> None:
    top, bottom = [-1.0, 0.0], [1.5, 1.0]  # at two k-points
    insulator = [[[-5, top[0], bottom[0]], [-5, top[1], bottom[1]]]]
    assert gpaw_job.band_gap(insulator, 0.4, 2) == {"band_gap": 1.0, "direct": True}
    indirect = [[[-5, 0, 3], [-5, -1, 1]]]
    assert gpaw_job.band_gap(indirect, 0.4, 2) == {"band_gap": 1.0, "direct": False}
    crossing = [[[-5, -1, 1.0], [-5, 0.9, 1.5]]]  # a band below the Fermi level here, above it there
    assert gpaw_job.band_gap(crossing, 0.4, 2)["band_gap"] == 0
    half = [[[-1, 0, 3]], [[1, 2, 4]]]  # of two spins: 0 below, 1 above
    assert gpaw_job.band_gap(half, 0.5, 2)["band_gap"] == 1
    assert gpaw_job.band_gap(half, [0.5, 1.5], 3) == {"band_gap": 1.0, "direct": True}  # each its own level
    with pytest.raises(gpaw_job.CalculationError, match="no empty band"):
        gpaw_job.band_gap([[[-1.0, 0.0]]], 0.5, 2)
    with pytest.raises(gpaw_job.CalculationError, match="2 bands cannot hold"):
        gpaw_job.band_gap([[[-1.0, 0.0]]], 0.5, 3)
    with pytest.raises(gpaw_job.CalculationError, match="eigenvalue"):
        gpaw_job.band_gap([[[-1.0, float("nan")]]], 0.5, 1)


def test_a_flat_level_that_is_partly_filled_is_a_metal() -> None:
    flat = [[[-20, -3.01, -3.0, -2.99, 4.0]]]  # no band crosses the Fermi level, yet it has holes
    for filled, gap in ((4, 6.99), (3, 0), (2, 0), (3.5, 0), (4.2, 0)):
        assert gpaw_job.band_gap(flat, -2.5, filled)["band_gap"] == pytest.approx(gap)
    assert gpaw_job.band_gap([[[-3, -3, 1]]], -2, 1)["band_gap"] == 0  # all bands below hold more


def test_what_goes_wrong_in_silence_fails_by_name() -> None:
    settings = {"task": "relax", "cutoff_ev": 400.0, "kpoints": [4, 4, 4]}
    with pytest.raises(gpaw_job.CalculationError, match=r"Pulay stress.*PW\(800\)"):
        gpaw_job.check_settings(settings)
    with pytest.raises(gpaw_job.CalculationError, match="odd"):
        gpaw_job.check_settings(settings | {"cutoff_ev": 800.0, "kpoints": [4, 3, 4]})
    gpaw_job.check_settings(settings | {"task": "static"})  # nothing moves


def test_a_relaxation_at_too_low_a_cutoff_goes_uphill_and_is_refused() -> None:
    """MgO relaxed at PW(400) by GPAW 26.7, which reported convergence: the first and the last geometry."""
    with Trajectory(DATA / "mgo_pw400.traj") as frames:
        first, last = frames[0], frames[-1]
    assert np.abs(last.get_forces()).max() < 0.01
    energies = [atoms.get_potential_energy(force_consistent=True) for atoms in (first, last)]
    with pytest.raises(gpaw_job.CalculationError, match="energy rose"):
        gpaw_job.check_energy(*energies, len(first))
    with Trajectory(DATA / "mgo_gpaw.traj") as frames:
        energies = [frames[n].get_potential_energy(force_consistent=True) for n in (0, -1)]
    gpaw_job.check_energy(*energies, 2)


def test_a_relaxation_goes_on_from_its_last_geometry(tmp_path: Path) -> None:
    (job,) = read_manifest(written(tmp_path, mgo=MGO))
    settings = json.loads((job.folder / "input.json").read_text())
    (job.folder / "trajectory.traj").touch()  # killed before the first
    atoms, frames = gpaw_job.start(job.folder, settings)
    assert (len(frames), atoms.cell.volume) == (0, pytest.approx(4.3**3 / 4))
    (job.folder / "trajectory.traj").write_bytes((DATA / "mgo_gpaw.traj").read_bytes())
    atoms, frames = gpaw_job.start(job.folder, settings)
    assert len(frames) > 1
    assert (4 * atoms.cell.volume) ** (1 / 3) == pytest.approx(4.25, abs=0.02)


def test_cost_grows_with_the_work(tmp_path: Path) -> None:
    out = written(tmp_path, mgo=MGO, mno=MNO, fe2o3=FE2O3, al=AL)
    costs = {job.entry["formula"]: GPAW().estimate_cost(job) for job in read_manifest(out)}
    assert costs["Al"].seconds < costs["MgO"].seconds < costs["MnO"].seconds < costs["Fe2O3"].seconds
    assert (costs["MgO"].n_atoms, costs["MgO"].n_kpoints) == (2, 47)
    assert 0.2e9 < costs["MgO"].memory < costs["Fe2O3"].memory
    assert costs["Fe2O3"].steps > costs["MgO"].steps  # more is free to move
    assert 10 < costs["MgO"].seconds < 120


FINISHES = """
import json, pathlib
name = pathlib.Path.cwd().name
with open("../order", "a") as file:
    file.write(name + "\\n")
result = {"failed": None, "converged": True, "band_gap": 1.0}
pathlib.Path("result.json").write_text(json.dumps(result))
"""


@pytest.mark.usefixtures("installed")
def test_cheapest_first_and_finished_ones_not_again(tmp_path: Path) -> None:
    out = written(tmp_path, mno=MNO, mgo=MGO, al=AL)
    stand_in(out, FINISHES)
    planned = plan(out, "gpaw", 3600)
    assert [job.entry["formula"] for job, _ in planned.jobs] == ["Al", "MgO", "MnO"]
    assert "3 to run" in planned.lines()[-1]
    outcomes = run([job for job, _ in planned.jobs], 1, 60)
    assert [outcome.end for outcome in outcomes] == ["computed"] * 3
    assert [line.split("_")[1] for line in (out / "order").read_text().split()] == ["Al", "MgO", "MnO"]
    again = plan(out, "gpaw", 3600)
    assert again.jobs == []
    assert len(again.finished) == 3


@pytest.mark.usefixtures("installed")
def test_walltime_stops_a_job_and_a_broken_one_is_named(tmp_path: Path) -> None:
    out = written(tmp_path, al=AL)
    stand_in(out, "import time\ntime.sleep(60)\n")
    (job,) = read_manifest(out)
    began = time.monotonic()
    (outcome,) = run([job], 1, 0.5)
    assert outcome.end == "out of time"
    assert time.monotonic() - began < 10
    stand_in(out, "raise SystemExit(3)\n")
    (outcome,) = run([job], 1, 30)
    assert outcome.end == "broke off"
    assert "run.log" in outcome.line()


@pytest.mark.usefixtures("installed")
def test_jobs_run_at_once_on_several_cores(tmp_path: Path) -> None:
    out = written(tmp_path, al=AL, mgo=MGO)
    each_waits_for_the_other = """
import pathlib, time
pathlib.Path("here").touch()
for _ in range(200):
    if len(list(pathlib.Path("..").glob("*/here"))) == 2:
        pathlib.Path("result.json").write_text('{"failed": null, "converged": true, "band_gap": 0}')
        break
    time.sleep(0.05)
"""
    stand_in(out, each_waits_for_the_other)
    assert [outcome.end for outcome in run(read_manifest(out), 2, 60)] == ["computed"] * 2


@pytest.mark.usefixtures("installed")
def test_what_is_not_run_is_named(tmp_path: Path) -> None:
    out = written(tmp_path, mgo=MGO, al=AL, nan=NAN, fe2o3=FE2O3, mno=MNO)
    jobs = {job.entry["formula"]: job for job in read_manifest(out)}
    write_cif(rocksalt("Mg", "O", 4.5), tmp_path / "mgo.cif", symmetrised=False)
    (jobs["Al"].folder / "structure.vasp").write_text("mine")
    (tmp_path / "nan.cif").unlink()  # gone is not changed
    with (jobs["MnO"].folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        planned = plan(out, "gpaw", 300)
    reasons = {job.entry["formula"]: reason for job, reason in planned.refused}
    assert "mgo.cif changed" in reasons["MgO"]
    assert "structure.vasp changed" in reasons["Al"]
    assert "more than --walltime 5" in reasons["Fe2O3"]
    assert "another process" in reasons["MnO"]
    assert [job.entry["formula"] for job, _ in planned.jobs] == ["NaN"]


def test_a_job_that_another_process_took_since_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = read_manifest(written(tmp_path, MgO=MGO))
    (job.folder / "run.log").write_text("of the other process")
    monkeypatch.setitem(sys.modules, "gpaw", SimpleNamespace(__version__="26.7"))
    with (job.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (outcome,) = run([job], cores=1, walltime=60)
        gpaw_job.main(job.folder)  # submitted twice: it ends without a word
    assert (outcome.end, "another process" in outcome.line()) == ("taken", True)
    assert (job.folder / "run.log").read_text() == "of the other process"
    assert not (job.folder / "result.json").exists()


def test_bad_input_is_stated_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(tmp_path, mgo=MGO)
    with pytest.raises(InputError, match="code: 'vasp' does not run here"):
        plan(out, "vasp", 60)
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        plan(tmp_path, "gpaw", 60)
    write_inputs([tmp_path / "mgo.cif"], "vasp", tmp_path / "vasp")
    with pytest.raises(InputError, match="has inputs for vasp"):
        plan(tmp_path / "vasp", "gpaw", 60)
    monkeypatch.setattr("invdesign.dft.codes.gpaw.code.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gpaw is not installed; apt-get install .*invdesign\[dft\]"):
        plan(out, "gpaw", 60)
    (out / "manifest.json").write_text('{"code": "gpaw"')
    with pytest.raises(InputError, match="is no manifest"):
        read_manifest(out)


def test_a_killed_run_takes_its_jobs_along(tmp_path: Path) -> None:
    out = written(tmp_path, al=AL)
    stand_in(
        out, "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    (job,) = read_manifest(out)
    code = (
        "import invdesign.dft.codes.gpaw.code as r; r.find_spec = lambda name: 1\n"
        "from invdesign.cli import app; app(['dft', 'run', 'out'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    pid = job.folder / "pid"
    for _ in range(600):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_finished_relaxations_are_where_the_next_task_starts(tmp_path: Path) -> None:
    out = written(tmp_path, mgo=MGO, al=AL)
    jobs = {job.entry["formula"]: job for job in read_manifest(out)}
    result = json.loads((DATA / "mgo_gpaw.json").read_text())
    folder = jobs["MgO"].folder
    (folder / "result.json").write_text(json.dumps(result | {"inputs": gpaw_job.digests(folder)}))
    gaps = json.loads(write_inputs(out, "gpaw", tmp_path / "gaps", task="gap").read_text())
    (entry,) = gaps["candidates"]
    assert (entry["candidate"], entry["source"]) == ("mgo", {"path": str(folder), "relaxed_with": "gpaw"})
    (job,) = read_manifest(tmp_path / "gaps")
    structure = job.structure()
    assert structure is not None
    assert (4 * structure.volume) ** (1 / 3) == pytest.approx(4.253, abs=0.002)  # not 4.3
    assert gaps["skipped"][0]["reason"] == "its relaxation is not done (no output)"
    (folder / "result.json").unlink()
    with pytest.raises(InputError, match=r"Al: its relaxation is not done .*give a shortlist or structures"):
        write_inputs(out, "gpaw", tmp_path / "more", task="gap")
    with pytest.raises(InputError, match=r"was written for gap; give one of `dft write --task relax`"):
        write_inputs(tmp_path / "gaps", "gpaw", tmp_path / "more")


@pytest.mark.usefixtures("installed")
def test_what_does_not_fit_into_memory_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = written(tmp_path, mgo=MGO)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 2**17, "SC_PAGE_SIZE": 4096}[name])
    assert plan(out, None, 3600).refused == []
    ((_, reason),) = plan(out, None, 3600, cores=8).refused
    assert reason.startswith("needs about 0.")
