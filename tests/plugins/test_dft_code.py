"""A DFT code in a distribution of its own: found by name, its inputs written, its results declined."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.cli import app
from invdesign.crystal.structure_files import write_cif

MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CAO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.81), ["Ca", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def crystals(tmp_path):
    paths = [tmp_path / "mgo.cif", tmp_path / "cao.cif"]
    for structure, path in zip((MGO, CAO), paths, strict=True):
        write_cif(structure, path, symmetrised=True)
    return list(map(str, paths))


def run(*arguments):
    return CliRunner().invoke(app, ["dft", *map(str, arguments)])


def test_a_code_of_a_plugin_is_found_by_name(install_plugin, crystals, tmp_path):
    install_plugin("dft_code")
    out = tmp_path / "out"
    written = run("write", *crystals, "--code", "abinit", "--task", "gap", "--out", out)
    assert written.exit_code == 0, written.output
    assert "abinit computes it with --task static" in written.output
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["code"], manifest["ecut_ha"]) == ("abinit", 40.0)
    assert [entry["folder"] for entry in manifest["candidates"]] == ["001_MgO", "002_CaO"]
    assert "ngkpt" in (out / "001_MgO" / "abinit.abi").read_text()
    script = (out / "submit.sh").read_text()
    assert "#SBATCH --array=1-2\n" in script
    assert "# module load abinit\nsrun abinit abinit.abi > abinit.log\n" in script

    collected = run("collect", out, "--out", tmp_path / "results")
    assert collected.exit_code == 0, collected.output
    assert "not read, ABINIT results cannot be read, only its inputs are written" in collected.output
    assert "2 runs: 2 not read." in collected.output
    assert "code: 'abinit' does not run here; give gpaw or elk" in run("run", out).output


def test_its_options_are_checked(install_plugin, crystals, tmp_path):
    install_plugin("dft_code")
    arguments = ["write", *crystals, "--code", "abinit", "--out", tmp_path / "out"]
    assert "task: abinit has no 'relax'; give one of static" in run(*arguments).output
    arguments += ["--task", "static"]
    assert "set: abinit has no input sets" in run(*arguments, "--set", "mp").output
    assert "its energies compare with none here" in run(*arguments, "--references").output
    assert not (tmp_path / "out").exists()
