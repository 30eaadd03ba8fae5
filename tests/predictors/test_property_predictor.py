"""Property models from users' files: one command, whatever the property; bad files are told in a sentence."""

from __future__ import annotations

import csv
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.analysis import predict_files as of_files
from invdesign.analysis.predict_files import predict
from invdesign.cli import app
from invdesign.core.candidate import Estimate
from invdesign.core.target import Window
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io.config import build as typed
from invdesign.predictors.explain.explainer import Explainer
from invdesign.predictors.features import structure as crystal_features
from invdesign.predictors.features.composition_and_gene import composition_and_space_group_rows, half_filled
from invdesign.predictors.property_predictor import ANY_ENERGY, BLIND, PropertyPredictor
from invdesign.training.cards.render import finite
from invdesign.training.predictors.property import PropertyConfig, train_property, training_table
from invdesign.training.predictors.transfer import load_backbone

if TYPE_CHECKING:
    from pathlib import Path

METALS = ["Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Ti", "Zr", "Mn", "Fe", "Co", "Ni"]
OTHERS = ["F", "Cl", "Br", "I", "O", "S", "Se", "Te", "N", "P"]
QUICK = {"members": 2, "width": 32, "depth": 2, "epochs": 8, "batch": 32}


def hardness(formula: tuple[str, str]) -> float:
    return 10.0 ** (1 + METALS.index(formula[0]) / 20 + OTHERS.index(formula[1]) / 20)


def table_of_formulas(path: Path, column: str = "hardness") -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["formula", column])
        writer.writerows([f"{m}{x}", hardness((m, x))] for m in METALS for x in OTHERS)
    return path


def recipe(folder: Path, **fields: object) -> PropertyConfig:
    given = {
        "kind": "property",
        "out": str(folder / "mine"),
        "properties": {"hardness": {"unit": "GPa", "log10": True}},
        "sees": "composition",
        "cache": str(folder / "cache"),
        "network": QUICK | {"kernel": [0.3]},
    }
    return typed(PropertyConfig, given | fields, "recipe property")


def trained(folder: Path, **fields: object) -> Path:
    return train_property(recipe(folder, **fields), progress=lambda *_: None)


def test_a_custom_property_from_formulas(tmp_path: Path) -> None:
    folder = trained(tmp_path, data=str(table_of_formulas(tmp_path / "mine.csv")))
    assert {f.name for f in folder.iterdir()} >= {
        "README.md",
        "config.json",
        "model.safetensors",
        "recipe.yaml",
    }
    predictor = PropertyPredictor.load(folder)
    soft, hard = predictor.predict(["LiF", Gene.parse("225 Ni@a P@b")])
    assert soft.value < hard.value
    assert soft.low > 0
    assert soft.lognormal
    shown = predict(["LiF"], model=str(folder))[0].row()
    assert shown["hardness_low"] < shown["hardness"] < shown["hardness_high"]
    assert "GPa" in (folder / "README.md").read_text()


def test_a_property_of_crystals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(structures: list[Structure], potential: object = None) -> crystal_features.Described:
        from invdesign.stability.calibration import EnergyCalibration

        n = len(structures)
        return crystal_features.of_embedded(
            structures, np.zeros(n), np.zeros((n, 64), np.float32), EnergyCalibration.load("chgnet-0.3.0")
        )

    monkeypatch.setattr(crystal_features, "describe", fake)
    path = tmp_path / "mine.csv"
    cell = Structure(Lattice.from_parameters(3.9, 3.9, 3.9, 60, 60, 60), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["cif", "hardness"])
        cif = cell.to(fmt="cif")  # once: pymatgen takes a fifth of a second
        for m in METALS:
            for x in OTHERS[:6]:
                writer.writerow([cif.replace("Na", m).replace("Cl", x), hardness((m, x))])
    folder = trained(tmp_path, data=[str(path)], sees="structure")
    predictor = PropertyPredictor.load(folder)
    assert len(predictor.predict([cell, cell])) == 2
    with pytest.raises(InputError, match="needs structures"):
        predictor.predict(["NaCl"])
    again = training_table(recipe(tmp_path, data=[str(path)], sees="structure"), lambda *_: None)
    assert len(again.labels) == len(METALS) * 6


