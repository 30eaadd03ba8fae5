"""The ensemble learns, is calibrated, knows its domain, and survives saving."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from invdesign.errors import InputError
from invdesign.predictors.models.ensemble import Ensemble, Head, IntervalCalibration
from invdesign.training.conformal import by_thirds, conformal
from invdesign.training.metrics import auc, calibration_error, covered, gap_metrics, held_out
from invdesign.training.predictors.ensemble import LEAST_SCORES, PARTS, Settings, Table, calibrate, fit
from invdesign.training.predictors.trees import out_of_fold_features

if TYPE_CHECKING:
    from pathlib import Path

HEADS = (Head("gap", zero=True), Head("height"))
SETTINGS = Settings(members=2, width=32, depth=2, epochs=12, batch=128, learning_rate=1e-2, dropout=0.05)


def toy(n: int = 3000, seed: int = 0) -> Table:
    """Zero where x0 < 0, else 1 + x1 with noise that grows with x2; a second label; some unknown."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    gap = np.where(
        x[:, 0] < 0, 0.0, np.maximum(2 + 0.5 * x[:, 1] + 0.1 * np.exp(x[:, 2]) * rng.normal(size=n), 0.01)
    )
    height = x[:, 3] - x[:, 4] + 0.1 * rng.normal(size=n)
    labels = np.stack([gap, height], axis=1)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    x[rng.random(x.shape) < 0.01] = np.nan
    part = rng.choice(list(PARTS), n, p=list(PARTS.values()))
    return Table(x, labels, part, np.full(n, "toy"), np.arange(n) % 10 == 0, 3)


@pytest.fixture(scope="module")
def table() -> Table:
    return toy()


@pytest.fixture(scope="module")
def ensemble(table: Table) -> Ensemble:
    return fit(table, HEADS, SETTINGS, 0, lambda *_: None)


def test_learns_both_heads_and_covers(table: Table, ensemble: Ensemble) -> None:
    fresh = toy(3000, seed=1)
    found = ensemble.distributions(ensemble.standardise(fresh.features))
    known = ~np.isnan(fresh.labels)
    gap = fresh.labels[known[:, 0], 0]
    figures = gap_metrics(
        type(found["gap"])(*(getattr(found["gap"], n)[known[:, 0]] for n in ("mean", "sigma", "p_zero"))), gap
    )
    assert figures["auc_zero"] > 0.97
    assert figures["mae"] < 0.3
    assert 0.8 < figures["coverage_90"] < 0.97
    rows = np.flatnonzero(known[:, 1])
    assert 0.8 < covered(found["height"], fresh.labels[:, 1])[rows].mean() < 0.97
    assert table.rows("train").size > 0


def test_far_away_is_out_of_domain(table: Table, ensemble: Ensemble) -> None:
    rows = table.features[table.rows("test")]
    inside = [row["gap"].in_domain for row in ensemble.predict(rows)]
    assert np.mean(inside) == pytest.approx(0.99, abs=0.02)
    assert not any(row["gap"].in_domain for row in ensemble.predict(np.full((3, 6), 8.0, dtype=np.float32)))


def test_round_trip_predicts_the_same(tmp_path: Path, table: Table, ensemble: Ensemble) -> None:
    ensemble.save(tmp_path / "m", "toy")
    again = Ensemble.load(tmp_path / "m", "toy")
    assert again.predict(table.features[:20]) == ensemble.predict(table.features[:20])
    assert ensemble.predict(table.features[:0]) == []


def test_same_seed_same_weights(table: Table, ensemble: Ensemble) -> None:
    again = fit(table, HEADS, SETTINGS, 0, lambda *_: None)
    assert again.predict(table.features[:5]) == ensemble.predict(table.features[:5])


def test_damaged_or_unrelated_folders_are_named(tmp_path: Path, ensemble: Ensemble) -> None:
    ensemble.save(tmp_path / "m", "toy")
    with pytest.raises(InputError, match="toy model"):
        Ensemble.load(tmp_path / "m", "band-gap")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        Ensemble.load(tmp_path / "m", "toy")
    weights.unlink()
    with pytest.raises(InputError, match=r"lacks model\.safetensors"):
        Ensemble.load(tmp_path / "m", "toy")
    with pytest.raises(InputError, match="is not there"):
        Ensemble.load(tmp_path / "none", "toy")


def test_values_of_known_answers() -> None:
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])) == pytest.approx(0.75)
    assert calibration_error(np.array([0.25] * 4), np.array([1, 0, 0, 0])) == pytest.approx(0.0)
    assert calibration_error(np.array([0.95] * 4), np.array([0, 0, 0, 0])) == pytest.approx(0.95)


def test_too_few_labels_of_one_head_are_reported() -> None:
    table = toy(400)
    labels = table.labels.copy()
    labels[12:, 1] = np.nan
    with pytest.raises(InputError, match=r"\d+ rows have a height, \d+ of them in train; at least 20"):
        fit(replace(table, labels=labels), HEADS, SETTINGS, 0, lambda *_: None)
    held = np.flatnonzero(np.isin(table.part, ["validation", "calibration"]))
    labels = table.labels.copy()
    labels[np.setdiff1d(held, [table.rows("validation")[0], table.rows("calibration")[0]]), 1] = np.nan
    with pytest.raises(InputError, match=f"in validation and calibration; at least {LEAST_SCORES}"):
        fit(replace(table, labels=labels), HEADS, SETTINGS, 0, lambda *_: None)
    metals = np.where(table.labels > 0, 0, table.labels)
    with pytest.raises(InputError, match="0 rows have a gap above zero"):
        fit(replace(table, labels=metals), HEADS, SETTINGS, 0, lambda *_: None)


