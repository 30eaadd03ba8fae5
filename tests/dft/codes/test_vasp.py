"""VASP inputs beside pymatgen's own: equal, but for what docs/reference/dft-codes.md says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar
from pymatgen.io.vasp.sets import MatPESStaticSet, MPRelaxSet, MPStaticSet

from invdesign.crystal.structure_files import write_cif
from invdesign.dft.codes.vasp import jobflow as flow
from invdesign.dft.write_inputs import write_inputs
from invdesign.errors import InputError

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
FE2O3 = Structure.from_spacegroup(
    "R-3c", Lattice.hexagonal(5.04, 13.75), ["Fe", "O"], [[0, 0, 0.355], [0.306, 0, 0.25]]
)
LICOO2 = Structure.from_spacegroup(
    "R-3m", Lattice.hexagonal(2.83, 14.1), ["Li", "Co", "O"], [[0, 0, 0.5], [0, 0, 0], [0, 0, 0.24]]
)
# the documented differences: by set and task, then by crystal
SMEARED = {"ISMEAR": 0}
MOVING = {"IBRION": 2, "ISIF": 3, "NSW": 99, "EDIFFG": -0.02}
DIFFERENT: dict[tuple[str, str], dict[str, Any]] = {
    ("mp", "relax"): SMEARED,
    ("mp", "static"): {},
    ("matpes", "relax"): MOVING,
    ("matpes", "static"): {},
}
SETS = {
    ("mp", "relax"): MPRelaxSet,
    ("mp", "static"): MPStaticSet,
    ("matpes", "relax"): MatPESStaticSet,
    ("matpes", "static"): MatPESStaticSet,
}


def written(tmp_path: Path, structure: Structure, **options: Any) -> tuple[Path, dict[str, Any]]:
    write_cif(structure, tmp_path / "x.cif", symmetrised=False)
    manifest = write_inputs(tmp_path / "x.cif", "vasp", tmp_path / "out", **options)
    content = json.loads(manifest.read_text())
    return manifest.parent / content["candidates"][0]["folder"], content


@pytest.mark.parametrize(("input_set", "task"), SETS)
@pytest.mark.parametrize("structure", [NACL, FE2O3, LICOO2], ids=["NaCl", "Fe2O3", "LiCoO2"])
@pytest.mark.filterwarnings("ignore")
def test_equal_to_pymatgens_but_for_documented_differences(
    structure: Structure, input_set: str, task: str, tmp_path: Path
) -> None:
    folder, _ = written(tmp_path, structure, input_set=input_set, task=task)
    poscar = Poscar.from_file(folder / "POSCAR", check_for_potcar=False)
    SETS[input_set, task](poscar.structure).write_input(tmp_path / "theirs", potcar_spec=True)
    theirs, ours = Incar.from_file(tmp_path / "theirs" / "INCAR"), Incar.from_file(folder / "INCAR")
    differences = {key: ours.get(key) for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)}
    differences.pop("KSPACING", None)  # a grid instead
    assert differences == DIFFERENT[input_set, task]
    for name in ("POSCAR", "POTCAR.spec"):
        assert (folder / name).read_text() == (tmp_path / "theirs" / name).read_text()
    grid = Kpoints.from_file(folder / "KPOINTS").kpts[0]
    assert all(n % 2 == 0 for n in grid)
    if input_set == "mp":  # the same density, rounded up
        least = Kpoints.from_file(tmp_path / "theirs" / "KPOINTS").kpts[0]
        assert all(n in (least, least + 1) for n, least in zip(grid, least, strict=True))


def test_matpes_is_named_for_what_it_is(tmp_path: Path) -> None:
    folder, manifest = written(tmp_path, FE2O3, input_set="matpes")
    incar = Incar.from_file(folder / "INCAR")
    assert "LDAU" not in incar
    assert incar["ENCUT"] == 680
    assert (manifest["input_set"], manifest["potcar_release"]) == ("matpes", "PBE_64")
    assert manifest["functional"] == "PBE, no +U"
    assert "never the Materials Project's hull" in manifest["energy_scale"]
    assert manifest["candidates"][0]["hubbard_u"] == {}
    assert "-f PBE_64" in (folder.parent / "submit.sh").read_text()


def test_moments_by_oxidation_state_and_elsewhere_the_projects(tmp_path: Path) -> None:
    coo = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.26), ["Co", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    _, manifest = written(tmp_path, coo)
    assert manifest["candidates"][0]["magmom"] == {"Co": 3.0, "O": 0.6}  # the set alone: 0.6, low spin
    assert manifest["candidates"][0]["notes"] == []
    (tmp_path / "b").mkdir()
    feal = Structure(Lattice.cubic(2.9), ["Fe", "Al"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    _, manifest = written(tmp_path / "b", feal)
    assert manifest["candidates"][0]["magmom"]["Fe"] == 5.0


def test_wrong_options_are_stated_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set: 'pbe' is not known; give one of mp, matpes"):
        written(tmp_path, NACL, input_set="pbe")
    with pytest.raises(InputError, match=r"set: gpaw has no input sets"):
        write_inputs(tmp_path / "x.cif", "gpaw", tmp_path / "out", input_set="mp")
    with pytest.raises(InputError, match=r"flow: not for vasp with task phonon-check"):
        written(tmp_path, NACL, task="phonon-check", flow=True)
    assert not (tmp_path / "out").exists()


def test_a_flow_needs_atomate2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"flow: atomate2 is not installed; pip install atomate2"):
        written(tmp_path, NACL, flow=True)


def test_a_flow_has_our_inputs(tmp_path: Path) -> None:
    pytest.importorskip("atomate2", reason="for those who have it")
    from monty.json import MontyDecoder

    folder, manifest = written(tmp_path, FE2O3, flow=True)
    (job,) = json.loads((folder.parent / "flow.json").read_text(), cls=MontyDecoder).jobs
    assert manifest["flow"] == "flow.json"
    assert job.metadata == {"candidate": "x", "formula": "Fe2O3"}
    made = job.maker.input_set_generator.get_input_set(job.function_args[0], potcar_spec=True)
    assert made["INCAR"] == Incar.from_file(folder / "INCAR")


FAKE = """#!/bin/bash
echo "reached required accuracy" > OUTCAR; sed 's/5.69/5.70/' POSCAR > CONTCAR; touch vasprun.xml
"""


def test_a_relaxation_is_followed_by_a_static_run_in_the_same_job(tmp_path: Path) -> None:
    folder, _ = written(tmp_path, NACL)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"srun": FAKE, "pmg": "#!/bin/bash\ntouch POTCAR\n"}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    subprocess.run(
        ["bash", "submit.sh"],
        cwd=folder.parent,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "1"},
        check=True,
    )
    static = folder / "static"
    assert {path.name for path in static.iterdir()} >= {"INCAR", "KPOINTS", "POTCAR", "vasprun.xml"}
    assert (static / "POSCAR").read_text() == (folder / "CONTCAR").read_text()
    assert "NSW" not in Incar.from_file(static / "INCAR") or Incar.from_file(static / "INCAR")["NSW"] == 0


@pytest.mark.filterwarnings("ignore")
def test_frozen_f_shells_hold_one_state_and_no_moment(tmp_path: Path) -> None:
    def fluorite(metal: str) -> Structure:
        return Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(5.4), [metal, "O"], [[0, 0, 0], [0.25, 0.25, 0.25]]
        )

    _, manifest = written(tmp_path, fluorite("Pr"))
    (entry,) = manifest["candidates"]
    assert entry["magmom"]["Pr"] == 0.0
    assert entry["potcar"][0] == "Pr_3"
    assert "POTCAR Pr_3 keeps the f shell of Pr3+ in the core, but the likeliest states are Pr4+" in str(
        entry["notes"]
    )
    (tmp_path / "b").mkdir()
    sulfide = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.7), ["Pr", "N"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    _, manifest = written(tmp_path / "b", sulfide)
    assert manifest["candidates"][0]["notes"] == []
