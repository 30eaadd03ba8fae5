"""What batched potentials share: neighbour lists, micro-batches that fit into memory, geometry checks.

A potential that evaluates several crystals at once derives from :class:`BatchedPotential` and writes one
method. ``tests/plugins/lennard_jones`` is a complete one.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from invdesign.potentials.geometry_checks import MIN_DISTANCE, check_shortest, geometry_faults
from invdesign.potentials.interface import LAST_ATOMIC_NUMBER, Frame, PotentialOutput, as_frames

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from torch import Tensor

_NeighbourList: TypeAlias = Any  # vesin's, untyped

# Messages of torch, besides numpy's and Python's MemoryError: CUDA's allocator, the CPU's, cuBLAS.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Half neighbour list of one crystal: every pair once, periodic images included.

    Attributes:
        first, second: atom indices, (m,).
        vectors: from ``first`` to ``second``, (m, 3) Å.
        distances: (m,) Å.
        shifts: lattice vectors added to ``second``, (m, 3) int.
    """

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    distances: np.ndarray
    shifts: np.ndarray

    @property
    def n_edges(self) -> int:
        """Return the number of directed edges, two a pair."""
        return 2 * len(self.first)


def neighbour_pairs(frame: Frame, cutoff: float) -> Pairs:
    """List neighbours with vesin (a C library: 0.1 ms for ten atoms at 6 Å).

    Raises:
        ValueError: two atoms are closer than ``MIN_DISTANCE``, or an atom has no neighbour.
    """
    i, j, vectors, distances, shifts = _neighbour_list(cutoff).compute(
        points=frame.positions, box=frame.cell, periodic=True, quantities="ijDdS"
    )
    first, second = i.astype(np.int64), j.astype(np.int64)
    check_shortest(distances)
    isolated = len(frame) - len(np.union1d(first, second))
    if isolated:
        raise ValueError(f"{isolated} of {len(frame)} atoms have no neighbour within {cutoff:g} Å")
    return Pairs(first, second, vectors, distances, shifts)


def check_overlap(frame: Frame) -> None:
    """Check distances for potentials that list neighbours themselves.

    Raises:
        ValueError: two atoms are closer than ``MIN_DISTANCE``.
    """
    (distances,) = _neighbour_list(MIN_DISTANCE).compute(
        points=frame.positions, box=frame.cell, periodic=True, quantities="d"
    )
    check_shortest(distances)


@lru_cache
def _neighbour_list(cutoff: float) -> _NeighbourList:
    import vesin  # type: ignore[import-untyped]

    return vesin.NeighborList(cutoff=cutoff, full_list=False, n_threads=1)


@dataclass(frozen=True, slots=True)
class CrystalBatch:
    """Several crystals as one list of atoms and one of pairs.

    Attributes:
        frames: the n crystals.
        numbers: atomic numbers, (atoms,).
        crystal: index of the crystal, (atoms,).
        first, second: atom indices in the batch, (m,); every pair once.
        vectors: from ``first`` to ``second``, (m, 3) Å.
        distances: (m,) Å.
        shifts: lattice vectors added to ``second``, (m, 3) int.
    """

    frames: Sequence[Frame]
    numbers: np.ndarray
    crystal: np.ndarray
    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    distances: np.ndarray
    shifts: np.ndarray

    @classmethod
    def join(cls, frames: Sequence[Frame], pairs: Sequence[Pairs]) -> CrystalBatch:
        """Join crystals and their neighbour lists."""
        sizes = np.array([len(frame) for frame in frames])
        offsets = np.cumsum(sizes) - sizes
        return cls(
            frames,
            np.concatenate([frame.numbers for frame in frames]),
            np.repeat(np.arange(len(frames)), sizes),
            np.concatenate([p.first + o for p, o in zip(pairs, offsets, strict=True)]),
            np.concatenate([p.second + o for p, o in zip(pairs, offsets, strict=True)]),
            np.concatenate([p.vectors for p in pairs]),
            np.concatenate([p.distances for p in pairs]),
            np.concatenate([p.shifts for p in pairs]),
        )

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.frames)

    @property
    def volumes(self) -> np.ndarray:
        """Return the cell volumes, (n,) Å³."""
        return np.array([frame.volume for frame in self.frames])

    def by_crystal(self, rows: np.ndarray) -> list[np.ndarray]:
        """Split rows of atoms (atoms, …) into one array per crystal."""
        return np.split(rows, np.cumsum([len(frame) for frame in self.frames])[:-1])