def test_a_constant_label_is_reported() -> None:
    table = toy(400)
    labels = np.where(np.isnan(table.labels), np.nan, 5.0)
    with pytest.raises(InputError, match="have the same, 5; there is nothing to learn"):
        fit(replace(table, labels=labels), HEADS, SETTINGS, 0, lambda *_: None)


def test_thirds_have_their_own_scale_where_there_are_enough() -> None:
    mean = np.linspace(0, 1, 90)
    score = 1 + np.floor(3 * np.linspace(0, 0.999, 90))
    assert by_thirds(mean, score)[1] == [1, 2, 3]
    few = by_thirds(mean[::2], score[::2])[1]
    assert few == [conformal(score[::2])] * 3
    assert by_thirds(np.ones(90), score)[1] == [conformal(score)] * 3


def test_hypothetical_crystals_have_intervals_of_their_own(
    tmp_path: Path, table: Table, ensemble: Ensemble
) -> None:
    rng = np.random.default_rng(3)
    far = rng.random(len(table.labels)) < 0.4  # which the features do not out_of_fold_features
    labels = table.labels + np.where(far, 0.5 * rng.normal(size=len(far)), 0.0)[:, None]
    sources = replace(table, labels=labels, source=np.where(far, "far", "near"))
    apart = deepcopy(ensemble)
    apart.network.shape = replace(apart.network.shape, heads=(HEADS[0], Head("height", hypothetical="far")))
    apart.calibration = IntervalCalibration()
    calibrate(apart, apart.standardise(sources.features), sources)
    apart.save(tmp_path / "m", "toy")
    found = held_out(Ensemble.load(tmp_path / "m", "toy"), sources, "height")
    share = {source: covered(own, label).mean() for source, (own, label, _) in found.items()}
    assert share["far"] == pytest.approx(0.9, abs=0.08)
    assert share["near"] == pytest.approx(0.9, abs=0.08)
    rows = apart.standardise(table.features[:50])
    default, known = (apart.distributions(rows, **asked) for asked in ({}, {"hypothetical": False}))
    assert (default["height"].sigma > 1.5 * known["height"].sigma).all()
    assert (default["gap"].sigma == known["gap"].sigma).all()


def test_too_few_hypothetical_crystals_are_reported() -> None:
    table = toy(400)
    heads = (HEADS[0], Head("height", hypothetical="far"))
    with pytest.raises(InputError, match="0 of them in validation and calibration, hypothetical and known"):
        fit(table, heads, SETTINGS, 0, lambda *_: None)


def test_one_heads_trees_predict_for_another_what_they_have_not_seen(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    table = toy(1500)
    rng = np.random.default_rng(5)
    shares = rng.random((1500, 110)).astype(np.float32)
    features = np.concatenate([shares, np.nan_to_num(table.features)], axis=1)
    labels = table.labels.copy()
    labels[:, 1] = np.where(rng.random(1500) < 0.2, labels[:, 0] + 0.2, np.nan)  # few, and like the first
    stacked_table = replace(table, features=features, labels=labels, extra=np.zeros(1500, bool))
    heads = (HEADS[0], Head("height", after="gap", trees_alone=True))
    settings = SETTINGS.model_copy(update={"trees": 100, "forest": {"height": 10}, "epochs": 1})
    ensemble = fit(stacked_table, heads, settings, 0, lambda *_: None)
    rows = np.flatnonzero(stacked_table.part != "test")
    stacked = out_of_fold_features(
        ensemble, ensemble.standardise(features), stacked_table, settings, seed=0, rows=rows
    )["height"]
    learned = (stacked_table.part != "test") & ~np.isnan(labels[:, 1])
    assert (np.isnan(stacked).all(axis=1) == ~learned).all()
    ensemble.save(tmp_path / "m", "toy")
    loaded = Ensemble.load(tmp_path / "m", "toy")
    assert loaded.predict(features[:20]) == ensemble.predict(features[:20])
    test = stacked_table.rows("test")
    test = test[~np.isnan(labels[test, 1])]
    found = ensemble.distributions(ensemble.standardise(features[test]))["height"].mean
    assert (
        np.abs(found - labels[test, 1]).mean() < 0.6 * np.abs(labels[test, 1] - labels[test, 1].mean()).mean()
    )
    # the stacked features of a row come from trees that were grown without its composition
    row = int(np.flatnonzero(learned)[0])
    twin = replace(
        stacked_table,
        features=np.concatenate([features, features[[row]]]),
        labels=np.concatenate([labels, [[50.0, np.nan]]]).astype(np.float32),
        part=np.append(stacked_table.part, stacked_table.part[row]),
        source=np.append(stacked_table.source, "toy"),
        extra=np.zeros(1501, bool),
    )
    rows = np.flatnonzero(twin.part != "test")
    again = out_of_fold_features(
        ensemble, ensemble.standardise(twin.features), twin, settings, seed=0, rows=rows
    )["height"]
    np.testing.assert_array_equal(again[row], stacked[row])
