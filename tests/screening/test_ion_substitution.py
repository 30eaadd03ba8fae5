from __future__ import annotations

import numpy as np
import pytest

from invdesign.composition.formula import composition_key
from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.errors import InputError
from invdesign.generators.substitution.ion_exchange import substitution_table
from invdesign.screening.ion_substitution import substitute_ions


def test_the_most_probable_first_each_once():
    batch, probabilities = substitute_ions("CsPbI3")
    keys = [composition_key(formula) for formula in batch.formulas()]
    assert len(batch) == len(probabilities) == len(set(keys)) > 1000
    assert (np.diff(probabilities) <= 0).all()
    assert composition_key("CsPbI3") not in keys
    assert composition_key("CsPbBr3") in keys[:20]
    assert sorted(batch.amounts[0].tolist()) == [1, 1, 3]


def test_all_combinations_by_hand():
    ions, becomes = substitution_table()
    batch, probabilities = substitute_ions("NaCl", n=10**6)
    known = dict(zip(map(composition_key, batch.formulas()), probabilities, strict=True))
    sodium, chlorine = becomes[ions[11, 1]], becomes[ions[17, -1]]
    for cation, anion in [("K", "Cl"), ("Na", "Br"), ("Cs", "I"), ("Ag", "F")]:
        expected = sodium[ATOMIC_NUMBER[cation]] * chlorine[ATOMIC_NUMBER[anion]]
        assert known[composition_key(cation + anion)] == pytest.approx(expected)


def test_fewer_when_asked():
    whole, _ = substitute_ions("CsPbI3")
    first, _ = substitute_ions("CsPbI3", n=50)
    assert first.formulas() == whole.formulas()[:50]


def test_the_larger_probability_of_two_ways():
    # K and Rb are there in equal amounts: exchanged for each other they are the same compound
    batch, probabilities = substitute_ions("KRbO", n=2000)
    keys = [composition_key(formula) for formula in batch.formulas()]
    assert len(keys) == len(set(keys)) == len(probabilities)
    assert (batch.numbers[:, 0] != batch.numbers[:, 1]).all()


@pytest.mark.parametrize(
    ("formula", "told"),
    [("Cu5Zn8", "no oxidation states"), ("Xq2O", "Xq"), ("NaCl2", "no oxidation states"), ("He", "no oxid")],
)
def test_what_has_no_ions_is_reported(formula, told):
    with pytest.raises(InputError, match=told):
        substitute_ions(formula)
