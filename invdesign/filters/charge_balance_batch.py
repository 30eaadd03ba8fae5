"""Charge balance of many compositions at once, by the rules of :class:`ChargeRules`.

The total charges that a composition's cations reach are the bits of one 64-bit word, bit q for charge q;
those of its anions another. Adding an element's options is a shift and an or, and a common bit is a neutral
assignment. With the elements sorted by electronegativity the cations are a prefix, the anions the rest.
Where no bit is common but charges beyond 63 could meet, the composition is searched by itself.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.assignment import Assignment, assigned
from invdesign.composition.batch import CompositionBatch
from invdesign.composition.oxidation_state_arrays import (
    BITS,
    ChargeCode,
    Flags,
    Ints,
    Words,
    element_arrays,
)
from invdesign.composition.oxidation_states import ChargeRules, OxidationTables, likeliest, oxidation_tables
from invdesign.composition.plainly_usual import plainly_usual
from invdesign.crystal.elements import SYMBOLS
from invdesign.filters.charge_balance import rarest_share
from invdesign.filters.metallicity import metallic

CHUNK = 4096  # compositions whose words stay in cache
_DEFAULT = ChargeRules()


def charge_verdicts(batch: CompositionBatch, rules: ChargeRules = _DEFAULT) -> NDArray[np.int8]:
    """Check compositions: a :class:`ChargeCode` each, (n,).

    Raises:
        InputError: the rules name no set of oxidation states.
    """
    search = _Search(oxidation_tables(rules), rules)
    codes = np.zeros(len(batch), dtype=np.int8)
    for start in range(0, len(batch), CHUNK):
        rows = slice(start, start + CHUNK)
        codes[rows] = search.codes(batch.numbers[rows], batch.amounts[rows].astype(np.int64))
    return codes


def words_of(found: Iterable[Assignment | None]) -> NDArray[np.object_]:
    """Return the words of what :func:`searched_states` found, (n,): usual, unusual or none."""
    return np.array(["usual" if one is None else one.word for one in found], dtype=object)


def searched_states(batch: CompositionBatch) -> NDArray[np.object_]:
    """Return the likeliest oxidation states of each composition, None where they are plainly usual, (n,)."""
    found = np.full(len(batch), None, dtype=object)
    rows = np.flatnonzero(~plainly_usual(batch))
    found[rows] = assigned_states(batch.take(rows))
    return found


def assigned_states(batch: CompositionBatch) -> NDArray[np.object_]:
    """Return the likeliest oxidation states (:class:`Assignment`) of each composition, (n,)."""
    found = np.empty(len(batch), dtype=object)
    found[:] = [assigned(_amounts(z, n)) for z, n in zip(batch.numbers, batch.amounts, strict=True)]
    return found


def likeliest_states(
    batch: CompositionBatch, codes: NDArray[np.int8], rules: ChargeRules = _DEFAULT
) -> tuple[list[str], NDArray[np.float64]]:
    """Return the likeliest states of compositions, as ``charge_balance`` words them.

    Args:
        batch: compositions (n).
        codes: their :class:`ChargeCode` (:func:`charge_verdicts`).
        rules: those of the codes.

    Returns:
        Texts such as ``Cs1+ Pb2+ I1-`` and the share of an element's ICSD reports of the rarest state
        used, (n,); no text and nan for what is not balanced by states.
    """
    tables = oxidation_tables(rules)
    texts, shares = [""] * len(batch), np.full(len(batch), np.nan)
    for code, suffix in ((ChargeCode.NEUTRAL, ""), (ChargeCode.MIXED_VALENCE, ", mixed valence")):
        for row in np.flatnonzero(codes == code).tolist():
            some = _amounts(batch.numbers[row], batch.amounts[row])
            if found := likeliest(tables, some, mixed=bool(suffix), ordered=rules.use_pauling_test):
                texts[row], shares[row] = f"{found}{suffix}", rarest_share(tables, found)
    return texts, shares


def _amounts(numbers: NDArray[np.uint8], amounts: NDArray[np.integer[Any]]) -> dict[str, int]:
    """Atoms by symbol of a composition (k,)."""
    return {SYMBOLS[z]: n for z, n in zip(numbers.tolist(), amounts.tolist(), strict=True) if z}


class _Search:
    """Which compositions have a neutral assignment."""

    def __init__(self, tables: OxidationTables, rules: ChargeRules) -> None:
        self.tables, self.rules, self.elements = tables, rules, element_arrays(tables)

    def codes(self, numbers: NDArray[np.uint8], amounts: Ints) -> NDArray[np.int8]:
        """As :func:`charge_verdicts`, of one chunk (n, k)."""
        elements, rules = self.elements, self.rules
        single = (numbers > 0).sum(axis=1) == 1
        alloy = elements.metal[numbers].all(axis=1) & rules.include_alloys
        unknown = ~elements.known[numbers].all(axis=1)
        unscaled = np.isnan(elements.scale[numbers]).any(axis=1) & rules.use_pauling_test
        metals = np.zeros(len(numbers), dtype=bool)
        if rules.check_metallicity:
            metals = metallic(numbers, amounts, rules.metallicity_threshold)
        codes = np.select(
            [single, alloy, metals, unknown, unscaled],
            [
                ChargeCode.SINGLE_ELEMENT,
                ChargeCode.INTERMETALLIC,
                ChargeCode.METALLIC,
                ChargeCode.UNKNOWN_STATES,
                ChargeCode.NO_ELECTRONEGATIVITY,
            ],
            ChargeCode.NOT_NEUTRAL,
        ).astype(np.int8)
        rows = np.flatnonzero(codes == ChargeCode.NOT_NEUTRAL)
        order = np.argsort(elements.rank[numbers[rows]], axis=1, kind="stable")
        numbers = np.take_along_axis(numbers[rows], order, axis=1)
        amounts = np.take_along_axis(amounts[rows], order, axis=1)
        codes[rows] = self._searched(numbers, amounts)
        return codes

    def _searched(self, numbers: NDArray[np.uint8], amounts: Ints) -> NDArray[np.int8]:
        """Codes of compositions whose elements all have states, by electronegativity."""
        ordered = self.rules.use_pauling_test
        codes = np.zeros(len(numbers), dtype=np.int8)
        mixing = self._mixing(numbers, amounts)
        tries = [(ChargeCode.NEUTRAL, ordered), (ChargeCode.MIXED_VALENCE, ordered)]
        if ordered:
            tries += [(ChargeCode.AGAINST_ELECTRONEGATIVITY, False)] * 2
        for place, (code, in_order) in enumerate(tries):
            mixed = place % 2 == 1
            open_rows = (codes == ChargeCode.NOT_NEUTRAL) & (mixing | (not mixed))
            rows = np.flatnonzero(open_rows)
            found = self._neutral(numbers[rows].T, amounts[rows].T, mixed=mixed, ordered=in_order)
            codes[rows[found]] = code
        return codes

    def _mixing(self, numbers: NDArray[np.uint8], amounts: Ints) -> Flags:
        """Which compositions may take several states of one element, (n,)."""
        elements, limit = self.elements, self.rules.mixed_valence_combinations
        mixed = elements.mixed[numbers]
        mixing = mixed.any(axis=1) & self.rules.mixed_valence
        if limit is not None:
            with np.errstate(over="ignore"):
                products = (elements.n_states[numbers] ** np.where(mixed, amounts, 1)).prod(axis=1)
            mixing = mixing & (products <= limit)
        return np.asarray(mixing)

    def _neutral(self, numbers: NDArray[np.uint8], amounts: Ints, *, mixed: bool, ordered: bool) -> Flags:
        """Whether compositions (k, n) have a neutral assignment, (n,)."""
        in_words = self._ordered if ordered else self._unordered
        found, beyond = in_words(np.ascontiguousarray(numbers), np.ascontiguousarray(amounts), mixed=mixed)
        for row in np.flatnonzero(beyond).tolist():
            some = _amounts(numbers[:, row], amounts[:, row])
            found[row] = likeliest(self.tables, some, mixed=mixed, ordered=ordered) is not None
        return found

    def _ordered(self, numbers: NDArray[np.uint8], amounts: Ints, *, mixed: bool) -> tuple[Flags, Flags]:
        """Which are neutral by charges up to 63, and which others might be by larger ones."""
        words, few = self.elements.words[int(mixed)], np.minimum(amounts, BITS)
        up, down = words[0][numbers, few], words[1][numbers, few]
        k, n = numbers.shape
        after = [np.ones(n, dtype=np.uint64)]  # charges of the anions from each place on
        for place in range(k - 1, 0, -1):
            after.append(sums(after[-1], down[place]))
        after.reverse()
        scale = self.elements.scale[numbers]
        cuts = [scale[place - 1] < scale[place] for place in range(1, k)] + [np.ones(n, dtype=bool)]
        found, before = np.zeros(n, dtype=bool), np.ones(n, dtype=np.uint64)
        for place in range(k):
            before = sums(before, up[place])
            found |= cuts[place] & ((before & after[place]) != 0)
        most_up = (self.elements.furthest[0][numbers] * amounts).cumsum(axis=0)
        most_down = (self.elements.furthest[1][numbers] * amounts)[::-1].cumsum(axis=0)[::-1]
        beyond = np.zeros(n, dtype=bool)
        for place in range(k - 1):
            beyond |= cuts[place] & (np.minimum(most_up[place], most_down[place + 1]) >= BITS)
        return found, beyond & ~found

    def _unordered(self, numbers: NDArray[np.uint8], amounts: Ints, *, mixed: bool) -> tuple[Flags, Flags]:
        """As :meth:`_ordered` with states of any sign: sums of charges above each element's lowest state."""
        words = self.elements.words[int(mixed)][2][numbers, np.minimum(amounts, BITS)]
        total = words[0]
        for word in words[1:]:
            total = sums(total, word)
        target = -(self.elements.furthest[2][numbers] * amounts).sum(axis=0)
        within = (target >= 0) & (target < BITS)
        found = within & ((total >> np.clip(target, 0, BITS - 1).astype(np.uint64)) & np.uint64(1) == 1)
        return found, target >= BITS


def sums(a: Words, b: Words) -> Words:
    """Bits of every sum of a bit of a word and one of another, (n,); sums beyond 63 are dropped."""
    total = np.zeros_like(a)
    while b.any():
        lowest = b & -b
        total |= a * lowest  # a shifted left; nothing where b has no bits left
        b = b ^ lowest
    return total