def test_what_is_wrong_with_the_data_is_reported(tmp_path: Path) -> None:
    file = table_of_formulas(tmp_path / "mine.csv", "toughness")
    with pytest.raises(InputError, match="no column hardness with numbers"):
        trained(tmp_path, data=str(file))
    with pytest.raises(InputError, match="is not there"):
        trained(tmp_path, data=str(tmp_path / "none.csv"))
    file.write_text("formula,hardness\nNaCl,2\nKCl,1\n")
    with pytest.raises(InputError, match="2 rows have a hardness; at least 65"):
        trained(tmp_path, data=str(file))
    with pytest.raises(InputError, match="no such file or folder"):
        predict(["no-such.cif"])


def test_a_faulty_entry_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "words.cif").write_text("no crystal")
    (tmp_path / "empty.csv").write_text("formula\n")
    (tmp_path / "latin.csv").write_bytes("formula\né".encode("latin-1"))
    given = ["GaN", "no-such.cif", "Tl(I)I", *map(str, sorted(tmp_path.iterdir())), "9" * 9_000, "CuInS2"]
    found = predict(given, ["band_gap", "band_gap_experimental"])
    assert [row.label for row in found if row.estimates] == ["GaN", "CuInS2"]
    reasons = [row.reason for row in found if not row.estimates]
    assert len(reasons) == len(given) - 2
    assert all(reasons)
    assert "no such file or folder" in reasons[0]
    assert "oxidation state" in reasons[1]
    result = CliRunner().invoke(app, ["predict", *given])
    assert result.exit_code == 0
    assert "oxidation state" in result.output


def test_formulas_without_a_model_stop_no_crystal() -> None:
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = predict(["NaCl", cell], "shear_modulus_gpa")
    assert "shear_modulus_gpa is predicted from crystal structures alone" in found[0].reason
    assert found[1].estimates
    with pytest.raises(InputError, match="from crystal structures alone"):
        predict(["NaCl"], "shear_modulus_gpa")


def test_a_small_table_trains_or_is_reported(tmp_path: Path) -> None:
    lines = table_of_formulas(tmp_path / "all.csv").read_text().splitlines()
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(lines[:43]))
    with pytest.raises(InputError, match="42 rows have a hardness; at least 65"):
        trained(tmp_path, data=str(file), seed=2)
    file.write_text("\n".join(lines[:71]))
    with pytest.raises(InputError, match=r"70 rows have a hardness, . of them in validation and calibration"):
        trained(tmp_path, data=str(file), seed=0)
    ensemble = PropertyPredictor.load(trained(tmp_path, data=str(file), seed=2)).ensemble
    assert len(set(ensemble.calibration.scales["hardness"])) == 1
    assert "are conformal." in (tmp_path / "mine" / "README.md").read_text()


def test_a_bad_row_gets_a_reason_and_keeps_its_id(tmp_path: Path) -> None:
    folder = trained(tmp_path, data=str(table_of_formulas(tmp_path / "mine.csv")))
    file = tmp_path / "asked.csv"
    file.write_text("id,formula\na,LiF\nb,Xx2\nc,\nd,NaN\ne\n")
    rows = predict([str(file)], model=str(folder))
    assert [row.label for row in rows] == ["a", "b", "c", "d", "e"]
    assert [bool(row.estimates) for row in rows] == [True, False, False, True, False]
    assert [row.reason == "" for row in rows] == [True, False, False, True, False]
    assert "Xx" in rows[1].reason
    assert rows[3].formula == "NaN"
    assert predict(["NaN"], model=str(folder))[0].estimates


def test_the_evaluator_answers_for_crystals_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Judge:
        def predict(self, structures: list[Structure]) -> list[Estimate]:
            return [Estimate(1.0, 0.1) for _ in structures]

    monkeypatch.setattr(of_files, "load_predictor", lambda *_: Judge())
    file = tmp_path / "salt.cif"
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]).to(str(file))
    assert predict([str(file)], model="judge")[0].row()["band_gap"] == 1.0
    assert "'KCl' is a formula" in predict([str(file), "KCl"], model="judge")[1].reason
    with pytest.raises(InputError, match="'KCl' is a formula"):
        predict(["KCl"], model="judge")


def test_without_chgnets_energy_there_is_no_value() -> None:
    predictor = PropertyPredictor.load("formation-energy")
    features = np.zeros((2, len(predictor.ensemble.feature_mean)), np.float32)
    with_energy, without = predictor.of_features(features, np.array([-2.0, np.nan]))
    assert with_energy["formation_energy_per_atom"].mean == pytest.approx(-2.0, abs=0.5)
    found = without["formation_energy_per_atom"]
    assert (found.mean, found.sigma, found.in_domain) == (*ANY_ENERGY, False)
    assert predictor.of_features(features)[0] == without


