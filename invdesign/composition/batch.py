"""Many compositions at once, as arrays: what screening reads, counts and evaluates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.formula import reduced_amounts, truncated_amounts
from invdesign.crystal.chemical_formula import POLYANIONS, chemical_formula, iupac_ranks
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table
from invdesign.errors import InputError

Numbers = NDArray[np.uint8]
Amounts = NDArray[np.int32]

MOST_ATOMS = 999
"""Largest amount of one element in a reduced formula."""
_DIGITS = 3
_LETTERS = 27  # a second letter or none


@dataclass(frozen=True, slots=True)
class CompositionBatch:
    """Reduced compositions (n), the elements of each by ascending Pauling electronegativity, as written.

    Attributes:
        numbers: atomic numbers, (n, k), 0 where padded.
        amounts: smallest whole numbers, (n, k), 0 where padded.
    """

    numbers: Numbers
    amounts: Amounts

    def __len__(self) -> int:
        """How many compositions."""
        return len(self.numbers)

    def take(self, rows: NDArray[np.generic] | slice) -> CompositionBatch:
        """Select some of the compositions, by index, mask or slice."""
        return CompositionBatch(self.numbers[rows], self.amounts[rows])

    @classmethod
    def of(
        cls, formulas: Sequence[str], *, truncate_fractions: bool = False
    ) -> tuple[CompositionBatch, dict[int, str]]:
        """Read formulas.

        Args:
            formulas: such as ``CuInS2``, ``Ca3(PO4)2``, ``Li0.5CoO2``.
            truncate_fractions: drop the fractions of amounts, as smact does
                (:class:`~invdesign.composition.oxidation_states.ChargeRules`).

        Returns:
            The compositions of the formulas that are ones, in order; what is wrong with the others, by index.
        """
        numbers, amounts, plain = plain_amounts(formulas)
        wrong: dict[int, str] = {}
        odd: dict[int, dict[str, int]] = {}
        read = truncated_amounts if truncate_fractions else reduced_amounts
        for row in np.flatnonzero(~plain).tolist():
            try:
                odd[row] = _checked(formulas[row], read(formulas[row]))
            except InputError as error:
                wrong[row] = str(error)
        width = max([numbers.shape[1], *map(len, odd.values())])
        numbers, amounts = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (numbers, amounts))
        for row, own in odd.items():
            numbers[row], amounts[row] = 0, 0
            numbers[row, : len(own)] = [ATOMIC_NUMBER[element] for element in own]
            amounts[row, : len(own)] = list(own.values())
        kept = np.ones(len(formulas), dtype=bool)
        kept[list(wrong)] = False
        return cls._written(numbers[kept], amounts[kept]), wrong

    @classmethod
    def _written(cls, numbers: NDArray[np.int64], amounts: NDArray[np.int64]) -> CompositionBatch:
        """With elements in order, amounts reduced and no column of padding alone."""
        order = np.argsort(_ranks()[0][numbers], axis=1, kind="stable")
        numbers, amounts = (np.take_along_axis(a, order, axis=1) for a in (numbers, amounts))
        divisor = np.gcd.reduce(amounts, axis=1) if len(amounts) else np.ones(0, dtype=np.int64)
        width = int((numbers > 0).sum(axis=1).max(initial=1))
        return cls(
            numbers[:, :width].astype(np.uint8), (amounts // divisor[:, None])[:, :width].astype(np.int32)
        )

    def counts(self) -> NDArray[np.float32]:
        """Amounts by atomic number, (n, 104)."""
        counts = np.zeros((len(self), len(SYMBOLS)), dtype=np.float32)
        np.put_along_axis(counts, self.numbers.astype(np.intp), self.amounts, axis=1)
        counts[:, 0] = 0
        return counts

    def formulas(self) -> list[str]:
        """Reduced formulas as chemists write them: ``CsPbI3``, ``Ca(OH)2``."""
        order = np.argsort(_ranks()[2][self.numbers], axis=1, kind="stable")
        numbers = np.take_along_axis(self.numbers, order, axis=1)
        amounts = np.take_along_axis(self.amounts, order, axis=1)
        texts = _texts(numbers, amounts, _piece_of_formula())
        for row in np.flatnonzero(self._may_have_units()).tolist():
            pairs = zip(numbers[row].tolist(), amounts[row].tolist(), strict=True)
            texts[row] = chemical_formula({SYMBOLS[z]: n for z, n in pairs if z})
        return texts

    def _may_have_units(self) -> NDArray[np.bool_]:
        """Which rows have a formula that elements and amounts in order do not give."""
        amount = {z: (self.amounts * (self.numbers == z)).sum(axis=1) for z in {*sum(POLYANIONS, ())}}
        kinds = (self.numbers > 0).sum(axis=1)
        found = kinds == 1
        for x, y, n in POLYANIONS:
            found |= (amount[x] > 0) & (amount[y] == n * amount[x])
        hydrogen, nitrogen, oxygen = (amount[z] for z in (1, 7, 8))
        ammonium, peroxide = (nitrogen > 0) & (hydrogen == 4 * nitrogen), (kinds == 2) & (oxygen == 1)
        return np.asarray(found | ammonium | peroxide)

    def keys(self) -> NDArray[np.uint64]:
        """Hash of each composition, (n,): ``text_hash`` of its ``composition_key``."""
        order = np.argsort(_ranks()[1][self.numbers], axis=1, kind="stable")
        numbers = np.take_along_axis(self.numbers, order, axis=1)
        texts = _texts(numbers, np.take_along_axis(self.amounts, order, axis=1), _piece_of_key())
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def _checked(formula: str, amounts: dict[str, int]) -> dict[str, int]:
    if max(amounts.values()) > MOST_ATOMS:
        raise InputError(
            f"formula: {formula!r} has more than {MOST_ATOMS} atoms of one element; give a smaller ratio."
        )
    return amounts


@lru_cache(maxsize=1)
def _ranks() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Places of the elements (104,) by electronegativity, symbol and IUPAC; the padding comes last."""
    scale = element_table()["electronegativity"]
    by_scale = sorted(range(1, len(SYMBOLS)), key=lambda number: (scale[number], SYMBOLS[number]))
    by_symbol = sorted(range(1, len(SYMBOLS)), key=SYMBOLS.__getitem__)
    by_iupac = sorted(range(1, len(SYMBOLS)), key=iupac_ranks().__getitem__)
    ranks = np.full((3, len(SYMBOLS)), 255, dtype=np.uint8)
    for row, order in zip(ranks, (by_scale, by_symbol, by_iupac), strict=True):
        row[order] = np.arange(len(order))
    return ranks[0], ranks[1], ranks[2]


