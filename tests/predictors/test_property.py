"""Property models from users' files: one command, whatever the property; bad files are told in a sentence."""

from __future__ import annotations

import csv
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.candidate import Estimate
from invdesign.configs import build as typed
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.predictors import crystal_features
from invdesign.predictors.of_files import predict_given
from invdesign.predictors.property import PropertyPredictor, build
from invdesign.predictors.property_data import PropertyConfig, training_table, with_space_groups
from invdesign.targets import Window

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
    return build(recipe(folder, **fields), progress=lambda *_: None)


def test_a_property_of_ones_own_from_formulas(tmp_path: Path) -> None:
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
    shown = predict_given(["LiF"], model=str(folder))[0].row()
    assert shown["hardness_low"] < shown["hardness"] < shown["hardness_high"]
    assert "GPa" in (folder / "README.md").read_text()


def test_a_property_of_crystals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(structures: list[Structure], potential: object = None) -> crystal_features.Described:
        from invdesign.validators.calibration import Calibration

        n = len(structures)
        return crystal_features.of_embedded(
            structures, np.zeros(n), np.zeros((n, 64), np.float32), Calibration.load("chgnet-0.3.0")
        )

    monkeypatch.setattr(crystal_features, "describe", fake)
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["cif", "hardness"])
        for m in METALS:
            for x in OTHERS[:4]:
                cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.5), [m, x], [[0] * 3, [0.5] * 3])
                writer.writerow([cell.to(fmt="cif"), hardness((m, x))])
    folder = trained(tmp_path, data=[str(path)], sees="structure")
    predictor = PropertyPredictor.load(folder)
    assert len(predictor.predict([cell, cell])) == 2
    with pytest.raises(InputError, match="needs structures"):
        predictor.predict(["NaCl"])
    again = training_table(recipe(tmp_path, data=[str(path)], sees="structure"), lambda *_: None)
    assert len(again.labels) == len(METALS) * 4


def test_what_is_wrong_with_the_data_is_told(tmp_path: Path) -> None:
    file = table_of_formulas(tmp_path / "mine.csv", "toughness")
    with pytest.raises(InputError, match="no column hardness with numbers"):
        trained(tmp_path, data=str(file))
    with pytest.raises(InputError, match="is not there"):
        trained(tmp_path, data=str(tmp_path / "none.csv"))
    file.write_text("formula,hardness\nNaCl,2\nKCl,1\n")
    with pytest.raises(InputError, match="2 rows have a hardness; at least 40"):
        trained(tmp_path, data=str(file))
    with pytest.raises(InputError, match="neither a file nor a formula"):
        predict_given(["no-such.cif"])


def test_space_groups_may_be_unknown() -> None:
    known, unknown = with_space_groups(["NaCl", "NaCl"], [225, None])
    assert known[np.flatnonzero(known != unknown)].any()
    assert np.isnan(unknown).sum() == 238


def test_lognormal_estimates() -> None:
    estimate = Estimate(100.0, 20.0, lognormal=True)
    assert estimate.low * estimate.high == pytest.approx(100.0**2)
    assert estimate.probability(Window(estimate.low, estimate.high)) == pytest.approx(0.9)
    assert estimate.probability(Window(-inf, 0.0)) == 0.0
    assert estimate.probability(Window(0.0, inf)) == pytest.approx(1.0)
