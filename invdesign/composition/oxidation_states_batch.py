"""The likeliest oxidation states of many neutral compositions at once.

As in :func:`invdesign.composition.oxidation_states.likeliest`, charges add up element by element, and of
the ways to one total charge the likeliest goes on; here the ways of all compositions of a batch go on
together.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.oxidation_state_arrays import ChargeCode, element_arrays
from invdesign.composition.oxidation_states import (
    Balance,
    ChargeRules,
    OxidationTables,
    charge_options,
    oxidation_tables,
)
from invdesign.crystal.elements import SYMBOLS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_CHUNK = 2048
_STRIDE = 1 << 20  # more than any total charge
_DEFAULT = ChargeRules()


def likeliest_states(
    batch: CompositionBatch, codes: NDArray[np.int8], rules: ChargeRules = _DEFAULT
) -> tuple[list[str], Floats]:
    """Return the likeliest states of compositions, as ``charge_balance`` words them.

    Args:
        batch: compositions (n).
        codes: their :class:`ChargeCode` (``charge_verdicts``).
        rules: those of the codes.

    Returns:
        Texts such as ``Cs1+ Pb2+ I1-`` and the share of an element's ICSD reports of the rarest state
        used, (n,); no text and nan for what is not balanced by states.
    """
    tables = oxidation_tables(rules)
    texts, shares = [""] * len(batch), np.full(len(batch), np.nan)
    kinds = (batch.numbers > 0).sum(axis=1)
    for code in (ChargeCode.NEUTRAL, ChargeCode.MIXED_VALENCE):
        for k in np.unique(kinds[codes == code]).tolist():
            rows = np.flatnonzero((codes == code) & (kinds == k))
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                numbers, amounts = batch.numbers[some, :k], batch.amounts[some, :k].astype(np.int64)
                mixed = code == ChargeCode.MIXED_VALENCE
                found = _Likeliest(tables, numbers, amounts, mixed=mixed, ordered=rules.use_pauling_test)
                for row, text in zip(some.tolist(), found.texts(), strict=True):
                    texts[row] = text
                shares[some] = found.shares()
    return texts, shares


class _Options(NamedTuple):
    """Total charges of some atoms of one element, by the likeliest states of each."""

    charges: tuple[int, ...]
    scores: tuple[float, ...]
    texts: tuple[str, ...]
    rarest: tuple[float, ...]  # log share of the rarest state


@lru_cache(maxsize=50_000)
def _options(tables: OxidationTables, number: int, atoms: int, sign: int, *, mixed: bool) -> _Options:
    symbol = SYMBOLS[number]
    found = charge_options(tables, symbol, atoms, sign, mixed=mixed and symbol in tables.mixed)
    return _Options(
        tuple(found),
        tuple(score for score, _ in found.values()),
        tuple(str(Balance(0.0, ((symbol, states),))) for _, states in found.values()),
        tuple(
            min((tables.states[symbol][state] for state, _ in states), default=0.0)
            for _, states in found.values()
        ),
    )


class _Ways(NamedTuple):
    """Ways (m) to total charges, one for each composition and charge, in this order."""

    row: Ints
    charge: Ints
    score: Floats
    chosen: Ints  # (m, elements so far): places in the list of options


class _Likeliest:
    """Compositions (n) of k elements each, all neutral."""

    def __init__(
        self,
        tables: OxidationTables,
        numbers: NDArray[np.uint8],
        amounts: Ints,
        *,
        mixed: bool,
        ordered: bool,
    ) -> None:
        elements = element_arrays(tables)
        order = np.argsort(elements.rank[numbers] if ordered else _by_symbol()[numbers], axis=1)
        self.numbers = np.take_along_axis(numbers, order, axis=1)
        self.amounts = np.take_along_axis(amounts, order, axis=1)
        self.tables, self.mixed = tables, mixed
        self.furthest = elements.furthest
        self.scale = elements.scale[self.numbers]
        self.kinds, self.kind = np.unique(
            self.numbers.astype(np.int64) * 4096 + self.amounts, return_inverse=True
        )
        self.kind = self.kind.reshape(self.numbers.shape)
        self.labels: list[str] = []
        self.rarest: list[float] = []
        self.best = self._ordered() if ordered else self._unordered()

    def texts(self) -> list[str]:
        """Return the ions of each composition."""
        labels = self.labels
        end = ", mixed valence" if self.mixed else ""
        return [" ".join([labels[i] for i in own]) + end for own in self.best.tolist()]

    def shares(self) -> Floats:
        """Share of the rarest state of each composition."""
        lowest = np.array(self.rarest)[self.best].min(axis=1)
        return np.array([round(math.exp(value), 6) for value in lowest.tolist()])

    def _ordered(self) -> Ints:
        """Return the likeliest options, (n, k), over every division into cations and anions."""
        k = self.numbers.shape[1]
        most = [self.furthest[side][self.numbers] * self.amounts for side in (0, 1)]
        limits = [np.maximum(most[1][:, 1:].clip(0).sum(axis=1), 0), most[0][:, :-1].clip(0).sum(axis=1)]
        up = self._sweep(1, list(range(k)), limits[0])
        down = self._sweep(-1, list(range(k - 1, -1, -1)), limits[1])
        rows, scores, chosen = [], [], []
        for cut in range(1, k + 1):
            before, after = up[cut], down[k - cut]
            ours, theirs = (ways.row * _STRIDE + ways.charge for ways in (before, after))
            _, left, right = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
            row = before.row[left]
            apart = np.ones(len(row), bool) if cut == k else self.scale[row, cut - 1] < self.scale[row, cut]
            left, right = left[apart], right[apart]
            rows.append(before.row[left])
            scores.append(before.score[left] + after.score[right])
            chosen.append(np.hstack([before.chosen[left], after.chosen[right]]))
        row, score = np.concatenate(rows), np.concatenate(scores)
        order = np.lexsort((-score, row))
        first = order[np.concatenate([[True], np.diff(row[order]) > 0])]
        return np.asarray(np.concatenate(chosen)[first])

    def _unordered(self) -> Ints:
        k = self.numbers.shape[1]
        ways = self._sweep(0, list(range(k)), np.full(len(self.numbers), _STRIDE))[k]
        return np.asarray(ways.chosen[ways.charge == 0])

    def _sweep(self, sign: int, places: list[int], limit: Ints) -> list[_Ways]:
        """Ways after 0, 1, ... of the elements; charges beyond the row's limit go no further."""
        n = len(self.numbers)
        start, count, charge, score, label = self._listed(sign)
        ways = _Ways(np.arange(n), np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros((n, 0), dtype=np.int64))
        swept = [ways]
        for place in places:
            kind = self.kind[ways.row, place]
            many = count[kind]
            way = np.repeat(np.arange(len(kind)), many)
            option = np.arange(len(way)) + np.repeat(start[kind] - (np.cumsum(many) - many), many)
            row, total = ways.row[way], ways.charge[way] + charge[option]
            kept = np.flatnonzero(total <= limit[row])
            way, option, row, total = way[kept], option[kept], row[kept], total[kept]
            scores = ways.score[way] + score[option]
            key = row * _STRIDE + total
            order = np.lexsort((-scores, key))
            distinct = np.ones(len(order), dtype=bool)
            distinct[1:] = np.diff(key[order]) > 0
            best = order[distinct]
            if sign < 0:  # from the last element on, told from the first
                chosen = np.column_stack([label[option[best]], ways.chosen[way[best]]])
            else:
                chosen = np.column_stack([ways.chosen[way[best]], label[option[best]]])
            ways = _Ways(row[best], total[best], scores[best], chosen)
            swept.append(ways)
        return swept

    def _listed(self, sign: int) -> tuple[Ints, Ints, Ints, Floats, Ints]:
        """Options of every kind of element and amount: first, number, charges, scores, labels."""
        found = [
            _options(self.tables, kind // 4096, kind % 4096, sign, mixed=self.mixed)
            for kind in self.kinds.tolist()
        ]
        count = np.array([len(own.charges) for own in found], dtype=np.int64)
        charge = np.array([charge for own in found for charge in own.charges], dtype=np.int64)
        score = np.array([score for own in found for score in own.scores], dtype=np.float64)
        label = len(self.labels) + np.arange(len(charge))
        self.labels += [text for own in found for text in own.texts]
        self.rarest += [value for own in found for value in own.rarest]
        return np.cumsum(count) - count, count, charge, score, label


@lru_cache(maxsize=1)
def _by_symbol() -> NDArray[np.uint8]:
    rank = np.empty(len(SYMBOLS), dtype=np.uint8)
    rank[sorted(range(len(SYMBOLS)), key=SYMBOLS.__getitem__)] = np.arange(len(SYMBOLS))
    return rank
