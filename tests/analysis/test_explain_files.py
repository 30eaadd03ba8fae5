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
from invdesign.potentials.chgnet.potential import CHGNetPotential
from invdesign.predictors.explain.integrated_gradients import attribute_atoms
from invdesign.predictors.explain.neighbors import FILE, Neighbors
from invdesign.predictors.explain.shapley import groups, shapley
from invdesign.predictors.features.composition_and_gene import structure_matrix
from invdesign.predictors.graph.model import GraphBandGapPredictor, GraphNetwork, GraphShape, Scales
from invdesign.predictors.models.ensemble import Ensemble, EnsembleNetwork, Head, Shape

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
        EnsembleNetwork(shape),
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
            assert driver["local_environment"] == pytest.approx(sum(own), abs=1e-3)
            assert max(own, default=0) == pytest.approx(min(own, default=0), abs=1e-6)  # equivalent atoms
    assert {"La", "O", "Cl", "bonds", "volume and density"} <= {d["name"] for d in rows["LaOCl"]["drivers"]}
    assert rows["NaCl"]["neighbors"][0]["formula"] == "NaCl"
    assert rows["NaCl"]["neighbors"][0]["band_gap"] == pytest.approx(5.1, abs=0.2)
    assert "nearest known: NaCl" in rows["NaCl"]["why"]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == ["0001_LaOCl.png", "0002_NaCl.png"]
    assert json.loads((tmp_path / "explanations.json").read_text()) == json.loads(result.stdout)


def test_it_prints_what_adds_up(files: Path):
    told = run(files, files / "cifs" / "NaCl.cif").stdout
    assert "average training crystal" in told
    assert "nearest known: NaCl (mp-" in told


def test_a_crystal_that_chgnet_refuses_is_explained_without_neighbors(files: Path):
    far = Structure(Lattice.cubic(20), ["Ar"], [[0, 0, 0]])
    far.to(filename=str(files / "far.cif"))
    (row,) = json.loads(run(files, files / "far.cif", "--json").stdout)
    assert row["neighbors"] == []
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