class BatchResult(NamedTuple):
    """What a potential computes of a :class:`CrystalBatch` of n crystals.

    Attributes:
        energies: eV per cell, (n,).
        forces: eV/Å, (atoms, 3); None where only energies were asked for.
        stresses: eV/Å³, (n, 3, 3), symmetric; likewise.
        embeddings: features of the crystals, (n, d).
    """

    energies: np.ndarray
    forces: np.ndarray | None = None
    stresses: np.ndarray | None = None
    embeddings: np.ndarray | None = None


class BatchedPotential(ABC):
    """Base class of potentials that evaluate several crystals at once.

    A subclass sets the attributes and writes :meth:`compute`. Structures that cannot be evaluated never
    reach it, and a batch that does not fit into memory is cut in two.

    Attributes:
        name: name and version: the key of ``run.json`` and of calibrations.
        digest: hash of the weights; empty where there are none.
        elements: symbols of the elements that it supports.
        cutoff: of the neighbour list, Å.
        max_edges: limit of directed edges in one call of :meth:`compute` (a larger crystal comes alone).
        embedding_size: features of a crystal; 0 without.
    """

    name: str
    digest: str = ""
    elements: frozenset[str]
    cutoff: float
    max_edges: int = 6_000
    embedding_size: int = 0

    @abstractmethod
    def compute(self, batch: CrystalBatch) -> BatchResult:
        """Compute energies, forces and stresses of some crystals that fit into memory together."""

    def compute_energies(self, batch: CrystalBatch) -> BatchResult:
        """Compute energies (and embeddings) alone; to be overridden where this is cheaper."""
        return self.compute(batch)._replace(forces=None, stresses=None)

    @cached_property
    def batcher(self) -> MicroBatcher:
        """Return what cuts batches; it remembers what fitted into memory."""
        return MicroBatcher(self.name, self.elements, self.cutoff, self.max_edges)

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> PotentialOutput:
        """Evaluate energies (eV), forces (eV/Å) and stresses (eV/Å³); failures are named by index."""
        return self._evaluate(crystals, self.compute)

    def evaluate_energies(self, crystals: Sequence[Structure | Frame]) -> PotentialOutput:
        """Evaluate energies (eV) and embeddings alone; forces and stresses are nan."""
        return self._evaluate(crystals, self.compute_energies)

    def _evaluate(
        self, crystals: Sequence[Structure | Frame], compute: Callable[[CrystalBatch], BatchResult]
    ) -> PotentialOutput:
        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        output = PotentialOutput.empty(frames, self.embedding_size)
        output.failures = failures

        def run(members: list[int], batch: CrystalBatch) -> None:
            result = compute(batch)
            if result.embeddings is not None:
                output.embeddings[members] = result.embeddings
            if result.forces is None or result.stresses is None:
                output.energy[members] = result.energies
                return
            rows = zip(
                members, result.energies, batch.by_crystal(result.forces), result.stresses, strict=True
            )
            for index, energy, forces, stress in rows:
                output.store(index, self.name, energy, forces, stress)

        self.batcher.run(frames, run, failures)
        for k in np.flatnonzero(~np.isfinite(output.energy)).tolist():
            output.energy[k], output.embeddings[k] = np.nan, np.nan
            failures.setdefault(k, f"{self.name} returned an energy that is not finite")
        return output