@pytest.mark.parametrize("model", ["band-gap", "elasticity"])
def test_without_chgnets_embedding_one_is_less_sure(model: str) -> None:
    predictor = PropertyPredictor.load(model)
    features = np.tile(predictor.ensemble.feature_mean, (2, 1))
    features[1, -64:] = np.nan  # as good as the mean of training, were it known
    sighted, blind = predictor.of_features(features)
    for name in predictor.properties:
        assert blind[name].mean == pytest.approx(sighted[name].mean)
        assert blind[name].sigma == pytest.approx(BLIND * sighted[name].sigma)


def test_several_models_share_a_description(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = of_files.describe
    calls = []
    monkeypatch.setattr(of_files, "describe", lambda seen: calls.append(len(seen)) or whole(seen))
    file = tmp_path / "salt.cif"
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]).to(str(file))
    asked = ("band_gap", "bulk_modulus_gpa", "shear_modulus_gpa")
    (row,) = predict([str(file)], asked)
    assert calls == [1]
    assert tuple(row.estimates) == asked
    assert row.estimates["band_gap"] == predict([str(file)])[0].estimates["band_gap"]


def test_only_formation_energies_are_on_the_older_scale(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["formula", "hardness", "formation_energy_per_atom"])
        writer.writerows([f"{m}{x}", hardness((m, x)), -1.0] for m in METALS for x in ("O", "S", "F", "Cl"))
    properties = {"hardness": {}, "formation_energy_per_atom": {}}
    tables = [
        training_table(
            recipe(tmp_path, data=[{"file": str(file), "older_scale": older}], properties=properties),
            lambda *_: None,
        )
        for older in (False, True)
    ]
    new, old = (table.labels for table in tables)
    np.testing.assert_array_equal(new[:, 0], old[:, 0])
    assert np.abs(new[:, 1] - old[:, 1]).max() > 0.01


def test_descriptions_are_of_one_chgnet_and_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from invdesign.potentials.chgnet import potential as chgnet_potential

    described = []

    def fake(structures: list[Structure]) -> crystal_features.Described:
        described.append(len(structures))
        n = len(structures)
        return crystal_features.Described(np.zeros((n, 1)), np.zeros(n), np.ones(n), np.full(n, "NaCl"))

    monkeypatch.setattr(crystal_features, "describe", fake)
    file = tmp_path / "salt.cif"
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]).to(str(file))
    for _ in range(2):
        crystal_features.described_file(file, tmp_path / "cache", lambda *_: None)
    assert described == [1]
    monkeypatch.setattr(chgnet_potential, "weights_digest", lambda: "others")
    crystal_features.described_file(file, tmp_path / "cache", lambda *_: None)
    assert described == [1, 1]


