"""Splits that never put one compound on both sides."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from invdesign.composition.formula import composition_key
from invdesign.errors import InputError


def grouped_split(formulas: Sequence[str], fractions: Sequence[float], seed: int) -> list[np.ndarray]:
    """Return the indices of each part; formulas of the same reduced composition are in the same part.

    A compound's part follows from its composition and the seed alone, so that two data sets split with
    the same fractions and seed agree on every compound that they share, and adding rows moves none.
    Parts are therefore near the fractions, not exactly them.

    Args:
        formulas: one a row.
        fractions: share of compounds in each part; they add up to 1.
        seed: another seed, another split.

    Raises:
        InputError: fractions that do not add up to 1, or a formula that is none.
    """
    if min(fractions, default=-1.0) < 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise InputError(
            f"fractions: {list(fractions)} do not add up to 1; give shares such as 0.8, 0.1, 0.1."
        )
    places = {formula: _place(composition_key(formula), seed) for formula in set(formulas)}
    ends = np.cumsum(fractions)[:-1]
    parts = np.searchsorted(ends, np.array([places[formula] for formula in formulas]), side="right")
    return [np.flatnonzero(parts == part) for part in range(len(fractions))]


def _place(key: str, seed: int) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
