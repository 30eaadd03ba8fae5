"""What a potential is here: energies, forces and stresses of a batch of crystals, with named failures.

Units: eV, eV/Å, eV/Å³. Stress is ``dE/dstrain / volume`` (ASE's sign: positive when the cell wants to
shrink). Cell rows are lattice vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pymatgen.core import Structure

_NeighbourList: TypeAlias = Any  # vesin's, untyped

# Outside these bounds a neighbour list is either useless or does not fit into memory.
MIN_VOLUME_PER_ATOM = 2.0  # Å³; the densest known solids have 5
MAX_VOLUME_PER_ATOM = 1000.0  # Å³
MIN_CELL_HEIGHT = 1.0  # Å
MIN_DISTANCE = 0.4  # Å; half the bond of H2


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
        InputError: the structure is disordered.
    """
    if not structure.is_ordered:
        msg = f"structure {structure.composition.reduced_formula} is disordered; give an ordered cell."
        raise InputError(msg)
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
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, frames: Sequence[Frame]) -> Evaluation:
        """All nan, to be filled in."""
        n = len(frames)
        return cls(
            np.full(n, np.nan), [np.full((len(f), 3), np.nan) for f in frames], np.full((n, 3, 3), np.nan)
        )


@runtime_checkable
class Potential(Protocol):
    """Anything that turns crystals into energies, forces and stresses."""

    @property
    def name(self) -> str:
        """Name and version: what ``run.json`` and calibrations are keyed by."""
        ...

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that it knows."""
        ...

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> Evaluation:
        """Evaluate a batch; a crystal that cannot be evaluated is named in ``failures``, never raised."""
        ...


def as_frames(crystals: Iterable[Structure | Frame]) -> list[Frame]:
    """Frames of a mixed batch."""
    return [crystal if isinstance(crystal, Frame) else frame_of(crystal) for crystal in crystals]


def unknown_elements(potential: Potential, numbers: np.ndarray) -> list[str]:
    """Symbols among ``numbers`` that the potential was not trained on."""
    from pymatgen.core import Element

    symbols = {Element.from_Z(int(z)).symbol for z in np.unique(numbers)}
    return sorted(symbols - potential.elements)


def geometry_fault(frame: Frame) -> str | None:
    """Why no potential should see this geometry, or None.

    Catches what would crash or flood a neighbour list: NaN, a collapsed or exploded cell.
    """
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
        return "positions or cell are not finite"
    if len(frame) == 0:
        return "the cell holds no atoms"
    volume = frame.volume
    per_atom = volume / len(frame)
    if not MIN_VOLUME_PER_ATOM <= per_atom <= MAX_VOLUME_PER_ATOM:
        return f"{per_atom:.3g} Å³ per atom is outside {MIN_VOLUME_PER_ATOM:g} to {MAX_VOLUME_PER_ATOM:g}"
    areas = np.linalg.norm(np.cross(frame.cell[[1, 2, 0]], frame.cell[[2, 0, 1]]), axis=1)
    if (height := volume / areas.max()) < MIN_CELL_HEIGHT:
        return f"the cell is flat ({height:.2f} Å between opposite faces)"
    return None


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
    if len(distances) and (shortest := distances.min()) < MIN_DISTANCE:
        msg = f"two atoms are {shortest:.2f} Å apart"
        raise ValueError(msg)
    lonely = len(frame) - len(np.union1d(first, second))
    if lonely:
        msg = f"{lonely} of {len(frame)} atoms have no neighbour within {cutoff:g} Å"
        raise ValueError(msg)
    return Pairs(first, second, vectors, distances, shifts)


@lru_cache
def _neighbour_list(cutoff: float) -> _NeighbourList:
    import vesin  # type: ignore[import-untyped]

    return vesin.NeighborList(cutoff=cutoff, full_list=False, n_threads=1)


def micro_batches(
    potential: Potential, frames: Sequence[Frame], cutoff: float, max_edges: int, failures: dict[int, str]
) -> Iterator[tuple[list[int], list[Pairs]]]:
    """Cut a batch into passes of a model, each with its neighbour lists.

    Args:
        potential: names itself and its elements in the failures.
        frames: the batch.
        cutoff: of the neighbour list, Å.
        max_edges: directed edges of one pass (a larger crystal is a pass alone).
        failures: filled in: what must not reach the model, by index.

    Yields:
        Indices into ``frames`` and their pairs.
    """
    members: list[int] = []
    pairs: list[Pairs] = []
    edges = 0
    for index, frame in enumerate(frames):
        fault = geometry_fault(frame)
        if fault is None and (unknown := unknown_elements(potential, frame.numbers)):
            fault = f"{potential.name} does not know {', '.join(unknown)}"
        if fault is None:
            try:
                found = neighbour_pairs(frame, cutoff)
            except ValueError as error:
                fault = str(error)
        if fault is not None:
            failures[index] = fault
            continue
        if members and edges + 2 * len(found.first) > max_edges:
            yield members, pairs
            members, pairs, edges = [], [], 0
        members.append(index)
        pairs.append(found)
        edges += 2 * len(found.first)
    if members:
        yield members, pairs


@lru_cache(maxsize=4)
def load_potential(name: str = "chgnet") -> Potential:
    """A potential by name, loaded once per process (workers call this, potentials are not pickled).

    Args:
        name: ``chgnet`` (embedded default, CHGNet 0.3.0), the path of a matgl folder
            (``model.json, model.pt, state.pt``), or a matgl model's name on the Hugging Face hub.

    Raises:
        InputError: no such potential, an incomplete folder, a model that this matgl evaluates wrongly,
            matgl not installed, or a hub name with no connection.
    """
    if name in {"chgnet", "chgnet-0.3.0"}:
        from invdesign.validators.chgnet_potential import CHGNetPotential

        return CHGNetPotential()
    from invdesign.validators.matgl_potential import load_matgl

    return load_matgl(name)
