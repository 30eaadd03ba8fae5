"""Models from a few examples: what transfer learns, what it says of itself, what it refuses."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.cli import app
from invdesign.errors import InputError
from invdesign.predictors.features import structure as crystal_features
from invdesign.predictors.features.composition_and_gene import FRACTIONS, composition_rows
from invdesign.predictors.models.ensemble import Ensemble, EnsembleNetwork, Head, Shape
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.predictors.transfer import (
    Regression,
    Similarity,
    inputs_alone,
    of_one_composition,
    represent,
    settings,
)
from invdesign.training.predictors import transfer_cross_validation
from invdesign.training.predictors.transfer_examples import read_examples
from invdesign.training.registry import train_from

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

METALS = ["Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Zn"]
OTHERS = ["F", "Cl", "Br", "I", "O", "S"]
FORMULAS = [m + x for m in METALS for x in OTHERS]


def quiet(*_: object) -> None:
    pass


def stiffness(formula: str) -> float:
    metal = next(m for m in METALS if formula.startswith(m) and formula[len(m) :] in OTHERS)
    return 10.0 + METALS.index(metal) + 3.0 * OTHERS.index(formula[len(metal) :])


def write(
    path: Path, rows: Sequence[Sequence[object]], names: Sequence[str] = ("formula", "stiffness")
) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([names, *rows])
    return path


def table(path: Path, label: Callable[[str], object] = stiffness, n: int = 30) -> Path:
    rng = np.random.default_rng(0)
    return write(path, [(f, label(f)) for f in rng.permutation(FORMULAS)[:n].tolist()])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model of compositions, untrained: random hidden layers are a fair backbone for a toy."""
    import torch

    torch.manual_seed(0)
    features = composition_rows(FORMULAS)
    shape = Shape(features.shape[1], (Head("band_gap", zero=True),), members=2, width=16, depth=2)
    spread = np.nan_to_num(np.nanstd(features, axis=0))
    ensemble = Ensemble(
        EnsembleNetwork(shape),
        np.nan_to_num(np.nanmean(features, axis=0)),
        np.where(spread > 1e-6, spread, 1.0),
        np.array([[1.0, 1.0]]),
    )
    ensemble.about = {"sees": "composition", "properties": {"band_gap": {"unit": "eV", "zero": True}}}
    ensemble.save(tmp_path / "base", "property")
    return tmp_path / "base"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_cross_validation, "REPEATS", 2)
    monkeypatch.setattr(transfer_cross_validation, "SIZES", ())
    monkeypatch.setattr(transfer_cross_validation, "DRAWS", 50)


def test_numbers(tmp_path: Path, base: Path) -> None:
    outcome = train_from(
        str(base), table(tmp_path / "mine.csv"), tmp_path / "mine", log10=True, progress=quiet
    )
    files = {file.name for file in outcome.folder.iterdir()}
    assert files >= {
        "README.md",
        "config.json",
        "model.safetensors",
        "run.json",
        "learning_curve.png",
        "backbone",
    }
    assert files >= {"metrics.json", "learning_curve.csv"}
    assert "always the mean" not in " ".join(outcome.warnings)
    final = {point.method: point.mean for point in outcome.validation.curve if point.n == 24}
    assert final["transfer"] < 0.5 * final["always the mean"]
    unseen = [f for f in FORMULAS if f not in (tmp_path / "mine.csv").read_text()]
    found = PropertyPredictor.load(outcome.folder).predict(unseen)
    held = [one.low <= stiffness(f) <= one.high for one, f in zip(found, unseen, strict=True)]
    assert np.mean(held) >= 0.7
    assert all(one.lognormal and one.low > 0 for one in found)
    told = json.loads((outcome.folder / "run.json").read_text())
    assert told["seed"] == 0
    assert told["packages"]["torch"]


