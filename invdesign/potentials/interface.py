"""What a potential is here: energies, forces and stresses of a batch of crystals, with named failures.

Units: eV, eV/Å, eV/Å³. Stress is ``dE/dstrain / volume`` (ASE's sign: positive when the cell wants to
shrink). Cell rows are lattice vectors.
"""

from __future__ import annotations

import gc
import warnings
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from invdesign.errors import InputError
from invdesign.potentials.geometry_checks import MIN_DISTANCE, check_shortest, geometry_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pymatgen.core import Structure

_NeighbourList: TypeAlias = Any  # vesin's, untyped

MAX_CHARGE = 0.5  # e per cell; averages such as Fe2.667+ in a file do not add up to 0 exactly
LAST_ATOMIC_NUMBER = 118
# How torch says it, besides numpy's and Python's MemoryError: CUDA's allocator, the CPU's, cuBLAS.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True)
class Frame:
    """The bare arrays of one crystal, as the potentials and the optimiser pass them.

    Attributes:
        numbers: atomic numbers, (n,) int64.
        positions: Cartesian, (n, 3) Å.
        cell: rows are lattice vectors, (3, 3) Å.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray

    def __len__(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Cell volume, Å³ (never negative)."""
        return abs(float(np.linalg.det(self.cell)))


def frame_of(structure: Structure) -> Frame:
    """The arrays of a pymatgen structure.

    Raises:
        InputError: the structure is disordered or charged.
    """
    formula = structure.composition.reduced_formula
    if not structure.is_ordered:
        raise InputError(f"structure {formula} is disordered; give an ordered cell.")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # pymatgen's, about charges that are not the sum of its oxidation states
        charge = structure.charge
    if abs(charge) > MAX_CHARGE:
        raise InputError(f"structure {formula} has a charge of {charge:+g} e; give a neutral cell.")
    return Frame(
        np.array(structure.atomic_numbers, dtype=np.int64),
        np.array(structure.cart_coords, dtype=float).reshape(-1, 3),
        np.array(structure.lattice.matrix, dtype=float),
    )


@dataclass(slots=True)
class Evaluation:
    """What a potential says of a batch of n crystals.

    Attributes:
        energy: eV per cell, (n,); nan where the evaluation failed.
        forces: eV/Å, one (n_atoms, 3) array a crystal; nan where it failed.
        stress: eV/Å³, (n, 3, 3); nan where it failed.
        failures: sentence by index of the crystal that could not be evaluated.
        embeddings: features of the crystals, (n, d) float32, nan where the evaluation failed; None of a
            potential that has none.
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    embeddings: np.ndarray | None = None

    @classmethod
    def empty(cls, frames: Sequence[Frame]) -> Evaluation:
        """All nan, to be filled in."""
        n = len(frames)
        return cls(
            np.full(n, np.nan), [np.full((len(f), 3), np.nan) for f in frames], np.full((n, 3, 3), np.nan)
        )

    def store(self, index: int, name: str, energy: float, forces: np.ndarray, stress: np.ndarray) -> None:
        """What the potential ``name`` found for one crystal; a failure where that is not finite."""
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            self.failures[index] = f"{name} returned an energy, force or stress that is not finite"
            return
        self.energy[index], self.forces[index], self.stress[index] = energy, forces, stress


@runtime_checkable
class Potential(Protocol):
    """Anything that turns crystals into energies, forces and stresses."""

    @property
    def name(self) -> str:
        """Name and version: what ``run.json`` and calibrations are keyed by."""
        ...

    @property
    def digest(self) -> str:
        """Hash of the weights; empty where there are none."""
        ...

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that it knows."""
        ...

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> Evaluation:
        """Evaluate a batch; a crystal that cannot be evaluated is named in ``failures``, never raised."""
        ...


def as_frames(crystals: Iterable[Structure | Frame], failures: dict[int, str] | None = None) -> list[Frame]:
    """Frames of a mixed batch.

    Args:
        crystals: structures or frames.
        failures: filled in by index with the structures that are none (disordered, charged); a frame
            without atoms stands for them.

    Raises:
        InputError: a structure is disordered or charged, and there are no ``failures`` to name it in.
    """
    frames = []
    for index, crystal in enumerate(crystals):
        try:
            frames.append(crystal if isinstance(crystal, Frame) else frame_of(crystal))
        except InputError as error:
            if failures is None:
                raise
            failures[index] = str(error)
            frames.append(Frame(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.eye(3)))
    return frames


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


def neighbour_pairs(frame: Frame, cutoff: float) -> Pairs:
    """Half neighbour list by vesin (a C library: 0.1 ms for ten atoms at 6 Å).

    Raises:
        ValueError: two atoms are closer than ``MIN_DISTANCE``, or an atom has no neighbour.
    """
    i, j, vectors, distances, shifts = _neighbour_list(cutoff).compute(
        points=frame.positions, box=frame.cell, periodic=True, quantities="ijDdS"
    )
    first, second = i.astype(np.int64), j.astype(np.int64)
    check_shortest(distances)
    lonely = len(frame) - len(np.union1d(first, second))
    if lonely:
        raise ValueError(f"{lonely} of {len(frame)} atoms have no neighbour within {cutoff:g} Å")
    return Pairs(first, second, vectors, distances, shifts)


