import json

import numpy as np
import pytest

from invdesign.crystal.gene import Gene
from invdesign.errors import InputError
from invdesign.io.artifacts import root
from invdesign.predictors.features.composition_and_gene import gene_matrix
from invdesign.predictors.synthesizability import Synthesizability
from invdesign.training.metrics import auc
from invdesign.training.predictors.synthesizability import calibrate, fit, strata, stratified_auc
from invdesign.training.predictors.table import Settings

SETTINGS = Settings(members=3, width=16, dropout=0.0, epochs=12, batch=64, learning_rate=1e-2)


def told(_share, _message):
    pass


@pytest.fixture(scope="module")
def blobs():
    """Reported ones on one side; of the unlabelled a third are like them."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(900, 5)).astype(np.float32)
    made[:500, 0] += 3
    truly = np.arange(900) < 500
    maker = np.where(np.arange(900) < 300, 0, 1 + np.arange(900) % 2)
    made[:, 4] = 1.0  # a feature that never varies
    made[::7, 3] = np.nan
    return made, maker, truly


@pytest.fixture(scope="module")
def model(blobs):
    features, maker, _ = blobs
    found = fit(features, maker, SETTINGS, 0, told)
    calibrate(found, features, maker)
    return found


def test_unlabelled_crystals_like_the_reported_score_high(blobs, model):
    features, maker, truly = blobs
    score = model.score_features(features)
    assert np.all((score >= 0) & (score <= 1))
    assert auc(score, truly) > 0.95
    assert score[truly & (maker > 0)].mean() > 2 * score[~truly].mean()


def test_the_same_seed_gives_the_same(blobs, model):
    features, maker, _ = blobs
    again = fit(features, maker, SETTINGS, 0, told)
    calibrate(again, features, maker)
    np.testing.assert_array_equal(again.score_features(features), model.score_features(features))


def test_it_is_saved_and_loaded(blobs, model, tmp_path):
    model.save(tmp_path)
    loaded = Synthesizability.load(tmp_path)
    np.testing.assert_allclose(loaded.score_features(blobs[0]), model.score_features(blobs[0]), atol=2e-3)


def test_a_damaged_folder_is_reported(model, tmp_path):
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"kind": "band-gap"}))
    with pytest.raises(InputError, match="holds a band-gap model"):
        Synthesizability.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Synthesizability.load(tmp_path)
    model.save(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="restore it or retrain it"):
        Synthesizability.load(tmp_path)


def test_auc_within_strata_sees_only_pairs_of_one():
    positive = np.array([True, False, True, False])
    score = np.array([0.9, 0.1, 0.2, 0.8])
    assert stratified_auc(score, positive, np.array([0, 0, 1, 1])) == 0.5
    assert stratified_auc(score, positive, np.array([0, 1, 2, 3])) != 0.5  # nan: no pair
    assert len(set(strata(np.array([[2, 4], [2, 3], [2, 12], [3, 4]])))) == 3


def test_the_released_model_knows_salt_from_nonsense():
    model = Synthesizability.load()
    genes = ["225 Na@a Cl@b", "227 Mg@a Al@d O@e", "221 Sr@a Ti@b O@c", "1 Rb@a Tm@a W@a Br@a I@a S@a"]
    salt, spinel, perovskite, nonsense = model.score([Gene.parse(gene) for gene in genes])
    assert min(salt, spinel, perovskite) > 0.5 > nonsense
    assert model.score([]).shape == (0,)
    assert gene_matrix([Gene.parse(genes[0])]).shape[1] == len(model.feature_mean)


def test_equivalent_settings_get_one_answer():
    model = Synthesizability.load()
    one, other = (Gene.parse(text) for text in ("225 Na@a Cl@b", "225 Na@b Cl@a"))
    assert model.score([one]) == pytest.approx(model.score([other]), abs=1e-6)


def test_the_released_model_is_small():
    assert (root("models") / "synthesizability" / "model.safetensors").stat().st_size <= 4e6
