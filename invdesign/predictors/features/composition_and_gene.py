"""What the property models see of a composition, a gene or a structure: fixed-length number rows.

Everything works on many crystals at once (arrays), because pre-ranking sees thousands a second.
Composition features: element fractions; mean, mean deviation, minimum, maximum and range of the
element properties over the composition (Ward et al. 2016, doi:10.1038/npjcompumats.2016.28);
stoichiometry norms; and how nearly the elements' known oxidation states can balance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.composition.batch import plain_amounts
from invdesign.composition.formula import formula_amounts
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, atomic_number, element_table
from invdesign.crystal.gene import Gene
from invdesign.crystal.wyckoff import wyckoff_table
from invdesign.predictors.features.bonds import bond_matrix

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure


VERSION = 2
SYSTEM_BOUNDS = (1, 3, 16, 75, 143, 168, 195, 231)
"""First space group of each crystal system, and one past the last."""

MOST_BALANCED = 4
"""Elements beyond which charge balance is left unknown (assignments grow as states to the elements)."""

OPEN_SHELLS = frozenset(
    (
        *("V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb"),
        *("Dy", "Ho", "Er", "Tm", "Yb", "Pa", "U", "Np", "Pu", "Am", "Cm"),
    )
)
"""Elements whose ions may hold a moment, so that an odd number of electrons still may fill bands."""

_N_NUMBERS = len(SYMBOLS)
FRACTIONS = 2 * (_N_NUMBERS - 1)
"""The first features: shares of the single elements and their roots. Of a few thousand examples few hold an
element, and the columns of single elements tell a kernel little."""
_PROPERTIES = (
    *("number", "mass", "electronegativity", "covalent_radius", "atomic_radius", "ionic_radius"),
    *("group", "row", "mendeleev", "melting_point", "ionization_energy", "electron_affinity"),
    *("max_oxidation", "min_oxidation", "is_metal", "valence_s", "valence_p", "valence_d", "valence_f"),
)
_ORBIT_PROPERTIES = (
    *("electronegativity", "covalent_radius", "ionic_radius", "group", "row", "mendeleev"),
    *("max_oxidation", "min_oxidation", "is_metal"),
)


@lru_cache(maxsize=1)
def _properties() -> np.ndarray:
    """Element properties (104, p) as float32, logarithm of what spans decades."""
    table = element_table()
    columns = [np.log(np.maximum(table[n], 1.0)) if n == "melting_point" else table[n] for n in _PROPERTIES]
    return np.stack(columns, axis=1).astype(np.float32)


@lru_cache(maxsize=1)
def _oxidation_states() -> tuple[np.ndarray, np.ndarray]:
    """Usual oxidation states by atomic number (104, s), and how many (104,).

    Rows with fewer repeat their first, none is 0.
    """
    from pymatgen.core import Element

    states = [(0,), *(Element(symbol).common_oxidation_states or (0,) for symbol in SYMBOLS[1:])]
    widest = max(map(len, states))
    table = np.array([[*known, *known[:1] * (widest - len(known))] for known in states], dtype=np.float32)
    return table, np.array([len(known) for known in states])


def counts_of(compositions: Sequence[Composition | Mapping[str, float]]) -> np.ndarray:
    """Amounts by atomic number, (n, 104), of compositions (or mappings symbol → amount).

    Raises:
        InputError: an element beyond Lr.
    """
    counts = np.zeros((len(compositions), _N_NUMBERS), dtype=np.float32)
    for row, composition in enumerate(compositions):
        for element, amount in composition.items():
            counts[row, atomic_number(str(element))] += amount
    return counts


def composition_matrix(counts: np.ndarray) -> np.ndarray:
    """Composition features (n, d) of amounts by atomic number (n, 104)."""
    fractions = counts / counts.sum(axis=1, keepdims=True)
    present = counts > 0
    n_elements = present.sum(axis=1)
    widest = int(n_elements.max(initial=1))
    numbers = np.argsort(~present, axis=1, kind="stable")[:, :widest]  # (n, k)
    mask = np.take_along_axis(present, numbers, axis=1)
    share = np.take_along_axis(fractions, numbers, axis=1)  # (n, k), 0 where padded
    values = _properties()[numbers]  # (n, k, p)
    mean = np.einsum("nk,nkp->np", share, values)
    deviation = np.einsum("nk,nkp->np", share, np.abs(values - mean[:, None]))
    low = np.where(mask[..., None], values, np.inf).min(axis=1)
    high = np.where(mask[..., None], values, -np.inf).max(axis=1)
    norms = [np.power(np.power(share, p).sum(axis=1), 1 / p) for p in (2, 3, 5)]
    chi = values[..., _PROPERTIES.index("electronegativity")]
    ionic = _ionic_character(share, chi)
    parts = [
        fractions[:, 1:],
        np.sqrt(fractions[:, 1:]),
        mean,
        deviation,
        low,
        high,
        high - low,
        np.stack([n_elements, share.max(axis=1), *norms, ionic], axis=1),
        _imbalance(numbers, mask, share),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _ionic_character(share: np.ndarray, chi: np.ndarray) -> np.ndarray:
    """Pauling's ionic character averaged over the pairs of atoms of unlike elements, (n,)."""
    pair = share[:, :, None] * share[:, None, :]
    character = 1 - np.exp(-0.25 * (chi[:, :, None] - chi[:, None, :]) ** 2)
    return np.asarray((pair * character).sum(axis=(1, 2)))