def test_a_saved_model_and_the_seed_repeat(tmp_path: Path, base: Path) -> None:
    data = table(tmp_path / "mine.csv")
    first, second = (train_from(str(base), data, tmp_path / name, progress=quiet) for name in "ab")
    assert first.validation.curve == second.validation.curve
    said = [PropertyPredictor.load(one.folder).predict(["LiF", "SrS"]) for one in (first, second)]
    assert said[0] == said[1]
    with pytest.raises(InputError, match="itself made from a few examples"):
        train_from(str(first.folder), data, tmp_path / "c", progress=quiet)


def test_two_classes_count_the_same(tmp_path: Path, base: Path) -> None:
    data = table(tmp_path / "mine.csv", lambda f: "hard" if f.endswith("S") else "soft", n=40)
    outcome = train_from(str(base), data, tmp_path / "mine", progress=quiet)
    auc = next(p.mean for p in reversed(outcome.validation.curve) if p.method == "transfer")
    assert auc > 0.9
    hard, soft = PropertyPredictor.load(outcome.folder).predict(["SrS", "SrF"])
    assert (hard.value, soft.value) == (0.0, 1.0)  # names in order: hard is 0
    assert hard.p_zero > 0.5 > soft.p_zero
    assert "both classes count the same" in (outcome.folder / "README.md").read_text()


def test_noise_is_reported(tmp_path: Path, base: Path) -> None:
    rng = np.random.default_rng(3)
    data = table(tmp_path / "mine.csv", lambda _: rng.normal(), n=15)
    warnings = " ".join(train_from(str(base), data, tmp_path / "mine", progress=quiet).warnings)
    assert "15 examples are few" in warnings
    assert "not better than always the mean" in warnings
    data = table(tmp_path / "mine.csv", lambda f: int(f in {"LiF", "NaF", "KF", "RbF"}), n=48)
    warnings = " ".join(train_from(str(base), data, tmp_path / "mine", progress=quiet).warnings)
    assert "Only 4 examples are 1" in warnings