def check_overlap(frame: Frame) -> None:
    """For potentials that list neighbours themselves.

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


class Passes:
    """Cuts batches into passes of a model: as many crystals at once as fit into memory.

    A pass that runs out of memory is cut in two and tried again, so that nothing is lost; later passes
    are then no larger than what fitted.

    Example:
        >>> passes = Passes("chgnet-0.3.0", elements, cutoff=6.0, max_edges=6_000)  # doctest: +SKIP
        >>> passes.run(frames, compute, failures)  # doctest: +SKIP

    Attributes:
        max_edges: directed edges of one pass (a larger crystal is a pass alone); shrinks when memory runs
            out, for as long as this object lives.
    """

    def __init__(self, name: str, elements: frozenset[str], cutoff: float, max_edges: int) -> None:
        """Nothing is computed yet.

        Args:
            name: of the potential, for the failures.
            elements: symbols that it knows.
            cutoff: of its neighbour list, Å.
            max_edges: directed edges of one pass.
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
        compute: Callable[[list[int], list[Pairs]], None],
        failures: dict[int, str],
    ) -> None:
        """Hand every crystal that a model may see to ``compute``, with its neighbours.

        Args:
            frames: the batch.
            compute: evaluates one pass and stores what it finds: takes indices into ``frames`` and their
                pairs. It is called again with fewer crystals if it runs out of memory; every other
                exception of it is raised.
            failures: filled in by index: geometries and elements that must not reach the model, and a
                crystal that does not fit into memory alone.
        """
        crystals = self._with_pairs(frames, failures)
        waiting: deque[tuple[int, Pairs]] = deque()
        while members := self._take(waiting, crystals):
            indices, pairs = [k for k, _ in members], [p for _, p in members]
            if _fits(compute, indices, pairs):
                continue
            edges = sum(map(_n_edges, pairs))
            if len(members) == 1:
                words = f"{len(frames[indices[0]])} atoms with {edges} neighbours do not fit into memory"
                failures[indices[0]] = words
                continue
            self.max_edges = min(self.max_edges, edges // 2)
            waiting.extendleft(reversed(members))

    def _take(
        self, waiting: deque[tuple[int, Pairs]], crystals: Iterator[tuple[int, Pairs]]
    ) -> list[tuple[int, Pairs]]:
        """The next pass: from ``waiting`` first; what does not fit any more goes back there."""
        members: list[tuple[int, Pairs]] = []
        edges = 0
        while (crystal := waiting.popleft() if waiting else next(crystals, None)) is not None:
            edges += _n_edges(crystal[1])
            if members and edges > self.max_edges:
                waiting.appendleft(crystal)
                break
            members.append(crystal)
        return members

    def _with_pairs(self, frames: Sequence[Frame], failures: dict[int, str]) -> Iterator[tuple[int, Pairs]]:
        """Sound crystals and their neighbours; fills in ``failures`` with the others."""
        for found in (self._strangers(frames), geometry_faults(frames)):
            failures.update({k: fault for k, fault in found.items() if k not in failures})
        for index, frame in enumerate(frames):
            if index in failures:
                continue
            try:
                pairs = neighbour_pairs(frame, self._cutoff)
            except ValueError as error:
                failures[index] = str(error)
            else:
                yield index, pairs

    def _strangers(self, frames: Sequence[Frame]) -> dict[int, str]:
        """Crystals with elements that the potential does not know."""
        from pymatgen.core import Element

        strangers = {}
        for index, frame in enumerate(frames):
            if not self._known[frame.numbers].all():
                unknown = np.unique(frame.numbers[~self._known[frame.numbers]]).tolist()
                symbols = sorted(Element.from_Z(z).symbol for z in unknown)
                strangers[index] = f"{self._name} does not know {', '.join(symbols)}"
        return strangers


def _n_edges(pairs: Pairs) -> int:
    """Directed edges: every pair is one each way."""
    return 2 * len(pairs.first)


def _fits(compute: Callable[[list[int], list[Pairs]], None], indices: list[int], pairs: list[Pairs]) -> bool:
    """Compute one pass; False, with the memory given back, if it ran out of memory."""
    try:
        compute(indices, pairs)
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


@lru_cache(maxsize=4)
def load_potential(name: str = "chgnet") -> Potential:
    """A potential by name, loaded once per process (workers call this, potentials are not pickled).

    Args:
        name: ``chgnet`` (embedded default, CHGNet 0.3.0); the path of a matgl folder
            (``model.json, model.pt, state.pt``); a matgl model's name on the Hugging Face hub, which
            ``NAME@REVISION`` pins; or ``ase:MODULE:CALLABLE``, what makes an ASE calculator, for example
            ``ase:ase.calculators.emt:EMT`` or ``ase:mace.calculators:mace_mp``.

    Raises:
        InputError: no such potential, an incomplete folder, a model that this matgl evaluates wrongly,
            matgl not installed, a hub name with no connection, or no ASE calculator with stresses there.
    """
    if name in {"chgnet", "chgnet-0.3.0"}:
        from invdesign.potentials.chgnet.potential import CHGNetPotential

        return CHGNetPotential()
    if name.startswith("ase:"):
        from invdesign.potentials.ase import load_ase

        return load_ase(name)
    from invdesign.potentials.matgl.potential import load_matgl

    return load_matgl(name)
