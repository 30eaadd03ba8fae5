"""smact's metallicity score of many compositions at once."""

from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.oxidation_states import oxidation_tables
from invdesign.crystal.elements import SYMBOLS

_ROUNDING = 1e-9  # of scores: nearer a threshold than this, smact itself is asked


class _Elements(NamedTuple):
    """By atomic number (104), zero for the padding; nan where smact has no value."""

    metal: NDArray[np.bool_]
    d_block: NDArray[np.bool_]
    valence: NDArray[np.float64]
    scale: NDArray[np.float64]


def metallic(numbers: NDArray[np.uint8], amounts: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
    """Whether ``smact.metallicity.metallicity_score`` reaches a threshold, (n,).

    Args:
        numbers: atomic numbers, (n, k), 0 where padded.
        amounts: atoms of each, (n, k).
        threshold: between 0 and 1.
    """
    from pymatgen.core import Composition
    from smact.metallicity import metallicity_score

    scores = metallicity(numbers, amounts)
    for row in np.flatnonzero(np.abs(scores - threshold) < _ROUNDING).tolist():
        pairs = zip(numbers[row].tolist(), amounts[row].tolist(), strict=True)
        scores[row] = metallicity_score(Composition({SYMBOLS[z]: n for z, n in pairs if z}))
    return scores >= threshold


def metallicity(numbers: NDArray[np.uint8], amounts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the score, (n,): metals, d metals, number of metals, valence electrons, electronegativities."""
    elements = _elements()
    present = numbers > 0
    atoms = amounts.sum(axis=1)
    n_metals = (elements.metal[numbers] & present).sum(axis=1)
    share, d_share = (
        (amounts * flag[numbers]).sum(axis=1) / atoms for flag in (elements.metal, elements.d_block)
    )
    valence = (amounts * elements.valence[numbers]).sum(axis=1) / atoms
    octet = np.where(np.isnan(valence), 0.5, 1.0 - np.abs(valence - 8.0) / 8.0)
    scale = elements.scale[numbers]
    pairs = list(combinations(range(numbers.shape[1]), 2))
    apart = np.zeros(len(numbers))
    for left, right in pairs:
        apart += np.where(present[:, right], np.abs(scale[:, left] - scale[:, right]), 0.0)
    kinds = present.sum(axis=1)
    unlike = np.minimum(apart / np.maximum(kinds * (kinds - 1) / 2, 1) / 3.0, 1.0)
    similar = np.where(np.isnan(scale).any(axis=1), 0.5, 1.0 - unlike)
    score = (
        0.3 * share + 0.2 * d_share + 0.2 * np.minimum(n_metals / 3.0, 1.0) + 0.15 * octet + 0.15 * similar
    )
    return np.asarray(np.clip(score, 0.0, 1.0))


@lru_cache(maxsize=1)
def _elements() -> _Elements:
    from smact import d_block, metals
    from smact.data_loader import lookup_element_valence_data

    symbols = SYMBOLS[1:]
    known = [lookup_element_valence_data(symbol) for symbol in symbols]
    scale = oxidation_tables().electronegativity
    return _Elements(
        metal=np.array([False, *(symbol in metals for symbol in symbols)]),
        d_block=np.array([False, *(symbol in d_block for symbol in symbols)]),
        valence=np.array([0.0, *(np.nan if element is None else element["NValence"] for element in known)]),
        scale=np.array([0.0, *(scale.get(symbol, np.nan) for symbol in symbols)]),
    )