@pytest.mark.parametrize(
    ("rows", "column", "told"),
    [
        ([(f, 1.0) for f in FORMULAS[:9]], None, "9 rows .* at least 10"),
        ([(f, 1.0) for f in FORMULAS[:12]], None, "all 12 rows have the same stiffness"),
        (
            [(f, i) for i, f in enumerate(FORMULAS[:12])],
            "hardness",
            "no column 'hardness'; its columns are: stiff",
        ),
        ([(f, i) for i, f in enumerate(["Xx2", *FORMULAS[:12]])], None, "1 of 13 formulas .* \\(rows 1\\)"),
        (
            [(f, "ab"[i % 2]) for i, f in enumerate(FORMULAS[:12])] + [("NaCl", 3)],
            None,
            "neither a number nor",
        ),
        ([("NaCl", i) for i in range(12)], None, "hold 1 compositions"),
    ],
)
def test_refused_in_a_sentence(
    tmp_path: Path, rows: list[tuple[object, ...]], column: str | None, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        read_examples(write(tmp_path / "mine.csv", rows), column)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_examples(tmp_path / "none.csv")


def test_what_is_peculiar_is_reported(tmp_path: Path) -> None:
    rows = [(f, i) for i, f in enumerate([*FORMULAS[:12], "Na2Cl2", "MgO"])] + [("KI", "")]
    examples = read_examples(write(tmp_path / "mine.csv", rows))
    assert "1 of 15 rows have no stiffness" in examples.notes[0]
    assert "occur more than once" in examples.notes[1]
    with pytest.raises(InputError, match="not positive in rows 1"):
        read_examples(tmp_path / "mine.csv", log10=True)


def test_leaving_a_composition_out_is_fitting_without_it() -> None:
    rng = np.random.default_rng(0)
    rows, labels = inputs_alone(rng.normal(size=(12, 3))), rng.normal(size=12)
    groups = np.array([0, 0, 0, *range(1, 10)])
    setting = settings(rows)[-3]
    similarity, ones = Similarity(rows), np.ones(12)
    whole = Regression(similarity, labels - labels.mean(), ones, setting)
    kept = groups != 0
    part = Similarity(rows[kept])
    part.units = similarity.units
    less = Regression(part, (labels - labels.mean())[kept], ones[kept], setting)
    less.middle, less.coefficients = 0.0, less.inverse @ less.labels
    expected = whole.labels[~kept] - less.predict(rows[~kept])[0]
    assert whole.errors_left_out(of_one_composition(groups))[~kept] == pytest.approx(expected)


@pytest.mark.slow
def test_crystals_are_seen_by_released_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(structures: list[Structure], potential: object = None) -> crystal_features.Described:
        from invdesign.stability.calibration import EnergyCalibration

        n = len(structures)
        calibration = EnergyCalibration.load("chgnet-0.3.0")
        return crystal_features.of_embedded(
            structures, np.zeros(n), np.zeros((n, 64), np.float32), calibration
        )

    monkeypatch.setattr(crystal_features, "describe", fake)
    cells = [
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(4 + 0.3 * i + 0.2 * j), [m, x], [[0] * 3, [0.5] * 3])
        for i, m in enumerate(METALS[:4])
        for j, x in enumerate(OTHERS[:3])
    ]
    rows = [(cell.to(fmt="cif"), cell.volume) for cell in cells]
    data = write(tmp_path / "mine.csv", rows, ("cif", "volume"))
    outcome = train_from("band-gap", data, tmp_path / "mine", progress=quiet)
    assert {p.method for p in outcome.validation.curve} >= {
        "from scratch",
        "composition baseline",
        "transfer",
    }
    estimate = PropertyPredictor.load(outcome.folder).predict(cells[:1])[0]
    assert estimate.low < cells[0].volume < estimate.high
    rows[4] = ("no crystal", 1.0)
    with pytest.raises(InputError, match=r"1 of 12 crystals cannot be read \(rows 5\)"):
        read_examples(write(tmp_path / "mine.csv", rows, ("cif", "volume")))
    with pytest.raises(InputError, match="sees structures"):
        train_from("band-gap", table(tmp_path / "formulas.csv"), tmp_path / "mine", progress=quiet)


def test_the_representation_is_the_last_hidden_layer(base: Path) -> None:
    backbone = Ensemble.load(base, kind="property")
    rows = represent(backbone, backbone.standardise(composition_rows(["NaCl", "MgO"])))
    assert rows.hidden.shape == (2, 2 * 16)
    assert rows.predictions.shape == (2, 2)  # logit of zero and mean
    assert rows.inputs.shape[1] == backbone.network.shape.n_features - FRACTIONS
    outward = backbone.network.outward
    weight = outward.weight.detach().numpy()
    raw = backbone.raw(backbone.standardise(composition_rows(["NaCl", "MgO"])))[0, :, 0, 0]
    assert raw == pytest.approx(
        rows.hidden[:, :16] @ weight[0, :, 0] + float(outward.bias.detach()[0, 0, 0]), abs=1e-5
    )


def test_the_command(tmp_path: Path, base: Path) -> None:
    data = table(tmp_path / "mine.csv", n=20)
    arguments = ["train", "--from", str(base), "--data", str(data), "--out", str(tmp_path / "mine")]
    done = CliRunner().invoke(app, [*arguments, "--unit", "GPa", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["metric"] == "mean absolute error of stiffness, GPa"
    shown = CliRunner().invoke(app, arguments)
    assert "always the mean" in shown.stdout
    for wrong in (
        ["train"],
        arguments[:-2],
        ["train", "recipe.yaml", *arguments[1:]],
        [*arguments, "--property", "x"],
    ):
        refused = CliRunner().invoke(app, wrong)
        assert refused.exit_code == 2
        assert "Traceback" not in refused.output