class MicroBatcher:
    """Cuts batches into micro-batches: as many crystals at once as fit into memory.

    A micro-batch that runs out of memory is cut in two and tried again, so that nothing is lost; later ones
    are then no larger than what fitted.

    Example:
        >>> batcher = MicroBatcher("chgnet-0.3.0", elements, cutoff=6.0, max_edges=6_000)  # doctest: +SKIP
        >>> batcher.run(frames, compute, failures)  # doctest: +SKIP

    Attributes:
        max_edges: directed edges of one micro-batch (a larger crystal comes alone); shrinks when memory runs
            out, for as long as this object lives.
    """

    def __init__(self, name: str, elements: frozenset[str], cutoff: float, max_edges: int) -> None:
        """Take the limits.

        Args:
            name: of the potential, for the failures.
            elements: symbols that it supports.
            cutoff: of its neighbour list, Å.
            max_edges: directed edges of one micro-batch.
        """
        from pymatgen.core import Element

        self.max_edges = max_edges
        self._name = name
        self._cutoff = cutoff
        self._known = np.zeros(LAST_ATOMIC_NUMBER + 1, dtype=bool)
        self._known[[Element(symbol).Z for symbol in elements]] = True

    def run(
        self,
        frames: Sequence[Frame],
        compute: Callable[[list[int], CrystalBatch], None],
        failures: dict[int, str],
    ) -> None:
        """Call ``compute`` for all crystals that can be evaluated, with their neighbours.

        Args:
            frames: the crystals.
            compute: evaluates one micro-batch and stores the results; takes indices into ``frames`` and the
                crystals. It is called again with fewer crystals if it runs out of memory; every other
                exception of it is raised.
            failures: gets, by index, the reason for geometries and elements that must not reach the model,
                and for a crystal that does not fit into memory alone.
        """
        for found in (self._unknown_elements(frames), geometry_faults(frames)):
            failures.update({k: fault for k, fault in found.items() if k not in failures})
        crystals = self._with_pairs(frames, failures)
        waiting: deque[tuple[int, Pairs]] = deque()
        while members := self._take(waiting, crystals):
            indices, pairs = [k for k, _ in members], [p for _, p in members]
            chosen = [frames[k] for k in indices]
            if _fits(compute, indices, chosen, pairs):
                continue
            edges = sum(p.n_edges for p in pairs)
            if len(members) == 1:
                failures[indices[0]] = (
                    f"{len(chosen[0])} atoms with {edges} neighbours do not fit into memory"
                )
                continue
            self.max_edges = min(self.max_edges, edges // 2)
            waiting.extendleft(reversed(members))

    def _take(
        self, waiting: deque[tuple[int, Pairs]], crystals: Iterator[tuple[int, Pairs]]
    ) -> list[tuple[int, Pairs]]:
        """Take the next micro-batch, from ``waiting`` first; what exceeds the limit goes back there."""
        members: list[tuple[int, Pairs]] = []
        edges = 0
        while (crystal := waiting.popleft() if waiting else next(crystals, None)) is not None:
            edges += crystal[1].n_edges
            if members and edges > self.max_edges:
                waiting.appendleft(crystal)
                break
            members.append(crystal)
        return members

    def _with_pairs(self, frames: Sequence[Frame], failures: dict[int, str]) -> Iterator[tuple[int, Pairs]]:
        """Yield crystals that have not failed, with their neighbours; add to ``failures``."""
        for index, frame in enumerate(frames):
            if index in failures:
                continue
            try:
                pairs = neighbour_pairs(frame, self._cutoff)
            except ValueError as error:
                failures[index] = str(error)
            else:
                yield index, pairs

    def _unknown_elements(self, frames: Sequence[Frame]) -> dict[int, str]:
        from pymatgen.core import Element

        failures = {}
        for index, frame in enumerate(frames):
            if not self._known[frame.numbers].all():
                unknown = np.unique(frame.numbers[~self._known[frame.numbers]]).tolist()
                symbols = sorted(Element.from_Z(z).symbol for z in unknown)
                failures[index] = f"{self._name} does not know {', '.join(symbols)}"
        return failures


def _fits(
    compute: Callable[[list[int], CrystalBatch], None],
    members: list[int],
    frames: list[Frame],
    pairs: list[Pairs],
) -> bool:
    """Compute one micro-batch; return False, with the memory released, if it ran out of memory."""
    try:
        compute(members, CrystalBatch.join(frames, pairs))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(w in str(error) for w in OUT_OF_MEMORY):
            raise
    else:
        return True
    import torch

    # only here: inside the except clause the traceback still holds the tensors
    gc.collect()
    torch.cuda.empty_cache()
    return False


def forces_and_stresses(
    batch: CrystalBatch, first: Tensor, second: Tensor, vectors: Tensor, gradient: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the gradient by the pair vectors into forces and stresses, with torch.

    Args:
        batch: the crystals.
        first: where the pairs start, index of the atom, (m,).
        second: where they end.
        vectors: from ``first`` to ``second``, (m, 3) Å.
        gradient: dE/d(vector), (m, 3) eV/Å.

    Returns:
        Forces (atoms, 3), eV/Å, and symmetric stresses (n, 3, 3), eV/Å³.
    """
    forces = gradient.new_zeros(len(batch.numbers), 3)
    forces.index_add_(0, first, gradient).index_add_(0, second, -gradient)
    outer = vectors.detach()[:, :, None] * gradient[:, None, :]
    crystal = first.new_tensor(batch.crystal)[first]
    virials = gradient.new_zeros(len(batch), 3, 3).index_add_(0, crystal, outer)
    stresses = ((virials + virials.mT) / 2).cpu().numpy() / batch.volumes[:, None, None]
    return forces.cpu().numpy(), stresses
