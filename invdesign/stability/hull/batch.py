"""The hull at many compositions at once: the linear programs of :mod:`.hull` as arrays.

A phase of the composition itself is left out, so that a known compound is treated as a novel one. Energies
are without the ``overcorrection`` of anions: the models that see them learned from such ones.
All programs of a batch pivot together and solved ones drop out: 16 µs for a ternary, 5 where a batch shares
its systems, compared with 200 one by one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from invdesign.composition.batch import CompositionBatch
from invdesign.crystal.elements import SYMBOLS
from invdesign.stability.hull.hull import ChemicalSystems, Hull

_TOLERANCE = 1e-9  # eV/atom by which a phase must undercut the hull to enter the basis
_SAME = 1e-6  # distance of atomic fractions below which two compositions are one
_ABSENT = 1e3  # eV/atom of what takes no part
_MOST_PIVOTS = 200
_SHED = 0.3  # share of solved programs from which it pays to copy the others
_MOST_CELLS = 300_000  # of the arrays (programs, elements, phases) of a chunk: they stay in the cache


@dataclass(frozen=True, slots=True)
class Competitors:
    """Competing phases of each of n compositions; phases of the composition itself are left out.

    Attributes:
        energy: of the best mixture of other phases, eV/atom, (n,).
        n_phases: other compounds in the chemical system and within it, (n,).
        n_full: those of them with all its elements, (n,).
        nearest: least distance to another compound, half the sum of the differences of atomic fractions;
            1 where there is none, (n,).
        pure: share of atoms that the best mixture leaves as elements, (n,).
    """

    energy: NDArray[np.float64]
    n_phases: NDArray[np.int64]
    n_full: NDArray[np.int64]
    nearest: NDArray[np.float64]
    pure: NDArray[np.float64]


class HullBatch:
    """A hull's phases by chemical system, ready for batches."""

    def __init__(self, hull: Hull, kept: NDArray[np.bool_] | None = None) -> None:
        """Take the phases of a hull; only those that are ``kept`` (m,), where it is given."""
        rows = slice(None) if kept is None else kept
        self._numbers = hull.numbers[rows]
        self._fractions = hull.fractions[rows]
        self._costs = np.where(hull.competing, hull.energies, _ABSENT)[rows]
        self._n_elements = (self._numbers > 0).sum(axis=1)
        self._systems = ChemicalSystems(self._numbers)

    def competitors(self, batch: CompositionBatch) -> Competitors:
        """Find the competing phases of compositions."""
        n, amounts = len(batch), batch.amounts
        found = Competitors(np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64), np.ones(n), np.ones(n))
        n_elements = (amounts > 0).sum(axis=1)
        numbers = batch.numbers.astype(np.int64)
        fractions = amounts / amounts.sum(axis=1, keepdims=True)
        for k in np.unique(n_elements).tolist():
            rows = np.flatnonzero(n_elements == k)
            if k > 1:
                self._of_size(numbers[rows, :k], fractions[rows, :k], rows, found)
        return found

    def _of_size(
        self,
        numbers: NDArray[np.int64],
        goals: NDArray[np.float64],
        rows: NDArray[np.int64],
        found: Competitors,
    ) -> None:
        """Compositions of k elements each, (n, k): fill in ``rows`` of ``found``."""
        k = numbers.shape[1]
        order = np.argsort(numbers, axis=1)
        numbers, goals = np.take_along_axis(numbers, order, 1), np.take_along_axis(goals, order, 1)
        systems, which = np.unique(numbers, axis=0, return_inverse=True)
        which = which.ravel()
        members = [self._systems.within(system) for system in systems.tolist()]
        sizes = np.array([len(indices) for indices in members])
        by_size = np.argsort(sizes[which], kind="stable")
        start = 0
        while start < len(by_size):
            most = max(256, _MOST_CELLS // (k * (k + int(sizes[which[by_size[-1]]]))))
            stop = min(start + most, len(by_size))
            chunk = by_size[start:stop]
            used, system = np.unique(which[chunk], return_inverse=True)
            matrix, costs, full = self._columns(systems[used], [members[i] for i in used.tolist()])
            part = _around(matrix[system], costs[system], full[system], goals[chunk])
            for name in Competitors.__slots__:
                getattr(found, name)[rows[chunk]] = getattr(part, name)
            start = stop

    def _columns(
        self, systems: NDArray[np.int64], members: list[list[int]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Phases of s systems: fractions (s, k, k + m), costs and "has all elements" (s, k + m).

        The first k are the elements; systems with fewer phases than the largest are padded.
        """
        s, k = systems.shape
        sizes = np.array([len(indices) for indices in members])
        flat = np.array([index for indices in members for index in indices], dtype=np.intp)
        owner = np.repeat(np.arange(s), sizes)
        place = k + np.arange(len(flat)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        width = k + int(sizes.max(initial=0))
        costs = np.full((s, width), 2 * _ABSENT)
        costs[:, :k] = 0.0
        costs[owner, place] = self._costs[flat]
        full = np.zeros((s, width), dtype=bool)
        full[owner, place] = self._n_elements[flat] == k
        row_of = np.full((s, len(SYMBOLS)), k)
        np.put_along_axis(row_of, systems, np.arange(k)[None], axis=1)
        matrix = np.zeros((s, k + 1, width))
        matrix[:, :k, :k] = np.eye(k)
        where = row_of[owner[:, None], self._numbers[flat]]
        matrix[owner[:, None], where, place[:, None]] = self._fractions[flat]
        return matrix[:, :k], costs, full


def _around(
    columns: NDArray[np.float64],
    costs: NDArray[np.float64],
    full: NDArray[np.bool_],
    goals: NDArray[np.float64],
) -> Competitors:
    """Find the competing phases of n compositions, each with its phases (n, k, w), (n, w); goals (n, k)."""
    k = goals.shape[1]
    distance = np.abs(columns[:, 0] - goals[:, 0, None])  # element by element: no array of all
    for row in range(1, k):
        distance += np.abs(columns[:, row] - goals[:, row, None])
    distance /= 2
    same = distance < _SAME
    exists = (costs < 2 * _ABSENT) & ~same
    exists[:, :k] = False
    energy, pure = lowest_mixtures(columns, np.where(same, _ABSENT, costs), goals)
    return Competitors(
        energy,
        exists.sum(axis=1),
        (exists & full).sum(axis=1),
        np.where(exists, distance, 1.0).min(axis=1),
        pure,
    )


def lowest_mixtures(
    columns: NDArray[np.float64], costs: NDArray[np.float64], goals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve many of the hull's linear programs by the primal simplex method, all pivoting together.

    Args:
        columns: atomic fractions of the phases, (n, k, w); the first k are the elements.
        costs: formation energies, (n, w); 0 of the elements.
        goals: atomic fractions, (n, k).

    Returns:
        Lowest energies, eV/atom, and shares of atoms in pure elements, each (n,).
    """
    n, k = goals.shape
    energy, pure = np.zeros(n), np.ones(n)
    left = np.arange(n)
    basis = np.tile(np.arange(k), (n, 1))
    inverse = np.tile(np.eye(k), (n, 1, 1))
    shares = goals.copy()
    solved = np.zeros(n, dtype=bool)  # of those left: answered, and pivoting on in vain
    for pivot in range(_MOST_PIVOTS):
        at = np.arange(len(left))
        price = (np.take_along_axis(costs, basis, 1)[:, None] @ inverse)[:, 0]  # (n, k)
        reduced = costs - (price[:, None] @ columns)[:, 0]
        bland = pivot > _MOST_PIVOTS // 2  # Bland's rule cannot cycle
        entering = (reduced < -_TOLERANCE).argmax(1) if bland else reduced.argmin(1)
        done = ~solved & ((reduced[at, entering] >= -_TOLERANCE) | (pivot == _MOST_PIVOTS - 1))
        energy[left[done]] = (np.take_along_axis(costs, basis, 1) * shares)[done].sum(1)
        pure[left[done]] = np.where(basis < k, shares, 0.0)[done].sum(1)
        solved |= done
        if solved.all():
            break
        if solved.mean() > _SHED:
            kept = ~solved
            left, basis, inverse, shares = left[kept], basis[kept], inverse[kept], shares[kept]
            columns, costs, entering, solved = columns[kept], costs[kept], entering[kept], solved[kept]
            at = at[: len(left)]
        direction = (inverse @ columns[at, :, entering][:, :, None])[:, :, 0]
        ratios = np.where(direction > 1e-10, shares / np.where(direction > 1e-10, direction, 1.0), np.inf)
        step = ratios.min(axis=1)
        ties = ratios <= step[:, None] + 1e-12
        leaving = np.where(ties, basis if bland else -direction, np.inf).argmin(axis=1)
        shares = np.maximum(shares - step[:, None] * direction, 0.0)
        shares[at, leaving] = step
        row = inverse[at, leaving] / direction[at, leaving][:, None]
        inverse = inverse - direction[:, :, None] * row[:, None]
        inverse[at, leaving] = row
        basis[at, leaving] = entering
    return energy, pure
