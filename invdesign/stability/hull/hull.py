"""Energy above the convex hull of known phases: one small linear program per composition.

The hull of a chemical system at a composition is the lowest energy of any mixture of phases with that
composition: minimise Σ xᵢ Eᵢ subject to Σ xᵢ cᵢ = c, x ≥ 0. The elements (energy zero by definition) are
a feasible start, so a primal simplex with at most nine rows is done in a few pivots: about 0.1 ms compared
with 3 ms for a general solver.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.composition.formula import formula_amounts
from invdesign.crystal.chemical_formula import chemical_formula, formula_of
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.errors import InputError
from invdesign.io import artifacts
from invdesign.stability.anion_overcorrection import overcorrection
from invdesign.stability.energy_corrections import fractions
from invdesign.stability.hull.phases import ASSUMED, MP2020, Phase, Phases
from invdesign.stability.hull.sources import read_source

if TYPE_CHECKING:
    from pymatgen.core import Composition

_TOLERANCE = 1e-10  # eV/atom by which a phase must undercut the hull to enter the basis
_SAME = 1e-6  # difference of atomic fractions below which two compositions are one


@dataclass(frozen=True, slots=True)
class HullResult:
    """Where a composition and energy lie against the hull.

    Attributes:
        e_above_hull: eV/atom; negative: below the known hull by so much.
        decomposition: competing phases, atomic fraction by formula (sums to 1). Where the data lack the
            phases that a compound decomposes into, its composition stands for them.
        n_phases: compositions known in the chemical system, its elements among them; few means a poorly
            explored system, whose hull is only an upper bound, and ``e_above_hull`` a lower one.
        composition_known: whether one of them has this composition.
        hull_energy: of the best mixture of phases, eV/atom, as they are compared.
    """

    e_above_hull: float
    decomposition: dict[str, float]
    n_phases: int
    composition_known: bool
    hull_energy: float


class ChemicalSystems:
    """Compounds by chemical system.

    Args:
        numbers: atomic numbers of n compounds, (n, k), padded with 0.
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self._members: dict[int, list[int]] = {}  # by the system, one bit an element
        bits = zip(*([1 << number for number in column] for column in numbers.T.tolist()), strict=True)
        for index, row in enumerate(bits):
            self._members.setdefault(reduce(or_, row) & ~1, []).append(index)

    def within(self, system: Sequence[int]) -> list[int]:
        """Look up the compounds made of these elements only; return their indices."""
        bits = reduce(or_, (1 << number for number in system))
        if 1 << len(system) > len(self._members):  # more subsets than there are systems
            return [i for key, indices in self._members.items() if not key & ~bits for i in indices]
        found: list[int] = []
        subset = bits
        while subset:
            found += self._members.get(subset, ())
            subset = (subset - 1) & bits
        return found


