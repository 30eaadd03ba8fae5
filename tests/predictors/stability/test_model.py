import numpy as np
import pytest

from invdesign.composition.batch import CompositionBatch
from invdesign.errors import InputError
from invdesign.predictors.stability.analogues import Analogues, Known, composition_keys, system_keys
from invdesign.predictors.stability.model import LEVELS, Stabilities, StabilityModel, read_known, write_known
from invdesign.training.predictors.stability import enrichment, existence_metrics, quantiles
from invdesign.training.predictors.stability_data import KINDS, decoys, parts_of_systems

FORMULAS = [
    "NaCl",
    "KCl",
    "RbCl",
    "NaBr",
    "KBr",
    "MgO",
    "CaO",
    "CaTiO3",
    "SrTiO3",
    "BaTiO3",
    "Fe2O3",
    "Fe3O4",
]


@pytest.fixture(scope="module")
def known():
    batch, _ = CompositionBatch.of(FORMULAS)
    height = np.linspace(-0.1, 0.1, len(FORMULAS), dtype=np.float32)
    return Known(batch, height - 1, height)


@pytest.fixture(scope="module")
def model():
    return StabilityModel.load()


def features(known, formulas):
    batch, _ = CompositionBatch.of(formulas)
    return Analogues(known).features(batch, np.zeros(len(batch)))


def test_a_composition_never_sees_its_own_compound(known):
    batch, _ = CompositionBatch.of(["SrTiO3"])
    with_it = Analogues(known)
    without = Analogues(known.take(np.array([formula != "SrTiO3" for formula in FORMULAS])))
    without._alike = with_it._alike  # how alike elements are is learned from all
    found, novel = (one.features(batch, np.zeros(1)) for one in (with_it, without))
    np.testing.assert_allclose(found, novel, rtol=1e-5, atol=1e-5)


def test_like_compounds_are_found(known):
    there, away = features(known, ["RbBr", "CsTl7"])
    assert there[8] > away[8] == 0  # most compounds that differ in one element: NaBr, KBr; RbCl


def test_order_and_padding_do_not_matter(known):
    numbers = np.array([[38, 22, 8, 0, 0], [8, 38, 22, 0, 0]], dtype=np.uint8)
    amounts = np.array([[1, 1, 3, 0, 0], [3, 1, 1, 0, 0]], dtype=np.int32)
    batch = CompositionBatch(numbers, amounts)
    assert len(set(composition_keys(batch).tolist())) == 1
    assert len(set(system_keys(numbers).tolist())) == 1
    first, second = Analogues(known).features(batch, np.zeros(2))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_a_chemical_system_is_in_one_part():
    numbers = np.array([[11, 17, 0], [17, 11, 0], [22, 8, 38], [38, 22, 8]], dtype=np.uint8)
    parts = parts_of_systems(numbers, seed=0)
    assert parts[0] == parts[1]
    assert parts[2] == parts[3]


@pytest.mark.parametrize("kind", KINDS)
def test_decoys_are_none_of_the_known(known, kind):
    real = known.batch.take(np.array([7, 8, 10]))
    made, of = decoys(kind, real, known.batch, 20, np.random.default_rng(0))
    assert not np.isin(composition_keys(made), composition_keys(known.batch)).any()
    assert (np.gcd.reduce(made.amounts, axis=1) == 1).all()
    if kind[0] == "elements":
        np.testing.assert_array_equal(made.amounts, real.amounts[of])
    else:
        np.testing.assert_array_equal(made.numbers, real.numbers[of])


def test_quantiles_weigh():
    values, weight = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 8.0])
    found = quantiles(values, weight)
    assert (np.diff(found) > 0).all()
    assert np.interp(0.5, LEVELS, found) > 1.5


def test_interval_and_probability_are_of_one_distribution():
    said = Stabilities(np.array([0.1]), np.array([0.05]), np.array([0.5]), np.linspace(-3, 3, len(LEVELS)))
    assert said.p_stable(float(said.low[0])) == pytest.approx(0.05, abs=1e-6)
    assert said.p_stable(float(said.high[0])) == pytest.approx(0.95, abs=1e-6)
    assert said.p_hit(9.0) == pytest.approx(0.5)


def test_enrichment_and_rank_among_decoys():
    score = np.zeros(202)
    score[:2] = 1.0
    owner = np.concatenate([[-1, -2], np.zeros(100, int), np.ones(100, int)])
    assert enrichment(score, owner < 0) == pytest.approx(101)
    assert existence_metrics(score, owner)["first_of_its_own_decoys"] == 1.0


def test_known_compounds_are_kept(known, tmp_path):
    write_known(known, tmp_path / "known.npz")
    again = read_known(tmp_path / "known.npz")
    np.testing.assert_array_equal(composition_keys(again.batch), composition_keys(known.batch))
    np.testing.assert_allclose(again.decomposition, known.decomposition, atol=1e-3)


def test_the_released_model_knows_chemistry(model):
    real = ["MgAl2O4", "CaTiO3", "Na3AlF6", "CuInSe2", "ZnS", "Y3Al5O12"]
    odd = ["MgAl5O3", "Ca3TiO", "NaAl3F2", "Cu3InSe7", "Zn3S7", "Y5AlO2"]
    said = model.predict([*real, *odd])
    assert said.p_exists[:6].min() > 10 * np.median(said.p_exists[6:])
    assert (said.low <= said.e_above_hull).all()
    assert (said.low < said.high).all()


def test_formulas_and_batches_get_one_answer(model):
    batch, _ = CompositionBatch.of(["CsPbI3", "Fe", "Li7La3Zr2O12"])
    from_batch, from_text = model.predict(batch), model.predict(["CsPbI3", "Fe", "La3Li7O12Zr2"])
    np.testing.assert_allclose(from_batch.p_exists, from_text.p_exists, rtol=1e-5)
    assert from_batch.e_above_hull[1] == pytest.approx(0.0, abs=1e-6)
    assert from_batch.p_stable(0.0)[1] > 0.99


def test_nothing_and_nonsense(model):
    assert len(model.predict([]).p_exists) == 0
    with pytest.raises(InputError, match="Xx"):
        model.predict(["NaCl", "Xx2O"])
