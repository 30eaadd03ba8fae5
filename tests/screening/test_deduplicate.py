from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.screening.deduplicate import SeenKeys

keys = st.one_of(st.integers(1, 20), st.integers(1, 2**64 - 1))


@settings(max_examples=300)
@given(st.lists(st.lists(keys, max_size=30), max_size=10))
def test_as_a_set_would_say(batches):
    seen, before = SeenKeys(1024), set()
    for batch in batches:
        expected = []
        for key in batch:
            expected.append(key in before)
            before.add(key)
        assert seen.repeated(np.array(batch, dtype=np.uint64)).tolist() == expected
    assert seen.remembered == len(before)
    assert not seen.full


def test_when_full_what_is_remembered_still_counts():
    seen = SeenKeys(16)
    rng = np.random.default_rng(0)
    first, later = rng.integers(1, 2**63, (2, 12), dtype=np.uint64)
    assert not seen.repeated(first).any()
    assert seen.full
    assert not seen.repeated(later).any()
    assert not seen.repeated(later).any()  # nothing more is taken in
    assert seen.repeated(first).all()
    assert seen.remembered == 12


def test_many_keys_few_slots_left():
    seen = SeenKeys(2**12)
    many = np.random.default_rng(1).integers(1, 2**63, 5_000, dtype=np.uint64)
    assert not seen.repeated(many).any()
    assert seen.remembered == 3 * 2**10
    assert seen.repeated(many).sum() == 3 * 2**10
