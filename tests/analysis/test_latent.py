"""Files in the latent space, from Python and from the command line, with an untrained network."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.analysis.latent import same_structure
from invdesign.cli import app
from invdesign.generators.crystal_vae.model import CrystalVAENetwork
from invdesign.generators.crystal_vae.pipeline import CrystalVAEPipeline


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latent")
    torch.manual_seed(0)
    network = CrystalVAENetwork(
        ("band_gap", "e_above_hull"), (0.0, 0.0), (1.0, 1.0), width=32, heads=2, encoder_depth=1,
        decoder_depth=1, geometry_depth=1, latent_tokens=2, latent_size=16, n_landmarks=8,
    ).eval()  # fmt: skip
    CrystalVAEPipeline(network=network).save_pretrained(folder / "model")
    rows = []
    for i, cation in enumerate(("Li", "Na", "K", "Rb")):
        salt = Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(5 + i / 4), [cation, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
        salt.to(filename=str(folder / f"{cation}.cif"))
        rows.append({"id": cation, "band_gap": 5 - i / 4, "cif": (folder / f"{cation}.cif").read_text()})
    with (folder / "salts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    rng = np.random.default_rng(0)
    Structure(Lattice.cubic(12), ["Si"] * 24, rng.random((24, 3))).to(filename=str(folder / "large.cif"))
    (folder / "words.cif").write_text("no crystal at all\n")
    return folder


def run(files: Path, *arguments: str):
    return CliRunner().invoke(
        app, ["latent", *arguments, "--generator", str(files / "model")], catch_exceptions=False
    )


def refused(files: Path, *arguments: str) -> str:
    result = run(files, *arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.strip().splitlines() if line.strip() and "%" not in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_interpolation_leaves_cifs_and_a_table(files: Path, tmp_path: Path):
    out = tmp_path / "between"
    ends = [str(files / "Li.cif"), str(files / "Rb.cif")]
    rows = json.loads(run(files, "interpolate", *ends, "--n", "4", "--out", str(out), "--json").stdout)
    assert [row["share"] for row in rows] == [0.0, 0.3333, 0.6667, 1.0]
    for row in rows:
        assert Structure.from_file(out / row["cif"]).composition.reduced_formula == row["formula"]
    assert len(list(csv.DictReader((out / "interpolation.csv").open(newline="")))) == 4
    second = str(tmp_path / "again")
    again = json.loads(run(files, "interpolate", *ends, "--n", "4", "--out", second, "--json").stdout)
    assert again == rows
    refused = run(files, "interpolate", *ends, "--out", str(out))
    assert refused.exit_code == 2
    assert "holds other files" in refused.stderr


def test_reconstruction_says_what_comes_back(files: Path):
    result = run(files, "reconstruct", str(files / "Li.cif"), str(files / "large.cif"), "--json")
    good, bad = json.loads(result.stdout)
    assert good["gene"] == "225 Cl@a Li@b"
    assert isinstance(good["structure_back"], bool)
    assert not bad["structure_back"]
    assert "24 atoms" in bad["reason"]
    assert "left out" in run(files, "reconstruct", str(files / "Li.cif"), str(files / "large.cif")).stdout
    drawn = run(files, "reconstruct", str(files / "salts.csv"), "--limit", "2", "--seed", "3", "--json")
    assert len(json.loads(drawn.stdout)) == 2


def test_bad_files_are_one_sentence(files: Path):
    assert "no such file" in refused(files, "interpolate", str(files / "Li.cif"), "nothing.cif")
    assert "24 atoms" in refused(files, "interpolate", str(files / "Li.cif"), str(files / "large.cif"))
    assert "words.cif" in refused(files, "reconstruct", str(files / "words.cif"))
    assert "24 atoms" in refused(files, "reconstruct", str(files / "large.cif"))
    lost = CliRunner().invoke(
        app, ["latent", "reconstruct", str(files / "salts.csv"), "--generator", "nowhere"]
    )
    assert lost.exit_code == 2


def test_help_has_an_example():
    for command in ("interpolate", "reconstruct"):
        shown = CliRunner().invoke(app, ["latent", command, "--help"]).output
        assert "Example" in shown
        assert f"invdesign latent {command}" in shown


def test_the_matcher_has_the_literatures_tolerances():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    strained = salt.copy()
    strained.apply_strain([0.05, -0.05, 0.05])
    assert same_structure(salt, strained)
    potash = salt.copy()
    potash.replace_species({"Na": "K"})
    assert not same_structure(salt, potash)


def test_the_released_model_brings_simple_crystals_back():
    from invdesign.generators.crystal_vae.pipeline import CrystalVAE

    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    gallium = Structure.from_spacegroup("F-43m", Lattice.cubic(5.65), ["Ga", "As"], [[0, 0, 0], [0.25] * 3])
    vae = CrystalVAE.load()
    latents = vae.encode([salt, gallium])
    for there, back in zip((salt, gallium), vae.decode(latents), strict=True):
        assert same_structure(there, back.structure)
    assert vae.properties(latents)["band_gap"][0] > vae.properties(latents)["band_gap"][1]


def test_what_cannot_be_read_is_left_out_and_named(files: Path, tmp_path: Path):
    (tmp_path / "broken.cif").write_text("nothing")
    shutil.copy(files / "Li.cif", tmp_path)
    rows = json.loads(run(files, "reconstruct", str(tmp_path), "--json").stdout)
    assert {row["label"]: bool(row["reason"]) for row in rows} == {"Li": False, "broken.cif": True}


def test_interpolation_is_between_files_of_one_crystal(files: Path, tmp_path: Path):
    ends = [str(files / "Li.cif"), str(files / "salts.csv")]
    assert "give a file of one" in refused(files, "interpolate", *ends, "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("generator", ["gene-diffusion", "ion-exchange"])
def test_no_other_generator_has_a_latent_space(generator: str, files: Path):
    given = ["latent", "reconstruct", str(files / "salts.csv"), "--generator", generator]
    told = CliRunner().invoke(app, given, catch_exceptions=False)
    assert told.exit_code == 2
    assert f"generator: '{generator}' has no latent space; give crystal-vae" in told.stderr
