"""Energy above the convex hull of known phases: one small linear program per composition.

The hull of a chemical system at a composition is the lowest energy of any mixture of phases with that
composition: minimise Σ xᵢ Eᵢ subject to Σ xᵢ cᵢ = c, x ≥ 0. The elements (energy zero by definition) are
a feasible start, so a primal simplex with at most nine rows is done in a few pivots: about 0.1 ms beside
3 ms for a general solver.
"""

from __future__ import annotations

import csv
import gzip
import math
import zipfile
import zlib
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign import artifacts
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Composition

_TOLERANCE = 1e-10  # eV/atom by which a phase must undercut the hull to enter the basis
_SAME = 1e-6  # difference of atomic fractions below which two compositions are one


@dataclass(frozen=True, slots=True)
class HullResult:
    """Where a composition and energy lie against the hull.

    Attributes:
        e_above_hull: eV/atom; negative: below the known hull by so much.
        decomposition: competing phases, atomic fraction by formula (sums to 1). Where the data lack the
            phases that a compound decomposes into, its own composition stands for them.
        n_phases: compositions known in the chemical system, its elements among them; few means a poorly
            explored system, whose hull is only an upper bound, and ``e_above_hull`` a lower one.
        composition_known: whether one of them has this composition.
    """

    e_above_hull: float
    decomposition: dict[str, float]
    n_phases: int
    composition_known: bool