def salts(file: Path, n: int) -> Path:
    """Rock salts of growing cells, hard where they are large."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["cif", "hardness", "later"])
        for i in range(n):
            lattice = Lattice.from_parameters(*[3 + 0.01 * i] * 3, 60, 60, 60)
            cell = Structure(lattice, [METALS[i % len(METALS)], OTHERS[i % 7]], [[0] * 3, [0.5] * 3])
            writer.writerow([cell.to(fmt="cif"), 10 + i, i % 2])
    return file


def by_volume(structures: list[Structure], potential: object = None) -> crystal_features.Described:
    volume = np.array([s.volume for s in structures], np.float32)
    names = np.array([s.composition.reduced_formula for s in structures])
    return crystal_features.Described(np.tile(volume[:, None], 500), volume, np.ones(len(volume)), names)


def test_a_description_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def stopped(structures: list[Structure]) -> crystal_features.Described:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(len(structures))
        return by_volume(structures)

    file = salts(tmp_path / "salts.csv", 25)
    monkeypatch.setattr(crystal_features, "CHUNK", 10)
    monkeypatch.setattr(crystal_features, "describe", stopped)
    with pytest.raises(KeyboardInterrupt):
        crystal_features.described_file(file, tmp_path / "cache", lambda *_: None)
    done.clear()
    described, columns = crystal_features.described_file(file, tmp_path / "cache", lambda *_: None)
    assert done == [5]
    order = np.argsort(columns["hardness"])
    assert (np.diff(described.energy[order]) > 0).all()


def test_a_model_sees_another_embedding_and_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input is what the data say while learning, and what the recipe says after."""
    asked = []

    def embedding(structures: list[Structure], name: str) -> np.ndarray:
        asked.append(name)
        found = np.tile(np.float32([s.volume for s in structures])[:, None], 3)
        return np.where(found > 1000, np.nan, found)

    monkeypatch.setattr(crystal_features, "describe", by_volume)
    monkeypatch.setattr(crystal_features, "_embedding", embedding)
    file = salts(tmp_path / "salts.csv", 119)
    fields = {"data": [str(file)], "sees": "structure", "network": QUICK}
    fields |= {"properties": {"hardness": {}}, "embeddings": ["chgnet", "7net-0"], "inputs": {"later": 0.5}}
    monkeypatch.setattr(crystal_features, "load_potential", lambda _: crystal_features)
    monkeypatch.setattr(crystal_features, "digest", "weights", raising=False)
    table = training_table(recipe(tmp_path, **fields), lambda *_: None)
    assert table.features.shape[1] == 500 + 3 + 1
    assert set(table.features[:, -1]) == {0.0, 1.0}
    predictor = PropertyPredictor.load(trained(tmp_path, **fields))
    assert (predictor.embeddings, predictor.inputs) == (("chgnet", "7net-0"), {"later": 0.5})
    assert set(asked) == {"7net-0"}
    cell = Structure(Lattice.from_parameters(3.5, 3.5, 3.5, 60, 60, 60), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    described = crystal_features.embedded(by_volume([cell]), [cell], predictor.embeddings)
    assert predictor.features(described)[0, -1] == 0.5
    seen = predictor.features(described)
    unseen = seen.copy()
    unseen[:, 500:503] = np.nan
    known, blind = predictor.estimates(np.concatenate([seen, unseen]))["hardness"].rows()
    assert blind.sigma > 1.5 * known.sigma


def test_embeddings_that_cannot_be_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^embeddings: 7net-0; give chgnet first"):
        recipe(tmp_path, data="x.csv", sees="structure", embeddings=["7net-0"])
    with pytest.raises(InputError, match=r"^embeddings, inputs: a model of composition"):
        recipe(tmp_path, data="x.csv", embeddings=["chgnet", "7net-0"])


def test_only_models_of_chgnet_s_embedding_alone_are_explained_or_carried_on() -> None:
    with pytest.raises(InputError, match=r"7net-0 too, and CHGNet's alone can be taken apart"):
        Explainer.load("band_gap", "band-gap-finished")
    with pytest.raises(InputError, match="sees the embedding of 7net-0 too; give a model"):
        load_backbone("band-gap-finished")


def test_two_classes_have_their_names_in_tables() -> None:
    row = of_files.Prediction(
        "a", "NaCl", {"brittle": Estimate(1.0, 1e-6, 0.25)}, classes=("no", "yes")
    ).row()
    assert row["brittle"] == "yes"
    assert row["brittle_p_yes"] == 0.75
    assert "brittle_p_zero" not in row


def test_settings_that_name_no_property_are_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="after names 'hardness'"):
        recipe(tmp_path, data="x.csv", network=QUICK | {"after": {"hardness": "hardness"}})


def test_values_that_are_none_are_null() -> None:
    figures = {"mp20": {"n": 3, "auc_zero": float("nan"), "mae": 0.1}}
    assert finite(figures) == {"mp20": {"n": 3, "auc_zero": None, "mae": 0.1}}


def test_space_groups_may_be_unknown() -> None:
    known, unknown = composition_and_space_group_rows(["NaCl", "NaCl"], [225, None])
    assert known[np.flatnonzero(known != unknown)].any()
    assert np.isnan(unknown).sum() == 238


def test_lognormal_estimates() -> None:
    estimate = Estimate(100.0, 20.0, lognormal=True)
    assert estimate.low * estimate.high == pytest.approx(100.0**2)
    assert estimate.probability(Window(estimate.low, estimate.high)) == pytest.approx(0.9)
    assert estimate.probability(Window(-inf, 0.0)) == 0.0
    assert estimate.probability(Window(0.0, inf)) == pytest.approx(1.0)


def test_an_odd_number_of_electrons_without_open_shells_makes_a_metal() -> None:
    """CdI2's structure of K1+ and Sn3+ has 101 electrons and nothing that holds a moment."""
    layers = Structure.from_spacegroup(
        "P-3m1", Lattice.hexagonal(3.8, 8.5), ["K", "Sn", "S"], [[0, 0, 0.5], [0, 0, 0], [1 / 3, 2 / 3, 0.2]]
    )
    even = layers.copy()
    even.replace_species({"K": "Ca"})
    open_shell = layers.copy()
    open_shell.replace_species({"Sn": "Cr"})
    features = crystal_features.describe([layers, even, open_shell]).features
    assert half_filled(features).tolist() == [True, False, False]
    assert PropertyPredictor.load("band-gap").of_features(features)[0]["band_gap"].value == 0.0