def _imbalance(numbers: np.ndarray, mask: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Least charge per atom over one usual oxidation state an element, and the ionicity there.

    Returns:
        (n, 2): least |charge| and mean |state| of that assignment; nan beyond ``MOST_BALANCED`` elements.
    """
    result = np.full((len(numbers), 2), np.nan, dtype=np.float32)
    n_elements = mask.sum(axis=1)
    states, n_states = _oxidation_states()
    several = n_states[numbers].max(axis=1, initial=1)
    for k in range(1, MOST_BALANCED + 1):
        of_size = np.flatnonzero(n_elements == k)
        of_size = of_size[np.argsort(several[of_size], kind="stable")]  # few states together: few products
        for start in range(0, len(of_size), 256):
            rows = of_size[start : start + 256]
            charge = np.zeros((len(rows), 1), dtype=np.float32)
            size = np.zeros_like(charge)
            for place in range(k):
                atoms = numbers[rows, place]
                added = states[atoms, : n_states[atoms].max()] * share[rows, place, None]  # (n, s)
                charge = (charge[:, :, None] + added[:, None]).reshape(len(rows), -1)
                size = (size[:, :, None] + np.abs(added)[:, None]).reshape(len(rows), -1)
            best = np.abs(charge).argmin(axis=1)[:, None]
            result[rows, 0] = np.abs(np.take_along_axis(charge, best, axis=1))[:, 0]
            result[rows, 1] = np.take_along_axis(size, best, axis=1)[:, 0]
    return result


def space_group_matrix(numbers: Sequence[int]) -> np.ndarray:
    """One-hot space group and crystal system, and the number's rank, (n, 230 + 7 + 1)."""
    groups = np.asarray(numbers, dtype=int)
    systems = np.digitize(groups, SYSTEM_BOUNDS[1:])
    return np.concatenate(
        [
            np.eye(230, dtype=np.float32)[groups - 1],
            np.eye(7, dtype=np.float32)[systems],
            groups[:, None] / 230.0,
        ],
        axis=1,
    ).astype(np.float32)


def gene_matrix(genes: Sequence[Gene], *, each_group: bool = True) -> np.ndarray:
    """Gene features (n, d): composition, space group, sizes, and which elements sit where.

    Args:
        genes: any.
        each_group: a column for each space group, next to those of the crystal systems. With a
            structure's other features at hand these only invite learning by heart.
    """
    orbits = _Orbits(genes)
    groups = space_group_matrix([gene.space_group for gene in genes])
    parts = [
        composition_matrix(orbits.counts()),
        np.ones((len(genes), 1)),
        groups if each_group else groups[:, 230:],
        orbits.sizes(),
        orbits.placement(),
        orbits.ranked(),
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


@cache
def _site(space_group: int, letter: str) -> tuple[int, int, int]:
    """Sites in the primitive cell, free coordinates, and order of the site symmetry of a position."""
    table = wyckoff_table(space_group)
    sites = len(table[letter].primitive)
    return sites, len(table[letter].free), max(len(p.primitive) for p in table.values()) // sites


class _Orbits:
    """Every orbit of many genes as flat arrays (m,): which gene, element, sites, freedom, symmetry."""

    def __init__(self, genes: Sequence[Gene]) -> None:
        rows = [
            (index, ATOMIC_NUMBER[element], *_site(gene.space_group, letter))
            for index, gene in enumerate(genes)
            for element, letter in gene.orbits
        ]
        flat = np.array(rows, dtype=np.int64).reshape(-1, 5)
        self.gene, self.number, self.sites, self.free, order = flat.T
        self.symmetry = np.log(order)
        self.n = len(genes)
        self.n_atoms = self.total(self.sites)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over each gene's orbits, (n,)."""
        return np.bincount(self.gene, values, self.n)

    def counts(self) -> np.ndarray:
        """Atoms by atomic number in the primitive cell, (n, 104)."""
        flat = np.bincount(self.gene * _N_NUMBERS + self.number, self.sites, self.n * _N_NUMBERS)
        return flat.reshape(self.n, _N_NUMBERS)

    def sizes(self) -> np.ndarray:
        """How large and how free: (n, 9)."""
        n_orbits = np.bincount(self.gene, minlength=self.n)
        n_free = self.total(self.free)
        largest = np.zeros(self.n)
        np.maximum.at(largest, self.gene, self.sites)
        columns = [
            self.n_atoms,
            np.log(self.n_atoms),
            n_orbits,
            n_free,
            n_free / self.n_atoms,
            self.total(self.symmetry * self.sites) / self.n_atoms,
            largest,
            self.total(self.symmetry == 0) / n_orbits,
            n_orbits / (self.counts() > 0).sum(axis=1),
        ]
        return np.stack(columns, axis=1)

    def placement(self) -> np.ndarray:
        """Covariance over atoms of element properties with site freedom and symmetry, (n, 2 × 9)."""
        columns: list[np.ndarray] = []
        share = self.sites / self.n_atoms[self.gene]
        for site in (self.free.astype(float), self.symmetry):
            centred = site - self.total(site * share)[self.gene]
            columns += [
                self.total(share * centred * element_table()[name][self.number]) for name in _ORBIT_PROPERTIES
            ]
        return np.stack(columns, axis=1)

    def ranked(self) -> np.ndarray:
        """Sites of the most, second most, second least and least electronegative element, (n, 4 × 5)."""
        chi = element_table()["electronegativity"]
        key, where = np.unique(self.gene * _N_NUMBERS + self.number, return_inverse=True)
        gene, number = key // _N_NUMBERS, key % _N_NUMBERS
        atoms = np.bincount(where, self.sites)
        columns = np.stack(
            [
                atoms / self.n_atoms[gene],
                np.bincount(where),
                np.bincount(where, self.sites * self.free) / atoms,
                np.bincount(where, self.sites * self.symmetry) / atoms,
                chi[number],
            ],
            axis=1,
        )
        result = np.full((self.n, 4, 5), np.nan)
        for descending, places in ((True, (0, 1)), (False, (3, 2))):
            order = np.lexsort((-chi[number] if descending else chi[number], gene))
            first = np.searchsorted(gene[order], np.arange(self.n))
            n_elements = np.bincount(gene, minlength=self.n)
            for step, place in enumerate(places):
                has = n_elements > step
                result[has, place] = columns[order[first[has] + step]]
        return result.reshape(self.n, -1)


def structure_matrix(
    structures: Sequence[Structure], genes: Sequence[Gene], embeddings: np.ndarray
) -> np.ndarray:
    """Structure features (n, d): those of its gene, electrons, size and density, bonds, embedding.

    Args:
        structures: ordered crystals.
        genes: of the same crystals.
        embeddings: (n, e) features of a potential, nan where it failed.
    """
    counts = counts_of([structure.composition for structure in structures])
    n_atoms = counts.sum(axis=1)
    volume = np.array([structure.volume for structure in structures]) / n_atoms
    mass = counts @ element_table()["mass"] / n_atoms
    ball = counts @ element_table()["covalent_radius"] ** 3 / n_atoms
    size = np.stack([volume, np.log(volume), volume / ball, mass / volume], axis=1)
    parts = [
        gene_matrix(genes, each_group=False),
        _electrons(_Orbits(genes).counts()),
        size,
        bond_matrix(structures),
        embeddings,
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _electrons(counts: np.ndarray) -> np.ndarray:
    """Electron counts: odd in the cell, odd in the formula unit; valence electrons beyond eights, per atom.

    An odd number of electrons leaves a band half full, unless moments order: of odd crystals of mp20 90 %
    are metals, of even ones 62 %.

    Args:
        counts: atoms by atomic number in the primitive cell, (n, 104).

    Returns:
        (n, 4)
    """
    table = element_table()
    shells = np.sum([table[f"valence_{shell}"] for shell in "spdf"], axis=0)
    electrons, valence = counts @ np.arange(_N_NUMBERS), counts @ shells
    units = np.gcd.reduce(counts.astype(int), axis=1)
    return np.stack([electrons % 2, electrons / units % 2, valence % 8, valence / counts.sum(axis=1)], axis=1)


def half_filled(features: np.ndarray) -> np.ndarray:
    """Whether crystals have an odd number of electrons a primitive cell and no ion to hold a moment, (n,).

    A band of theirs is half full: of 1 823 such crystals of the Materials Project 92 % have no gap by PBE,
    and most of the others less than 0.3 eV.

    Args:
        features: of :func:`structure_matrix`, (n, d).
    """
    _, n_gene = widths()
    moments = features[:, [ATOMIC_NUMBER[symbol] - 1 for symbol in sorted(OPEN_SHELLS)]].any(axis=1)
    return np.asarray((features[:, n_gene] == 1) & ~moments)


@cache
def widths() -> tuple[int, int]:
    """Columns of a composition, and of a gene with its composition."""
    salt = Gene(225, (("Cl", "a"), ("Na", "b")))
    composition = composition_matrix(counts_of([salt.amounts])).shape[1]
    return composition, gene_matrix([salt], each_group=False).shape[1]


def padded(composition_rows: np.ndarray, width: int) -> np.ndarray:
    """Composition features (n, c) as rows of a wider table (n, width), the rest unknown.

    The column after the composition is the flag "more than the composition is known".
    """
    rows = np.full((len(composition_rows), width), np.nan, dtype=np.float32)
    rows[:, : composition_rows.shape[1]] = composition_rows
    rows[:, composition_rows.shape[1]] = 0.0
    return rows


def composition_rows(formulas: Sequence[str]) -> np.ndarray:
    """Composition features (n, d) of formulas."""
    numbers, amounts, plain = plain_amounts(formulas)
    counts = np.zeros((len(formulas), len(SYMBOLS)), dtype=np.float32)
    np.put_along_axis(counts, numbers, amounts, axis=1)
    counts[:, 0] = 0
    odd = np.flatnonzero(~plain).tolist()  # brackets, fractions, or no formulas
    counts[odd] = counts_of([formula_amounts(formulas[row]) for row in odd])
    return composition_matrix(counts)


def composition_and_space_group_rows(
    formulas: Sequence[str], space_groups: Sequence[int | None]
) -> np.ndarray:
    """Features (n, d) of compositions and space groups; where the group is None it stays unknown."""
    rows = composition_rows(formulas)
    known = np.array([group is not None for group in space_groups])
    groups = space_group_matrix([group or 1 for group in space_groups])
    groups[~known] = np.nan
    return np.concatenate([rows, known[:, None], groups], axis=1).astype(np.float32)
