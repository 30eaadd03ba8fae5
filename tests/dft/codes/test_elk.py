"""Elk: inputs, results that it left, and a real run where it is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from invdesign.crystal.matching import same_crystal
from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.elk.read import read_elk
from invdesign.dft.manifest import read_manifest
from invdesign.dft.run_jobs import plan, run
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

DATA = Path(__file__).parents[2] / "data" / "dft"


def rocksalt(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


MGO = rocksalt("Mg", "O", 4.253)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """MgO by Elk 8.4.30, on a grid of 4x4x4 and 14 points of the path."""
    shutil.unpack_archive(DATA / "elk_mgo.tar.gz", tmp_path)
    return tmp_path / "elk_mgo"


def written(tmp_path: Path, task: str, **structures: Structure) -> Path:
    for name, structure in structures.items():
        write_cif(structure, tmp_path / f"{name}.cif", symmetrised=False)
    return write_inputs(
        [tmp_path / f"{name}.cif" for name in structures], "elk", tmp_path / "out", task=task
    ).parent


def test_inputs(tmp_path: Path) -> None:
    out = written(tmp_path, "gap", mgo=MGO)
    (job,) = read_manifest(out)
    blocks = dict(
        (block.split("\n", 1) if "\n" in block else (block, ""))
        for block in (job.folder / "elk.in").read_text().split("\n\n")
    )
    assert blocks["xctype"].strip() == "20"  # PBE
    assert all(int(n) % 2 == 0 for n in blocks["ngridk"].split())
    assert "'Mg.in'" in blocks["atoms"]
    assert "20" in (job.folder / "elk.in").read_text().split("tasks")[1].split("xctype")[0].split()
    assert blocks["plot1d"].split()[0] == "12"  # special points, Γ first
    structure = job.structure()
    assert structure is not None
    assert same_crystal(structure, MGO)


def test_what_it_is_not_written_for_is_named(tmp_path: Path) -> None:
    manifest = written(tmp_path, "static", mgo=MGO, mno=rocksalt("Mn", "O", 4.44), cus=rocksalt("Cu", "S", 5))
    content = json.loads((manifest / "manifest.json").read_text())
    assert [entry["formula"] for entry in content["candidates"]] == ["MgO"]
    reasons = {one["formula"]: one["reason"] for one in content["skipped"]}
    assert "+U on Mn" in reasons["MnO"]
    assert "spin" in reasons["CuS"]
    with pytest.raises(InputError, match="task: elk has no 'relax'; give one of static, gap"):
        write_inputs(tmp_path / "mgo.cif", "elk", tmp_path / "other", task="relax")


def test_a_finished_run(finished: Path) -> None:
    reading = read_elk(finished)
    assert reading.status == "done"
    assert reading.band_gap == pytest.approx(4.47, abs=0.05)  # GPAW: 4.49
    assert reading.direct
    assert reading.structure is not None
    assert same_crystal(reading.structure, MGO)
    assert reading.structure.volume == pytest.approx(4.253**3 / 4, rel=1e-4)
    with_path = reading.band_gap
    (finished / "BAND.OUT").unlink()
    assert read_elk(finished).band_gap == pytest.approx(with_path, abs=1e-3)  # Γ is on the grid too


def test_others_are_distinguished(finished: Path) -> None:
    info = (finished / "INFO.OUT").read_text()
    (finished / "EIGVAL.OUT").write_text((finished / "EIGVAL.OUT").read_text()[:500])
    assert read_elk(finished).status == "truncated"
    (finished / "INFO.OUT").write_text(info[: len(info) // 2])
    assert read_elk(finished).status == "unfinished"
    (finished / "INFO.OUT").write_text("a poem")
    assert read_elk(finished).status == "unrelated"
    (finished / "INFO.OUT").unlink()
    assert read_elk(finished).status == "not run"


def test_a_cycle_that_did_not_converge(finished: Path) -> None:
    info = (finished / "INFO.OUT").read_text()
    (finished / "INFO.OUT").write_text(info.replace("Convergence targets achieved", ""))
    assert read_elk(finished).status == "not converged"


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = written(tmp_path, "static", mgo=MGO)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="elk is not installed; apt-get install elk-lapw"):
        plan(out, None, 60)


@pytest.mark.skipif(shutil.which("elk-lapw") is None, reason="Elk is optional: apt-get install elk-lapw")
def test_it_runs_here(tmp_path: Path) -> None:
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.3), ["Ar"], [[0, 0, 0]])
    out = written(tmp_path, "static", argon=argon)
    planned = plan(out, None, 3600)
    (outcome,) = run([job for job, _ in planned.jobs], 1, 300)
    assert outcome.end == "computed"
    assert "gap 8.70 eV" in outcome.line()
    assert len(plan(out, "elk", 3600).finished) == 1