class Hull:
    """Known phases and the lower convex hull of their formation energies; the elements are at zero."""

    def __init__(
        self,
        formulas: Sequence[str],
        numbers: np.ndarray,
        amounts: np.ndarray,
        energies: np.ndarray,
        competing: np.ndarray,
    ) -> None:
        """Take compounds; phases with one element only are not compounds and must not be among them.

        Args:
            formulas: n names.
            numbers: atomic numbers, (n, k) integers, padded with 0.
            amounts: atoms of each, (n, k), padded with 0.
            energies: formation energies, eV/atom, (n,).
            competing: whether a compound takes part in the hull, (n,) bool; the others only say that
                their composition is known.
        """
        self.formulas = formulas
        self.numbers = numbers.astype(np.intp)
        self.fractions = amounts / amounts.sum(axis=1, keepdims=True)
        self.energies = energies.astype(float)
        self.competing = competing.astype(bool)
        self.atomic_numbers = frozenset(np.unique(numbers).tolist()) - {0}
        self._systems: dict[int, list[int]] = {}  # compounds by chemical system, one bit an element
        bits = zip(*([1 << number for number in column] for column in self.numbers.T.tolist()), strict=True)
        for index, row in enumerate(bits):
            self._systems.setdefault(reduce(or_, row) & ~1, []).append(index)

    def __len__(self) -> int:
        """Return the number of compounds."""
        return len(self.formulas)

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that the hull knows."""
        return frozenset(SYMBOLS[number] for number in self.atomic_numbers)

    @classmethod
    def load(cls, folder: str | Path = "mp-hull") -> Hull:
        """Load a hull: a released artifact's name, a folder, or the user's own ``.csv`` / ``.csv.gz``.

        Raises:
            InputError: not there, incomplete, or not a hull.
        """
        if str(folder).endswith((".csv", ".csv.gz")):
            return cls.from_csv(Path(folder))
        path = artifacts.find("validators", folder, needs=("hull.npz",)) / "hull.npz"
        try:
            with np.load(path, allow_pickle=False) as data:
                formulas = bytes(data["formulas"]).decode().split("\n")
                arrays = [data[name] for name in ("numbers", "amounts", "energies", "competing")]
                return cls(formulas, *arrays)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            msg = f"hull: {path} is not a hull ({error}); restore it or rebuild it with `invdesign train`."
            raise InputError(msg) from error

    @classmethod
    def from_csv(cls, path: Path) -> Hull:
        """Hull of the user's own phases: columns ``formula`` and ``formation_energy_per_atom`` (eV/atom).

        Several rows of one composition may stand together: the lowest counts. Elements may be listed
        (polymorphs at or above zero); they change nothing.

        Raises:
            InputError: no such file, a column is missing, or a row cannot be used (named by its line).
        """
        rows = _read_rows(path)
        compounds = [row for row in rows if len(row.amounts) > 1]
        for row in rows:
            if len(row.amounts) == 1 and row.energy < -_SAME:
                msg = (
                    f"hull: {path} line {row.line}: element {row.formula} has formation energy "
                    f"{row.energy:g}; give formation energies (elements at 0), not total energies."
                )
                raise InputError(msg)
        if not compounds:
            msg = f"hull: {path} lists no compound; give rows of formula, formation_energy_per_atom."
            raise InputError(msg)
        width = max(len(row.amounts) for row in compounds)
        numbers, amounts = np.zeros((len(compounds), width), dtype=np.intp), np.zeros((len(compounds), width))
        for i, row in enumerate(compounds):
            numbers[i, : len(row.amounts)] = list(row.amounts)
            amounts[i, : len(row.amounts)] = list(row.amounts.values())
        energies = np.array([row.energy for row in compounds])
        competing = np.ones(len(compounds), dtype=bool)
        return cls([row.formula for row in compounds], numbers, amounts, energies, competing)

    def e_above_hull(
        self, composition: Composition, formation_energy_per_atom: float, *, known: bool = True
    ) -> HullResult:
        """Height of a composition and energy above the hull.

        Args:
            composition: any amounts.
            formation_energy_per_atom: eV/atom on the hull's scale (see ``calibration``).
            known: False leaves out phases of this very composition, which for a compound on the hull gives
                the distance to its competitors, and is how the hull is tested against itself.

        Raises:
            InputError: the hull has no phase with one of the elements.
        """
        target = self._target(composition)
        order = sorted(target)
        goal = np.array([target[number] for number in order])
        chosen = self._in_system(order)
        matrix = self._matrix(order, chosen)
        same = np.abs(matrix - goal[:, None]).max(axis=0) < _SAME
        n_phases = len(chosen) + len(order)
        used = self.competing[chosen] & (known | ~same)
        chosen, matrix = chosen[used], matrix[:, used]
        height, basis, shares = lowest_mixture(matrix, self.energies[chosen], goal)
        names = [
            SYMBOLS[order[i]] if i < len(order) else self.formulas[chosen[i - len(order)]] for i in basis
        ]
        parts = sorted(
            ((share, name) for share, name in zip(shares.tolist(), names, strict=True) if share > _SAME),
            reverse=True,
        )
        return HullResult(
            e_above_hull=formation_energy_per_atom - height,
            decomposition={name: share for share, name in parts},
            n_phases=n_phases,
            composition_known=bool(same.any()) or len(order) == 1,
        )

    def _target(self, composition: Composition) -> dict[int, float]:
        total = composition.num_atoms
        target: dict[int, float] = {}
        for element, amount in composition.items():
            target[element.Z] = target.get(element.Z, 0.0) + amount / total
        unknown = sorted(
            SYMBOLS[number] if number < len(SYMBOLS) else str(number)
            for number in set(target) - self.atomic_numbers
        )
        if unknown or not target:
            what = f"no phase with {', '.join(unknown)}" if unknown else "nothing to compare with"
            msg = (
                f"composition: {composition.reduced_formula or 'empty'}: the hull has {what}; "
                "use elements of the hull, or a hull that covers them."
            )
            raise InputError(msg)
        return target

    def _in_system(self, order: Sequence[int]) -> np.ndarray:
        """Indices of the compounds made of these elements only: a look-up for every subset of them."""
        system = reduce(or_, (1 << number for number in order))
        found: list[int] = []
        subset = system
        while subset:
            found += self._systems.get(subset, ())
            subset = (subset - 1) & system
        return np.array(found, dtype=np.intp)

    def _matrix(self, order: Sequence[int], chosen: np.ndarray) -> np.ndarray:
        """Atomic fractions of chosen compounds, (len(order), len(chosen)), rows as in ``order``."""
        row_of = np.full(len(SYMBOLS), len(order))  # an extra row takes the padding
        row_of[order] = range(len(order))
        matrix = np.zeros((len(order) + 1, len(chosen)))
        matrix[row_of[self.numbers[chosen]].T, np.arange(len(chosen))] = self.fractions[chosen].T
        return matrix[:-1]


def lowest_mixture(
    matrix: np.ndarray, energies: np.ndarray, goal: np.ndarray
) -> tuple[float, list[int], np.ndarray]:
    """Solve the hull's linear program by the primal simplex method, from the elements at zero energy.

    Args:
        matrix: atomic fractions of the compounds, (k, m).
        energies: formation energies, (m,).
        goal: atomic fractions, (k,).

    Returns:
        Lowest energy (eV/atom), the k basic phases (0..k-1: elements in the order of the rows; k + i:
        compound i) and their shares in atoms.
    """
    k = len(goal)
    columns = np.hstack([np.eye(k), matrix])
    costs = np.concatenate([np.zeros(k), energies])
    basis = list(range(k))
    inverse = np.eye(k)
    shares = goal.copy()
    for pivot in range(10_000):
        reduced = costs - (costs[basis] @ inverse) @ columns
        # steepest phase first; Bland's rule after many pivots, since it cannot cycle
        bland = pivot > 50 * k
        entering = int(np.argmax(reduced < -_TOLERANCE)) if bland else int(np.argmin(reduced))
        if reduced[entering] >= -_TOLERANCE:
            return float(costs[basis] @ shares), basis, shares
        direction = inverse @ columns[:, entering]
        ratios = np.full(k, np.inf)
        np.divide(shares, direction, out=ratios, where=direction > 1e-10)
        step = ratios.min()
        ties = np.flatnonzero(ratios <= step + 1e-12)
        leaving = int(min(ties, key=lambda i: basis[i]) if bland else ties[np.argmax(direction[ties])])
        shares = np.maximum(shares - step * direction, 0.0)
        shares[leaving] = step
        row = inverse[leaving] / direction[leaving]
        inverse = inverse - np.outer(direction, row)
        inverse[leaving] = row
        basis[leaving] = entering
    msg = "hull: the simplex method did not end"
    raise RuntimeError(msg)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    formula: str
    amounts: dict[int, float]
    energy: float


def _read_rows(path: Path) -> list[_Row]:
    columns = ("formula", "formation_energy_per_atom")
    if not path.is_file():
        msg = f"hull: {path} is not there; give a CSV with the columns {', '.join(columns)}."
        raise InputError(msg)
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                msg = f"hull: {path} lacks the column {missing[0]!r}; it needs {', '.join(columns)}."
                raise InputError(msg)
            return [_row(path, reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        msg = f"hull: {path} is not a readable CSV ({error}); give plain or gzipped UTF-8 text."
        raise InputError(msg) from error


def _row(path: Path, line: int, row: dict[str, str]) -> _Row:
    from pymatgen.core import Composition

    formula, energy = row["formula"] or "", row["formation_energy_per_atom"] or ""
    try:
        value = float(energy)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"hull: {path} line {line}: {energy!r} is not an energy; give eV/atom as a number."
        raise InputError(msg)
    try:
        parsed = Composition(formula).element_composition
        amounts = {element.Z: float(amount) for element, amount in parsed.items()}
    except (ValueError, KeyError):
        amounts = {}
    if not amounts or not all(number < len(SYMBOLS) for number in amounts):
        msg = f"hull: {path} line {line}: {formula!r} is not a formula; give one such as Fe2O3."
        raise InputError(msg)
    return _Row(line, formula, amounts, value)
