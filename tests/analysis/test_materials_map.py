"""Maps: what is drawn where, from files of crystals and of formulas, from Python and the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.analysis import embeddings
from invdesign.analysis import materials_map as mapping
from invdesign.analysis.embeddings import Material
from invdesign.analysis.materials_map import principal_components
from invdesign.cli import app
from invdesign.core.properties import PROPERTIES
from invdesign.data.dataset import is_formula_table

CATIONS, ANIONS = ("Li", "Na", "K", "Rb"), ("F", "Cl", "Br")
OXIDES = [f"{a}{b}O{n}" for a in ("Mg", "Ca", "Sr", "Ba") for b in ("Ti", "Zr", "Hf") for n in (3, 4)]
ALLOYS = [f"{a}{b}{n}" for a in ("Cu", "Ag", "Au") for b in ("Zn", "Cd", "Hg", "Al") for n in (2, 3)]


def salt(cation: str, anion: str, a: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(a), [cation, anion], sites
    ).get_primitive_structure()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map")
    pairs = [(cation, anion) for cation in CATIONS for anion in ANIONS]
    crystals = [salt(*pair, 4.2 + 0.25 * i) for i, pair in enumerate(pairs)]
    rows = [
        {"material_id": f"s-{i}", "band_gap": 8 - i / 4, "cif": crystal.to(fmt="cif")}
        for i, crystal in enumerate(crystals)
    ]
    rows.append({"material_id": "broken", "band_gap": 1, "cif": "no crystal"})
    write(folder / "salts.csv", rows)
    over = folder / "candidates"
    over.mkdir()
    crystals[5].to(filename=str(over / "again.cif"))
    salt("Cs", "I", 7.6).to(filename=str(over / "CsI.cif"))
    names = [*OXIDES, *ALLOYS]
    write(
        folder / "formulas.csv",
        [{"id": f"f{i}", "formula": name, "hardness": i} for i, name in enumerate(names)],
    )
    return folder


def write(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(*arguments: object):
    return CliRunner().invoke(app, ["map", *map(str, arguments)], catch_exceptions=False)


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.strip().splitlines() if "%" not in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_formulas_become_a_table_a_picture_and_one_page(files: Path, tmp_path: Path):
    arguments = (files / "formulas.csv", "--method", "pca", "--clusters", "kmeans", "--n-clusters", 2)
    result = json.loads(run(*arguments, "--out", tmp_path / "a", "--json").stdout)
    assert (result["n"], result["colour"], result["embedding"]) == (48, "hardness", "composition")
    rows = table(tmp_path / "a" / "map.csv")
    assert [row["id"] for row in rows[:2]] == ["f0", "f1"]
    assert [float(row["hardness"]) for row in rows] == list(range(48))
    clusters = {frozenset(row["cluster"] for row in part) for part in (rows[:24], rows[24:])}
    assert clusters == {frozenset("1"), frozenset("2")}  # oxides apart from alloys
    described = table(tmp_path / "a" / "clusters.csv")
    assert any(row["elements"].startswith("O 100%") for row in described)
    assert (tmp_path / "a" / "map.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a" / "map.html").read_text()
    assert "<b>MgTiO3</b> f0" in page.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u002f", "/")
    assert "<script src=" not in page
    run(*arguments, "--out", tmp_path / "b")
    assert (tmp_path / "b" / "map.csv").read_text() == (tmp_path / "a" / "map.csv").read_text()


def test_candidates_are_drawn_over_crystals_whose_embeddings_are_kept(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments = (files / "salts.csv", "--over", files / "candidates", "--method", "pca", "--workers", 1)
    result = json.loads(run(*arguments, "--out", tmp_path, "--json").stdout)
    assert (result["n"], result["n_over"], result["n_left_out"]) == (12, 2, 1)
    assert result["colour"] == "band_gap"
    assert [row["id"] for row in table(tmp_path / "left_out.csv")] == ["broken"]
    rows = {row["id"]: row for row in table(tmp_path / "map.csv")}
    same, twin = rows["s-5"], rows["again"]
    assert (twin["set"], twin["cluster"]) == ("over", same["cluster"])
    assert [float(twin[k]) for k in "xy"] == pytest.approx([float(same[k]) for k in "xy"], abs=1e-3)
    assert rows["CsI"]["band_gap"] == ""
    assert rows["CsI"]["set"] == "over"

    def embeds_nothing(_frames):
        raise AssertionError

    monkeypatch.setattr(embeddings, "embed_chunk", embeds_nothing)
    assert run(*arguments, "--out", tmp_path, "--clusters", "hdbscan").exit_code == 0


def test_umap_gives_the_same_plane_and_candidates_lie_where_they_belong(files: Path, tmp_path: Path):
    formulas = tmp_path / "formulas.csv"
    write(formulas, [{"id": name, "formula": name} for name in (*OXIDES[:10], *ALLOYS[:10])])
    for name in "ab":
        mapping.materials_map(formulas, out=tmp_path / name, over=[formulas], method="umap", seed=3)
    first, second = ((tmp_path / name / "map.csv").read_text() for name in "ab")
    assert first == second
    rows = table(tmp_path / "a" / "map.csv")
    points = np.array([[float(row[k]) for k in "xy"] for row in rows])
    assert np.allclose(points[:20], points[20:], atol=1e-3)


def test_hdbscan_finds_what_is_dense_the_largest_first():
    rng = np.random.default_rng(0)
    between = rng.uniform(-20, 20, (12, 2))
    points = np.concatenate([rng.normal(0, 0.1, (60, 2)), rng.normal(5, 0.1, (40, 2)), between])
    labels = mapping._hdbscan(points)
    assert (labels[:60] == 0).mean() > 0.8
    assert (labels[60:100] == 1).mean() > 0.8
    assert (labels[100:] == -1).mean() > 0.5


def test_what_lies_apart_is_an_outlier():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(200, 3)), [[9.0, 9.0, 9.0]], [[0.1, 0.0, 0.0], [-9.0, 9.0, 9.0]]])
    materials = [Material(f"m{i}", "NaCl", {}, {}, vector=row) for i, row in enumerate(rows)]
    drawn = mapping._map(
        materials[:201], materials[201:], "", method="pca", clusters="kmeans", n_clusters=2, seed=0
    )
    assert drawn.outlier[200:].tolist() == [True, False, True]
    assert np.median(drawn.isolation[:201]) == pytest.approx(1)


def test_axes_come_from_the_data_alone_and_do_not_flip():
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(50, 6)) * [5, 3, 1, 1, 1, 0]).astype(np.float32)
    space, shares = principal_components(rows, 40)
    alone, _ = principal_components(rows[:40], 40)
    assert np.allclose(space[:40], alone, atol=1e-5)
    assert (space[:40].max(axis=0) >= -space[:40].min(axis=0) - 1e-9).all()
    assert shares.sum() == pytest.approx(1)


def test_which_tables_hold_formulas_alone(files: Path):
    assert is_formula_table(files / "formulas.csv")
    assert not is_formula_table(files / "salts.csv")
    assert not is_formula_table(files / "candidates")


def test_faulty_candidates_stop_no_others(files: Path, tmp_path: Path):
    (tmp_path / "words.cif").write_text("no crystal")
    over = [
        part
        for name in ("nowhere.cif", tmp_path / "words.cif", files / "candidates")
        for part in ("--over", name)
    ]
    arguments = (
        files / "salts.csv",
        *over,
        "--method",
        "pca",
        "--workers",
        1,
        "--out",
        tmp_path / "map",
        "--json",
    )
    result = json.loads(run(*arguments).stdout)
    assert (result["n_over"], result["n_left_out"]) == (2, 3)
    reasons = {row["id"]: row["reason"] for row in table(tmp_path / "map" / "left_out.csv")}
    assert "no such file" in reasons["nowhere.cif"]


def test_mistakes_are_one_sentence(files: Path, tmp_path: Path):
    formulas, out = files / "formulas.csv", ("--out", tmp_path)
    assert "no numbers called 'colourless'" in refused(formulas, "--color", "colourless", *out)
    assert "there is no 'tsne'" in refused(formulas, "--method", "tsne", *out)
    assert "finds their number itself" in refused(formulas, "--clusters", "hdbscan", "--n-clusters", 3, *out)
    assert "holds formulas alone" in refused(formulas, "--embedding", "chgnet", *out)
    assert "no such file" in refused(formulas, "--over", "nowhere.cif", *out)
    assert "no such file" in refused("nowhere.csv", *out)
    assert "give 10 or more" in refused(files / "candidates", "--workers", 1, *out)


def test_without_umap_there_is_pca_and_a_word(monkeypatch: pytest.MonkeyPatch, files: Path, tmp_path: Path):
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    assert "invdesign[map]" in refused(files / "formulas.csv", "--method", "umap", "--out", tmp_path)


def test_the_first_known_property_colours(files: Path):
    assert "band_gap" in PROPERTIES
    known = embeddings._read_crystals(files / "salts.csv", "composition")
    assert mapping._colour(None, known, files) == "band_gap"