class _Pieces(dict[int, str]):
    """Text of an element and its amount by ``number << 10 | amount``, made when first asked for."""

    def __init__(self, *, ones: bool) -> None:
        super().__init__()
        self.ones = ones

    def __missing__(self, code: int) -> str:
        number, amount = code >> 10, code & 1023
        shown = str(amount) if amount > 1 or self.ones else ""
        self[code] = SYMBOLS[number] + shown if number else ""
        return self[code]


@lru_cache(maxsize=1)
def _piece_of_formula() -> _Pieces:
    return _Pieces(ones=False)


@lru_cache(maxsize=1)
def _piece_of_key() -> _Pieces:
    return _Pieces(ones=True)


def _texts(numbers: Numbers, amounts: Amounts, pieces: _Pieces) -> list[str]:
    codes = (numbers.astype(np.int64) << 10) | amounts
    columns = [[pieces[code] for code in column] for column in codes.T.tolist()]
    return ["".join(row) for row in zip(*columns, strict=True)]


@lru_cache(maxsize=1)
def _symbol_codes() -> NDArray[np.int64]:
    """Atomic number by ``27 · (first letter - A) + (second letter - a + 1)``; 0 where there is none."""
    table = np.zeros(26 * _LETTERS, dtype=np.int64)
    for symbol, number in ATOMIC_NUMBER.items():
        second = ord(symbol[1]) - ord("a") + 1 if len(symbol) > 1 else 0
        table[(ord(symbol[0]) - ord("A")) * _LETTERS + second] = number
    return table


def plain_amounts(formulas: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers and amounts (n, k), in order of mention, of the formulas that are but elements and integers.

    Returns:
        The arrays, and which formulas they are right for (n,): the others have brackets, fractions, an
        element twice, amounts of zero or of more than three digits, or are no formulas.
    """
    texts = [
        text if isinstance(text, str) and text.isascii() and "\n" not in text else "?" for text in formulas
    ]
    data = np.frombuffer(("\n".join(texts) + "\n" * (_DIGITS + 3)).encode(), dtype=np.uint8).astype(np.int64)
    upper = (data >= ord("A")) & (data <= ord("Z"))
    lower = (data >= ord("a")) & (data <= ord("z"))
    digit = (data >= ord("0")) & (data <= ord("9"))
    owner = np.cumsum(data == ord("\n"))
    owner = np.concatenate([[0], owner[:-1]])  # the row of each character
    starts = np.flatnonzero(upper)
    two = lower[starts + 1]
    second = np.where(two, data[starts + 1] - ord("a") + 1, 0)
    number = _symbol_codes()[(data[starts] - ord("A")) * _LETTERS + second]
    place, amount = starts + 1 + two, np.zeros(len(starts), dtype=np.int64)
    used = np.ones(len(starts), dtype=bool)
    for _ in range(_DIGITS):
        used &= digit[place]
        amount = np.where(used, 10 * amount + data[place] - ord("0"), amount)
        place = place + used
    implied = place == starts + 1 + two
    amount[implied] = 1
    rows = owner[starts]
    n = len(texts)
    read = np.bincount(rows, place - starts, n)  # characters that the elements account for
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    broken = np.bincount(rows, (number == 0) | (amount == 0), n) > 0
    tokens = np.bincount(rows, minlength=n)
    width = int(tokens.max(initial=1)) if tokens.max(initial=1) <= len(SYMBOLS) else len(SYMBOLS)
    column = np.arange(len(starts)) - np.repeat(np.cumsum(tokens) - tokens, tokens)
    numbers, amounts = np.zeros((2, n, width), dtype=np.int64)
    fits = column < width
    numbers[rows[fits], column[fits]], amounts[rows[fits], column[fits]] = number[fits], amount[fits]
    in_order = np.sort(numbers, axis=1)
    twice = ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] > 0)).any(axis=1)
    plain = (tokens > 0) & (tokens <= width) & (read == lengths) & ~broken & ~twice
    return np.where(plain[:, None], numbers, 0), np.where(plain[:, None], amounts, 0), plain