class Hull:
    """Known phases and the lower convex hull of their formation energies; the elements are at zero."""

    def __init__(
        self,
        formulas: Sequence[str],
        numbers: np.ndarray,
        amounts: np.ndarray,
        energies: np.ndarray,
        competing: np.ndarray,
        *,
        scale: str = MP2020,
    ) -> None:
        """Take compounds; phases with one element only are not compounds and must not be among them.

        Args:
            formulas: n names.
            numbers: atomic numbers, (n, k) integers, padded with 0.
            amounts: atoms of each, (n, k), padded with 0.
            energies: formation energies, eV/atom, (n,).
            competing: whether a compound takes part in the hull, (n,) bool; the others only say that
                their composition is known.
            scale: what functional and corrections the energies carry (``phases.MP2020``, …).
        """
        self.scale = scale
        self.formulas = formulas
        self.numbers = numbers.astype(np.intp)
        self.fractions = amounts / amounts.sum(axis=1, keepdims=True)
        self.energies = energies.astype(float)
        self.competing = competing.astype(bool)
        self.atomic_numbers = frozenset(np.unique(numbers).tolist()) - {0}
        self._systems = ChemicalSystems(self.numbers)
        self.corrects_anions = scale.startswith(MP2020)
        """Whether ``overcorrection`` is added."""
        self._overcorrections = np.full(len(self.energies), np.nan)  # filled in where they are needed

    def __len__(self) -> int:
        """Return the number of compounds."""
        return len(self.formulas)

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that the hull knows."""
        return frozenset(SYMBOLS[number] for number in self.atomic_numbers)

    @classmethod
    def load(cls, folder: str | Path = "mp-hull") -> Hull:
        """Load a hull by a released artifact's name, a folder, or a custom source of phases.

        Args:
            folder: name or folder with ``hull.npz``; a ``.csv`` or ``.csv.gz``; a folder of VASP runs;
                ``mp:Li-Fe-O``; ``optimade:PROVIDER:Li-Fe-O`` (see :mod:`.sources`).

        Raises:
            InputError: not there, incomplete, not a hull, or of mixed scales.
        """
        if (phases := read_source(folder)) is not None:
            return cls.of(phases)
        path = artifacts.find("validators", folder, needs=("hull.npz",)) / "hull.npz"
        try:
            with np.load(path, allow_pickle=False) as data:
                formulas = bytes(data["formulas"]).decode().split("\n")
                numbers, amounts, energies, competing = (
                    data[name] for name in ("numbers", "amounts", "energies", "competing")
                )
                return cls(formulas, numbers, amounts, energies, competing, scale=MP2020)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                f"hull: {path} is not a hull ({error}); restore it or rebuild it with `invdesign train`."
            ) from error

    @classmethod
    def of(cls, source: Phases) -> Hull:
        """Hull of a source's compounds, of each composition the lowest.

        Raises:
            InputError: the source has no compound.
        """
        lowest: dict[tuple[tuple[int, float], ...], Phase] = {}
        for phase in source.phases:
            total = sum(phase.amounts.values())
            key = tuple(sorted((number, round(n / total, 6)) for number, n in phase.amounts.items()))
            if not phase.is_element and (key not in lowest or phase.energy < lowest[key].energy):
                lowest[key] = phase
        if not lowest:
            raise InputError(f"hull: {source.where} lists no compound; give compounds and their energies.")
        compounds = list(lowest.values())
        width = max(len(phase.amounts) for phase in compounds)
        numbers, amounts = np.zeros((len(compounds), width), dtype=np.intp), np.zeros((len(compounds), width))
        for i, phase in enumerate(compounds):
            numbers[i, : len(phase.amounts)] = list(phase.amounts)
            amounts[i, : len(phase.amounts)] = list(phase.amounts.values())
        energies = np.array([phase.energy for phase in compounds])
        competing = np.ones(len(compounds), dtype=bool)
        return cls(
            [phase.formula for phase in compounds], numbers, amounts, energies, competing, scale=source.scale
        )

    def save_csv(self, path: Path) -> None:
        """Write the competing phases as a table that :meth:`load` reads: a hull frozen."""
        rows = [f"# scale: {self.scale}", "formula,formation_energy_per_atom"]
        chosen = np.flatnonzero(self.competing).tolist()
        rows += [f"{self.formulas[i]},{float(self.energies[i])!r}" for i in chosen]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")

    def check_scale(self, needed: str = MP2020) -> None:
        """Check that energies of another origin are on this hull's scale.

        Args:
            needed: scale of those energies; that of every released calibration by default.

        Raises:
            InputError: the hull is on another scale.
        """
        if self.scale.removesuffix(ASSUMED).lower() != needed.lower():
            raise InputError(
                f"hull: the scale of its energies is {self.scale!r}, that of the potential's calibrated ones "
                f"{needed!r}; give a hull of that scale (in a CSV, a line '# scale: …' states it)."
            )

    def phases(self, elements: Iterable[str]) -> list[tuple[str, float]]:
        """Competing compounds of a chemical system and of those within it: formula, energy (eV/atom)."""
        chosen = self._competing_within(elements)
        return self._named(chosen, self.energies[chosen])

    def comparable_phases(self, elements: Iterable[str]) -> list[tuple[str, float]]:
        """Return :meth:`phases` with the overcorrection of each added to its energy."""
        chosen = self._competing_within(elements)
        return self._named(chosen, self._comparable(chosen))

    def _competing_within(self, elements: Iterable[str]) -> np.ndarray:
        chosen = np.array(self._systems.within([ATOMIC_NUMBER[s] for s in elements]), dtype=np.intp)
        return np.asarray(chosen[self.competing[chosen]])

    def _named(self, chosen: np.ndarray, energies: np.ndarray) -> list[tuple[str, float]]:
        return [(self._name(i), float(energy)) for i, energy in zip(chosen.tolist(), energies, strict=True)]

    def _name(self, phase: int) -> str:
        return chemical_formula(formula_amounts(self.formulas[phase]))

    def e_above_hull(
        self, composition: Composition, formation_energy_per_atom: float, *, known: bool = True
    ) -> HullResult:
        """Compute the energy above hull of a composition and formation energy.

        On MP2020's scale its ``overcorrection`` is added to every phase and to the composition itself, where
        it has one.

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
        chosen = np.array(self._systems.within(order), dtype=np.intp)
        matrix = self._matrix(order, chosen)
        same = np.abs(matrix - goal[:, None]).max(axis=0) < _SAME
        n_phases = len(chosen) + len(order)
        used = self.competing[chosen] & (known | ~same)
        chosen, matrix = chosen[used], matrix[:, used]
        own = self._overcorrection(fractions(composition))
        energies = self.energies[chosen] if own is None else self._comparable(chosen)
        lowest, basis, shares = lowest_mixture(matrix, energies, goal)
        names = [SYMBOLS[order[i]] if i < len(order) else self._name(chosen[i - len(order)]) for i in basis]
        parts = sorted(
            ((share, name) for share, name in zip(shares.tolist(), names, strict=True) if share > _SAME),
            reverse=True,
        )
        return HullResult(
            e_above_hull=formation_energy_per_atom + (own or 0.0) - lowest,
            hull_energy=lowest,
            decomposition={name: share for share, name in parts},
            n_phases=n_phases,
            composition_known=bool(same.any()) or len(order) == 1,
        )

    def as_published(self) -> Hull:
        """Return the same hull without the overcorrection of anions: models learned from such energies."""
        published = copy(self)
        published.corrects_anions = False
        return published

    def _comparable(self, chosen: np.ndarray) -> np.ndarray:
        """Energies of compounds with MP2020's overcorrection of anions added, eV/atom."""
        for i in chosen[np.isnan(self._overcorrections[chosen])].tolist():
            parts = zip(self.numbers[i].tolist(), self.fractions[i].tolist(), strict=True)
            self._overcorrections[i] = (
                self._overcorrection({SYMBOLS[number]: x for number, x in parts if x}) or 0.0
            )
        return np.asarray(self.energies[chosen] + self._overcorrections[chosen])

    def _overcorrection(self, parts: Mapping[str, float]) -> float | None:
        return overcorrection(parts) if self.corrects_anions else None

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
            raise InputError(
                f"composition: {formula_of(composition) or 'empty'}: the hull has {what}; "
                "use elements of the hull, or a hull that covers them."
            )
        return target

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
    raise RuntimeError("hull: the simplex method did not end")
