"""Allocation of a campaign's relaxations to several generators, by the yield of each so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ROUNDS = 4  # the last is allotted by what the others yielded
FLOOR = 0.25  # of an equal share, that every generator gets


@dataclass(frozen=True, slots=True)
class GeneratorYield:
    """Yield of a generator so far.

    Attributes:
        relaxed: candidates that were relaxed.
        passed: how many of them came under the hull's limit.
        waiting: candidates that may still be relaxed.
    """

    relaxed: int
    passed: int
    waiting: int

    @property
    def rate(self) -> float:
        """Candidates under the limit per relaxation, by Laplace's rule of succession."""
        return (self.passed + 1) / (self.relaxed + 2)


def rounds(n: int, generators: int) -> list[int]:
    """Relaxations of each round: one round for one generator, else ``ROUNDS`` of like size."""
    count = ROUNDS if generators > 1 else 1
    ends = [n * i // count for i in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


def allot(n: int, yields: Sequence[GeneratorYield]) -> list[int]:
    """Relaxations for each generator in the next round: ``n`` in all, fewer where not so many wait.

    Everyone gets ``FLOOR`` of an equal share and of the rest a part in proportion to its rate, in whole
    numbers by largest remainder; what one has no candidates for goes to the others.
    """
    shares = [0] * len(yields)
    while (left := min(n, sum(given.waiting for given in yields)) - sum(shares)) > 0:
        able = [i for i, record in enumerate(yields) if record.waiting > shares[i]]
        total = sum(yields[i].rate for i in able)
        exact = [left * (FLOOR / len(able) + (1 - FLOOR) * yields[i].rate / total) for i in able]
        whole = [int(part) for part in exact]
        order = sorted(range(len(able)), key=lambda k: whole[k] - exact[k])  # stable: ties go to the first
        for k in order[: left - sum(whole)]:
            whole[k] += 1
        for i, part in zip(able, whole, strict=True):
            shares[i] = min(yields[i].waiting, shares[i] + part)
    return shares
