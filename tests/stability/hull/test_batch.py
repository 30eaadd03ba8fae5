import numpy as np
import pytest
from pymatgen.core import Composition

from invdesign.composition.batch import CompositionBatch
from invdesign.stability.hull.batch import HullBatch
from invdesign.stability.hull.hull import Hull


@pytest.fixture(scope="module")
def hull():
    return Hull.load()


def test_it_is_the_hull_of_the_competitors_one_by_one(hull):
    energies = hull.formulas, hull.numbers, hull.fractions, hull.energies, hull.competing
    hull = Hull(*energies, scale="as they are")  # on MP2020's the other one corrects anions
    rng = np.random.default_rng(0)
    formulas = [hull.formulas[i] for i in rng.choice(len(hull), 300, replace=False)]
    formulas += ["NaCl3", "LiFeO7", "Cu2ZnSnS4", "BaTi5O9", "He2O", "Si"]
    formulas = [f for f in formulas if "He" not in f]
    batch, _ = CompositionBatch.of(formulas)
    found = HullBatch(hull).competitors(batch)
    for row, formula in enumerate(formulas):
        one = hull.e_above_hull(Composition(formula), 0.0, known=False)
        assert found.energy[row] == pytest.approx(-one.e_above_hull, abs=1e-7)
        if len(Composition(formula)) > 1:
            elements = len(Composition(formula))
            assert found.n_phases[row] == one.n_phases - elements - one.composition_known


def test_hidden_phases_take_no_part(hull):
    kept = np.array([formula != "NaCl" for formula in hull.formulas])
    batch, _ = CompositionBatch.of(["Na2Cl3"])
    seen, unseen = HullBatch(hull).competitors(batch), HullBatch(hull, kept).competitors(batch)
    assert seen.energy[0] < unseen.energy[0] - 0.5
    assert seen.n_full[0] == unseen.n_full[0] + 1
    assert seen.nearest[0] == pytest.approx(0.1)  # 0.5 and 0.4 sodium


def test_an_element_the_hull_does_not_know_counts_as_itself(hull):
    batch, _ = CompositionBatch.of(["HeO", "NaCl"])
    found = HullBatch(hull).competitors(batch)
    assert found.energy[0] == 0.0
    assert found.pure[0] == 1.0


def test_many_elements_take_no_longer(hull):
    batch, _ = CompositionBatch.of(["LiNaKRbCsMgCaSrBaScYTiZrHfVNbTaCrMoWMnFeCoNiCuZnAlGaSiGeOSSeFClBr2"])
    found = HullBatch(hull).competitors(batch)
    assert found.n_phases[0] > 1000
    assert found.energy[0] < -0.5
