"""Explanations: contributions that add up, atoms that share theirs, known materials nearby."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.cli import app
from invdesign.crystal.symmetry import gene_of
from invdesign.errors import InputError
from invdesign.predictors.attribution import groups, shapley
from invdesign.predictors.ensemble import Ensemble, Head, Network, Shape
from invdesign.predictors.features import structure_matrix
from invdesign.predictors.neighbours import FILE, Neighbours
from invdesign.validators.chgnet_sites import CHGNetSites

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
MATLOCKITE = Structure.from_spacegroup(
    "P4/nmm",
    Lattice.tetragonal(4.12, 6.88),
    ["La", "O", "Cl"],
    [[0, 0.5, 0.178], [0, 0, 0], [0, 0.5, 0.635]],
)
EMBEDDING = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model, and crystals."""
    folder = tmp_path_factory.mktemp("explain")
    width = structure_matrix([SALT], [gene_of(SALT)[0]], np.zeros((1, EMBEDDING))).shape[1]
    torch.manual_seed(0)
    shape = Shape(width, (Head("band_gap", zero=True),), members=2, width=16, depth=2)
    rng = np.random.default_rng(0)
    ensemble = Ensemble(
        Network(shape),
        rng.normal(size=width),
        rng.uniform(0.5, 2, width),
        np.array([[1.0, 2.0]]),
    )
    ensemble.about = {"sees": "structure", "properties": {"band_gap": {"unit": "eV", "zero": True}}}
    ensemble.save(folder / "model", "property")
    (folder / "cifs").mkdir()
    SALT.to(filename=str(folder / "cifs" / "NaCl.cif"))
    MATLOCKITE.to(filename=str(folder / "cifs" / "LaOCl.cif"))
    (folder / "cifs" / "words.cif").write_text("no crystal at all\n")
    return folder


def run(files: Path, *arguments: object):
    return CliRunner().invoke(
        app, ["explain", *map(str, arguments), "--model", str(files / "model")], catch_exceptions=False
    )


def test_contributions_add_up_and_atoms_share_theirs(files: Path, tmp_path: Path):
    result = run(files, files / "cifs", "--out", tmp_path, "--json")
    rows = {row["label"]: row for row in json.loads(result.stdout)}
    assert "reason" in rows["words.cif"]
    for row in (rows["NaCl"], rows["LaOCl"]):
        total = sum(driver["contribution"] for driver in row["drivers"])
        assert row["baseline"] + total == pytest.approx(row["expected"], abs=1e-3)
        for driver in row["drivers"]:
            own = [s["contribution"] for s in row["sites"] if s["element"] == driver["name"]]
            assert driver["surroundings"] == pytest.approx(sum(own), abs=1e-3)
            assert max(own, default=0) == pytest.approx(min(own, default=0), abs=1e-6)  # equivalent atoms
    assert {"La", "O", "Cl", "bonds", "volume and density"} <= {d["name"] for d in rows["LaOCl"]["drivers"]}
    assert rows["NaCl"]["neighbours"][0]["formula"] == "NaCl"
    assert rows["NaCl"]["neighbours"][0]["band_gap"] == pytest.approx(5.1, abs=0.2)
    assert "nearest known: NaCl" in rows["NaCl"]["why"]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["0001_LaOCl.png", "0002_NaCl.png"]
    assert json.loads((tmp_path / "explanations.json").read_text()) == json.loads(result.stdout)


def test_it_prints_what_adds_up(files: Path):
    told = run(files, files / "cifs" / "NaCl.cif").stdout
    assert "average training crystal" in told
    assert "nearest known: NaCl (mp-" in told


def test_a_crystal_that_chgnet_refuses_is_explained_without_neighbours(files: Path):
    far = Structure(Lattice.cubic(30), ["Ar"], [[0, 0, 0]])
    far.to(filename=str(files / "far.cif"))
    (row,) = json.loads(run(files, files / "far.cif", "--json").stdout)
    assert row["neighbours"] == []
    assert not row["in_domain"]
    total = sum(driver["contribution"] for driver in row["drivers"])
    assert row["baseline"] + total == pytest.approx(row["expected"], abs=1e-3)


def test_mistakes_are_one_sentence(files: Path):
    for arguments, word in (
        ((files / "nothing.cif",), "no such file"),
        ((files / "cifs" / "words.cif",), "words.cif"),
        ((files / "cifs", "--property", "hardness"), "not hardness"),
    ):
        result = run(files, *arguments)
        assert result.exit_code == 2
        assert word in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    unknown = CliRunner().invoke(app, ["explain", str(files / "cifs"), "--property", "hardness"])
    assert unknown.exit_code == 2
    assert "band_gap" in unknown.stderr


def test_shapley_shares_add_up_and_are_exact_for_sums():
    rng = np.random.default_rng(0)
    deltas = rng.normal(size=(5, 8)).astype(np.float32)
    weights = rng.normal(size=8)
    first, last, shares = shapley(lambda rows: rows @ weights + 2, deltas)
    assert first == pytest.approx(2)
    assert shares == pytest.approx(deltas @ weights, abs=1e-5)
    first, last, shares = shapley(lambda rows: np.tanh(rows @ weights) ** 3, deltas)
    assert first + shares.sum() == pytest.approx(last, abs=1e-12)


def test_every_column_has_one_name():
    n = structure_matrix([SALT], [gene_of(SALT)[0]], np.zeros((1, EMBEDDING))).shape[1] - EMBEDDING
    columns = np.concatenate(list(groups(n, frozenset({"Na", "Cl"})).values()))
    assert sorted(columns.tolist()) == list(range(n))


def test_the_mean_over_atoms_is_the_crystals():
    potential = CHGNetSites()
    energies, atoms, failures = potential.embed_sites([SALT, MATLOCKITE])
    assert not failures
    assert [len(own) for own in atoms] == [8, 6]
    whole, embeddings, _ = potential.embed([SALT, MATLOCKITE])
    assert np.allclose(np.stack([own.mean(axis=0) for own in atoms]), embeddings, atol=1e-5)
    assert energies == pytest.approx(whole, abs=1e-4)


def test_neighbours_are_found_kept_and_checked(tmp_path: Path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 6)).astype(np.float32)
    gaps = np.where(np.arange(30) % 2, np.nan, np.arange(30.0))
    table = Neighbours.of(
        np.array([f"m-{i}" for i in range(30)]),
        np.array([f"A{i}B" for i in range(30)]),
        np.full(30, 225),
        values={"band_gap": gaps, "density": np.arange(30.0)},
        embeddings=points,
        n_components=6,
    )
    table.save(tmp_path)
    again = Neighbours.load(tmp_path)
    near, none = again.nearest(np.stack([points[7], np.full(6, np.nan)]), 3)
    assert (near[0].id, near[0].properties) == ("m-7", {"density": 7.0})
    assert near[0].distance < 0.01 < near[1].distance
    assert none == []
    (measured,) = again.nearest(points[7:8], 3, known="band_gap")
    assert all("band_gap" in one.properties for one in measured)
    with pytest.raises(InputError, match="band_gap, density"):
        again.nearest(points[:1], 1, known="hardness")
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:200])
    with pytest.raises(InputError, match="damaged"):
        Neighbours.load(tmp_path)


def test_released_neighbours_know_gaps_and_moduli():
    released = Neighbours.load()
    known = dict(zip(released.names.tolist(), np.isfinite(released.values).sum(axis=0).tolist(), strict=True))
    assert known["band_gap"] > 10_000
    assert known["bulk_modulus_gpa"] > 4_000
