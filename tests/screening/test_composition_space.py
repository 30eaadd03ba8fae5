from __future__ import annotations

from itertools import combinations, product
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.composition.batch import CompositionBatch
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError
from invdesign.io.config import build
from invdesign.screening.composition_space import Space

POOL = ("Cs", "Cu", "Zn", "Sn", "Pb", "S", "Se", "I", "O")


def compositions(space: Space, *where: int) -> list[frozenset]:
    return [
        frozenset((SYMBOLS[z], amount) for z, amount in zip(numbers, amounts, strict=True))
        for batch in space.batches(*where)
        for numbers, amounts in zip(batch.numbers.tolist(), batch.amounts.tolist(), strict=True)
    ]


def by_hand(space: Space) -> set[frozenset]:
    """Every formula of a space without types, by trying all."""
    fewest, most = space.n_elements
    cations, anions = space.cations, space.anions
    cations, anions = cations or space.pool - anions, anions or space.pool - cations
    found = set()
    for k in range(fewest, most + 1):
        for system in combinations(sorted(space.pool), k):
            parted = any(c in cations and a in anions for c in system for a in system if a != c)
            if not space.required <= set(system) or ((space.cations or space.anions) and not parted):
                continue
            for amounts in product(range(1, space.max_atoms + 1), repeat=k):
                if sum(amounts) <= space.max_atoms and gcd(*amounts) == 1:
                    found.add(frozenset(zip(system, amounts, strict=True)))
    return found


some = st.sets(st.sampled_from(POOL), max_size=3)


@st.composite
def spaces(draw) -> tuple[Space, set]:
    low = draw(st.integers(1, 3))
    cations, anions = draw(some), draw(some)
    space = Space.model_construct(
        elements=frozenset(() if cations and anions else draw(st.sets(st.sampled_from(POOL), min_size=1))),
        n_elements=(low, draw(st.integers(low, 4))),
        max_atoms=draw(st.integers(1, 7)),
        anonymous=(),
        cations=frozenset(cations),
        anions=frozenset(anions),
        required=frozenset(draw(st.sets(st.sampled_from(sorted(cations | anions) or POOL), max_size=2))),
    )
    return space, by_hand(space)


@settings(max_examples=200)
@given(spaces(), st.integers(1, 50))
def test_every_formula_once(drawn, size):
    unchecked, expected = drawn
    fields = unchecked.model_dump()
    if not expected:
        with pytest.raises(InputError, match="no formula"):
            build(Space, fields, "space")
        return
    space = Space(**fields)
    found = compositions(space, 0, None, size)
    assert len(found) == len(space)
    assert set(found) == expected
    assert len(expected) == len(found)


