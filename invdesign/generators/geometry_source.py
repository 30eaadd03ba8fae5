"""First geometries for a gene: inherited from known crystals of the same skeleton, else sampled."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from invdesign.artifacts import find
from invdesign.crystal.elements import ATOMIC_NUMBER, element_table, volume_estimate
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import realise
from invdesign.data.tokens import LETTERS, TokenSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from invdesign.crystal.gene import Gene

    Array = NDArray[np.float64]

# Two atoms closer than this share of the sum of their covalent radii are not tried.
_CLOSEST = 0.75
_ATTEMPTS = 40
# Beyond this many orbits on one letter, they are matched in order of electronegativity.
_PERMUTED = 4
_SIMILARITY = (
    "electronegativity",
    "covalent_radius",
    "ionic_radius",
    "mendeleev",
    "max_oxidation",
    "min_oxidation",
)


@cache
def element_distance() -> Array:
    """(104, 104) how unlike elements are: Euclidean in standardised size, electronegativity, valence."""
    table = element_table()
    columns = np.stack([table[name] for name in _SIMILARITY], axis=1)
    columns = (columns - columns[1:].mean(axis=0)) / columns[1:].std(axis=0)
    return np.linalg.norm(columns[:, None] - columns[None], axis=-1)  # type: ignore[no-any-return]


class GeometrySource:
    """Proposes geometries from a library of known crystals.

    Args:
        library: genes and geometries of known crystals.
    """

    def __init__(self, library: TokenSet) -> None:
        self.library = library
        keys = [
            f"{group}:{''.join(LETTERS[w] for w in letters if w)}"
            for group, letters in zip(library.space_group, library.letters, strict=True)
        ]
        self.by_skeleton: dict[str, list[int]] = {}
        for i, key in enumerate(keys):
            self.by_skeleton.setdefault(key, []).append(i)

    @classmethod
    def load(cls, name: str | Path = "geometries") -> GeometrySource:
        """The released library, or a folder with a ``geometries.npz``.

        Raises:
            InputError: no such folder or file.
        """
        return cls(TokenSet.load(find("models", name, needs=("geometries.npz",)) / "geometries.npz"))

    def propose(self, gene: Gene, n: int, seed: int | Sequence[int]) -> list[tuple[Geometry, str]]:
        """Up to ``n`` geometries, best first, each with where it came from.

        Inherited ones come from the known crystals with the same space group and letters whose elements
        are most alike, cell rescaled to the estimated volume; the rest are sampled. A gene with no
        freedom but the cell's size has one geometry.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        if gene.n_free == 0 and gene.space_group >= 195:
            n = 1
        inherited = self._inherited(gene, n)
        sampled = [(self._sampled(gene, rng), "sampled") for _ in range(n - len(inherited))]
        return inherited + sampled

    def _inherited(self, gene: Gene, n: int) -> list[tuple[Geometry, str]]:
        rows = np.array(self.by_skeleton.get(gene.skeleton, []), dtype=int)
        if not len(rows):
            return []
        distance, order = self._match(gene, rows)
        chosen: list[tuple[Geometry, str]] = []
        for k in np.argsort(distance, kind="stable")[:n]:
            parent = int(rows[k])
            known = self.library.geometry(parent)
            volume = volume_estimate(gene.composition) / volume_estimate(
                self.library.gene(parent).composition
            )
            a, b, c, *angles = known.lattice
            scale = volume ** (1 / 3)
            lattice = (a * scale, b * scale, c * scale, angles[0], angles[1], angles[2])
            free = tuple(known.free[int(j)] for j in order[k])
            chosen.append((Geometry(lattice, free), f"inherited from {self.library.ids[parent]}"))
        return chosen

    def _match(self, gene: Gene, rows: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
        """Per known crystal: unlikeness per orbit, and which of its orbits each of the gene's takes over."""
        unlike = element_distance()
        wanted = np.array([ATOMIC_NUMBER[element] for element, _ in gene.orbits])
        known = self.library.elements[rows][:, : len(wanted)]
        total = np.zeros(len(rows))
        order = np.zeros((len(rows), len(wanted)), dtype=int)
        letters = np.array([letter for _, letter in gene.orbits])
        electronegativity = element_table()["electronegativity"]
        for letter in np.unique(letters):
            block = np.flatnonzero(letters == letter)
            if len(block) <= _PERMUTED:
                options = np.array(list(permutations(range(len(block)))))  # (p, k)
                cost = unlike[wanted[block][None, None], known[:, block][:, options]].sum(axis=2)  # (n, p)
                best = options[cost.argmin(axis=1)]
            else:
                ours = electronegativity[wanted[block]].argsort(kind="stable").argsort(kind="stable")
                best = electronegativity[known[:, block]].argsort(axis=1, kind="stable")[:, ours]
            order[:, block] = block[best]
            total += unlike[wanted[block][None], np.take_along_axis(known[:, block], best, axis=1)].sum(
                axis=1
            )
        return total / len(wanted), order

    def _sampled(self, gene: Gene, rng: np.random.Generator) -> Geometry:
        """Cell shape of a random crystal of the group, estimated volume, atoms kept apart."""
        multiplicity = gene.n_atoms
        same_group = np.flatnonzero(self.library.space_group == gene.space_group)
        shape = self.library.lattice[int(rng.choice(same_group))] if len(same_group) else _default_shape(gene)
        best: tuple[float, Geometry] | None = None
        for _ in range(_ATTEMPTS):
            volume = volume_estimate(gene.composition) * rng.uniform(1.0, 1.2)
            free = tuple(tuple(rng.random(size)) for size in _free_sizes(gene))
            unit = Geometry(tuple(float(x) for x in shape), free)  # type: ignore[arg-type]
            crystal = realise(gene, unit)
            scale = (volume / crystal.volume) ** (1 / 3)
            lattice = (*(float(x) * scale for x in shape[:3]), *(float(x) for x in shape[3:]))
            geometry = Geometry(lattice, free)
            crystal.scale_lattice(volume)
            closest = _closest(crystal.lattice.matrix, crystal.frac_coords, np.array(crystal.atomic_numbers))
            if best is None or closest > best[0]:
                best = (closest, geometry)
            if closest > _CLOSEST or multiplicity == 1:
                break
        assert best is not None  # noqa: S101 - _ATTEMPTS is positive
        return best[1]


def _free_sizes(gene: Gene) -> list[int]:
    from invdesign.crystal.wyckoff import wyckoff_table

    table = wyckoff_table(gene.space_group)
    return [len(table[letter].free) for _, letter in gene.orbits]


def _default_shape(gene: Gene) -> Array:
    """A cell of the group's crystal system for groups that the library lacks."""
    if gene.space_group >= 195:
        return np.array([5.0, 5.0, 5.0, 90.0, 90.0, 90.0])
    if gene.space_group >= 143:
        return np.array([5.0, 5.0, 8.0, 90.0, 90.0, 120.0])
    if gene.space_group >= 75:
        return np.array([5.0, 5.0, 7.0, 90.0, 90.0, 90.0])
    beta = 90.0 if gene.space_group >= 16 or gene.space_group <= 2 else 105.0
    return np.array([5.0, 6.0, 7.0, 90.0, beta, 90.0])


def _closest(lattice: Array, fractional: Array, numbers: NDArray[np.int64]) -> float:
    """Shortest distance between two atoms, in sums of their covalent radii."""
    radius = element_table()["covalent_radius"][numbers]
    cells = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T  # (27, 3)
    gap = fractional[:, None] - fractional[None]
    gap -= np.round(gap)
    distance = np.linalg.norm((gap[:, :, None] + cells) @ lattice, axis=-1)  # (n, n, 27)
    distance[distance < 1e-6] = np.inf
    return float((distance.min(axis=2) / (radius[:, None] + radius[None])).min())