@pytest.fixture(scope="module")
def graph_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own graph network, untrained."""
    pytest.importorskip("matgl")
    torch.manual_seed(0)
    shape = GraphShape(("O", "Na", "Cl", "La"), width=8, blocks=2)
    network = GraphNetwork(shape)
    with torch.no_grad():  # untrained outputs hardly depend on the elements
        network.m3gnet.embedding.layer_node_embedding.weight *= 4
        network.m3gnet.final_layer.layers[-1].weight *= 50
    folder = tmp_path_factory.mktemp("graph")
    GraphBandGapPredictor(network, Scales(2.0, 1.5, 0.7)).save(folder)
    return folder


def test_atoms_of_a_graph_network_add_up(graph_model: Path):
    judge = GraphBandGapPredictor.load(graph_model)
    failures: dict[int, str] = {}
    found = attribute_atoms(judge, [SALT, MATLOCKITE, SALT * (2, 1, 1)], failures)
    assert not failures
    estimates = judge.predict([SALT, MATLOCKITE])
    for own, estimate in zip((found[0], found[1]), estimates, strict=True):
        assert own.expected == pytest.approx(estimate.mean * (1 - estimate.p_zero), abs=1e-4)
        change = own.expected - own.baseline
        assert abs(change) > 0.05
        assert own.sites.sum() + own.residual == pytest.approx(change, abs=1e-9)
        assert abs(own.residual) <= 0.01 * abs(change) + 1e-3
        assert sum(d.contribution for d in own.drivers) == pytest.approx(own.sites.sum())
    for symbol in ("Na", "Cl"):  # equivalent atoms
        own = [found[0].sites[i] for i in SALT.indices_from_symbol(symbol)]
        assert own == pytest.approx([own[0]] * 4, abs=1e-5)
    assert found[2].expected == pytest.approx(found[0].expected, abs=1e-4)
    assert found[2].sites.sum() == pytest.approx(found[0].sites.sum(), abs=5e-3)  # of a cell twice as large
    assert found[2].sites[0] == pytest.approx(found[0].sites[0] / 2, abs=1e-3)
    # the line starts where no atom is of any element: the same for all elements
    exchanged = SALT.copy()
    exchanged.replace_species({"Na": "La", "Cl": "O"})
    assert attribute_atoms(judge, [exchanged], {})[0].baseline == pytest.approx(found[0].baseline, abs=1e-5)


def test_atoms_of_the_released_evaluator_add_up():
    pytest.importorskip("matgl")
    failures: dict[int, str] = {}
    for own in attribute_atoms(GraphBandGapPredictor.load(), [SALT, MATLOCKITE], failures).values():
        assert own.expected > 3
        assert own.baseline == pytest.approx(0, abs=0.1)
        assert abs(own.residual) < 0.01 * own.expected
        assert own.drivers[0].name == "Cl"


def test_large_crystals_go_in_parts(graph_model: Path):
    judge = GraphBandGapPredictor.load(graph_model)
    whole = attribute_atoms(judge, [MATLOCKITE], {})[0]
    judge.batcher.max_edges = 1
    assert attribute_atoms(judge, [MATLOCKITE], {})[0].sites == pytest.approx(whole.sites, abs=1e-5)


def test_a_graph_network_is_explained_from_the_shell(files: Path, graph_model: Path, tmp_path: Path):
    def explain(*arguments: object):
        given = ["explain", *map(str, arguments), "--model", str(graph_model)]
        return CliRunner().invoke(app, given, catch_exceptions=False)

    rows = {r["label"]: r for r in json.loads(explain(files / "cifs", "--out", tmp_path, "--json").stdout)}
    assert "reason" in rows["words.cif"]
    for row in (rows["NaCl"], rows["LaOCl"]):
        assert row["start"] == "the same sites, each of an average element"
        for driver in row["drivers"]:
            own = [s["contribution"] for s in row["sites"] if s["element"] == driver["name"]]
            assert driver["contribution"] == pytest.approx(sum(own), abs=1e-3)
    assert [len(rows[name]["sites"]) for name in ("NaCl", "LaOCl")] == [8, 6]
    assert "nearest known: NaCl" in rows["NaCl"]["why"]
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["0001_LaOCl.png", "0002_NaCl.png"]
    told = explain(files / "cifs" / "NaCl.cif").stdout
    assert "each of an average element" in told
    assert "(4 atoms, " in told
    Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]]).to(filename=str(tmp_path / "Po.cif"))
    for arguments, word in (
        ((tmp_path / "Po.cif",), "Po cannot be explained: the band-gap evaluator does not know Po"),
        ((files / "cifs", "--property", "hardness"), "predicts band_gap, not hardness"),
    ):
        result = explain(*arguments)
        assert result.exit_code == 2
        assert word in result.stderr.strip().splitlines()[-1]


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
    potential = CHGNetPotential()
    energies, atoms, failures = potential.embed_sites([SALT, MATLOCKITE])
    assert not failures
    assert [len(own) for own in atoms] == [8, 6]
    output = potential.evaluate_energies([SALT, MATLOCKITE])
    whole, embeddings = output.energy, output.embeddings
    assert np.allclose(np.stack([own.mean(axis=0) for own in atoms]), embeddings, atol=1e-5)
    assert energies == pytest.approx(whole, abs=1e-4)


def test_neighbors_are_found_kept_and_checked(tmp_path: Path):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 6)).astype(np.float32)
    gaps = np.where(np.arange(30) % 2, np.nan, np.arange(30.0))
    table = Neighbors.of(
        np.array([f"m-{i}" for i in range(30)]),
        np.array([f"Na{i + 1}B" for i in range(30)]),
        np.full(30, 225),
        values={"band_gap": gaps, "density": np.arange(30.0)},
        embeddings=points,
        n_components=6,
    )
    table.save(tmp_path)
    again = Neighbors.load(tmp_path)
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
        Neighbors.load(tmp_path)


def test_released_neighbors_know_gaps_and_moduli():
    released = Neighbors.load()
    known = dict(zip(released.names.tolist(), np.isfinite(released.values).sum(axis=0).tolist(), strict=True))
    assert known["band_gap"] > 10_000
    assert known["bulk_modulus_gpa"] > 4_000