@settings(max_examples=50)
@given(spaces(), st.integers(1, 7), st.integers(1, 40))
def test_shards_and_places_are_the_whole(drawn, n, size):
    unchecked, expected = drawn
    if not expected:
        return
    space = Space(**unchecked.model_dump())
    whole = compositions(space)
    shards = [space.shard(i, n) for i in range(1, n + 1)]
    parts = [found for shard in shards for found in compositions(space, shard.start, shard.stop, size)]
    assert parts == whole
    assert {len(shard) for shard in shards} <= {len(space) // n, len(space) // n + 1}


def test_order_is_as_documented():
    space = Space(elements="S,Cs,Pb", n_elements="1..2", max_atoms=3)
    formulas = [formula for batch in space.batches() for formula in batch.formulas()]
    pairs = [("Cs", "Pb"), ("Cs", "S"), ("Pb", "S")]
    forms = ["{}{}", "{}{}2", "{}2{}"]
    assert formulas == ["Cs", "Pb", "S", *(form.format(*pair) for pair in pairs for form in forms)]


def test_the_order_of_elements_given_changes_nothing():
    first = Space(elements="Cu,Zn,S", max_atoms=5)
    assert first == Space(elements=["S", "Zn", "Cu"], max_atoms=5)
    assert first.model_dump_json() == Space(elements="S Zn Cu", max_atoms=5).model_dump_json()
    assert Space(**first.model_dump()) == first


def test_batches_are_arrays_of_whole_amounts():
    batch = next(Space(elements="Cu,Zn,Sn,S,Se", n_elements=4).batches())
    assert batch.numbers.shape == batch.amounts.shape
    assert (batch.numbers.dtype, batch.amounts.dtype) == (np.uint8, np.int32)
    assert (np.gcd.reduce(batch.amounts, axis=1) == 1).all()


def test_anonymous_formulas_in_every_order():
    space = Space(elements="Cs,Pb,I", anonymous="A2B,A2B4")
    assert len(space) == 3 * 2  # A2B4 is AB2, which is A2B
    perovskites = Space(anonymous="ABX3", cations="Cs,Rb,Pb", anions="Cl,Br,I")
    found = compositions(perovskites)
    assert len(found) == len(set(found)) == len(perovskites) == (3 * 3 + 3 * 3) * 3
    assert {("Cs", 1), ("Pb", 1), ("I", 3)} in found
    assert len(Space(elements="Cs,Pb,I,O", anonymous=["ABX3", "AB2"])) == 4 * 3 + 6 * 2


def test_anions_alone_make_the_rest_cations():
    space = Space(elements="Cu,Zn,S,Se", anions="S,Se", n_elements=2, max_atoms=2)
    assert set(compositions(space)) == {
        frozenset({(c, 1), (a, 1)}) for c, a in product(["Cu", "Zn"], ["S", "Se"])
    }


def test_an_element_may_be_both():
    space = Space(cations="Na,S", anions="S,O", n_elements=2, max_atoms=2)
    systems = {frozenset(symbol for symbol, _ in found) for found in compositions(space)}
    assert systems == {frozenset(pair) for pair in [("Na", "S"), ("Na", "O"), ("S", "O")]}


def test_elements_that_no_one_wants_come_only_when_named():
    pool = Space(required="Li", anions="Ar", max_atoms=3).pool
    assert "Ar" in pool
    assert not {"Pm", "He", "Po"} & pool


def test_a_vast_space_costs_nothing():
    space = Space(n_elements="2..6", max_atoms=20)
    assert len(space) > 10**13
    last = compositions(space, len(space) - 3, None)
    assert len(set(last)) == 3
    middle = len(space) // 2
    assert compositions(space, middle, middle + 10) == compositions(space, middle - 5, middle + 10, 4)[5:]


def test_numbers_against_the_sum_over_divisors():
    quaternary = Space(elements=SYMBOLS[1:41], n_elements=3, max_atoms=12)
    amounts = sum(gcd(a, b, c) == 1 for a, b, c in product(range(1, 11), repeat=3) if a + b + c <= 12)
    assert len(quaternary) == 40 * 39 * 38 // 6 * amounts


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"elements": "Cu,Xx"}, "'Xx' is not a chemical element"),
        ({"elements": "Cu", "n_elements": "2..3"}, "no formula"),
        ({"elements": "Cu,S", "n_elements": "4..2"}, "n_elements: 4..2"),
        ({"elements": "Cu,S", "n_elements": "few"}, "number of elements"),
        ({"elements": "Cu,S", "n_elements": "2..40"}, "within 1..10"),
        ({"elements": "Cu,S", "max_atoms": 1}, "no formula"),
        ({"elements": "Cu,S", "max_atoms": 0}, "max_atoms"),
        ({"elements": "Cu,S", "anonymous": "ABX0"}, "not a formula type"),
        ({"elements": "Cu,S,O", "anonymous": "ABX3", "max_atoms": 4}, "5 atoms"),
        ({"elements": "Cu,S,O", "anonymous": "ABX3", "n_elements": 2}, "3 elements"),
        ({"elements": "Cu,Zn", "cations": "Cs", "anions": "I"}, "Cu, Zn neither cation nor anion"),
        ({"required": "Li,O,S,P,Cl", "n_elements": "2..4"}, "no formula"),
        ({"n_elements": "2..10", "max_atoms": 60}, "too many stoichiometries"),
        ({"n_elements": 10, "max_atoms": 25, "elements": SYMBOLS[1:]}, "too many"),
        ({"element": "Cu"}, "did you mean elements"),
    ],
)
def test_what_is_no_space_is_reported(fields, told):
    with pytest.raises(InputError, match=told):
        build(Space, fields, "space")


def test_shards_are_numbered_from_one():
    space = Space(elements="Cu,S", max_atoms=4)
    for i, n in [(0, 2), (3, 2), (1, 0)]:
        with pytest.raises(InputError, match="shard"):
            space.shard(i, n)


@pytest.mark.parametrize("k", [2, 3])
def test_elements_stand_as_formulas_are_written(k):
    space = Space(n_elements=k, max_atoms=k)
    for batch in space.batches():
        again, wrong = CompositionBatch.of(batch.formulas())
        assert not wrong
        assert (again.numbers == batch.numbers).all()
        assert (again.amounts == batch.amounts).all()


def test_batches_of_a_part_are_those_of_the_whole() -> None:
    space = build(Space, {"elements": "Cu,Zn,Sn,S,Na", "n_elements": "2..3", "max_atoms": 8}, "space")

    def ends(start: int, stop: int) -> list[int]:
        lengths = [len(batch) for batch in space.batches(start, stop, 64)]
        return (start + np.cumsum(lengths)).tolist()

    whole = ends(0, len(space))
    assert ends(150, 700) == [end for end in whole if 150 < end < 700] + [700]
