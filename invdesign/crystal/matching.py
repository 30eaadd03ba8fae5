"""Whether two structures are the same crystal: by pymatgen's ``StructureMatcher``, at stated tolerances.

Cells are reduced (Niggli, primitive) and scaled to one volume; lattices must then agree within 20 % in
lengths and 5° in angles, and matched sites within 0.3 (V/N)^(1/3). These are pymatgen's defaults, with
which the Materials Project groups its entries. Matching at a tolerance is not transitive: a group is
defined by its first member.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from invdesign.crystal.symmetry import SymmetryError, gene_of, loose_gene_of, realise

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.core.structure_matcher import StructureMatcher


LENGTH_TOLERANCE = 0.2  # relative
SITE_TOLERANCE = 0.3  # in (V/N)^(1/3)
ANGLE_TOLERANCE = 5.0  # degrees


@lru_cache(maxsize=1)
def _matcher() -> StructureMatcher:
    from pymatgen.core.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=LENGTH_TOLERANCE, stol=SITE_TOLERANCE, angle_tol=ANGLE_TOLERANCE)


def _reduced(structure: Structure) -> Structure:
    """Return the primitive Niggli cell, its sites sorted by element as the matcher wants them."""
    reduced = structure.get_reduced_structure("niggli").get_primitive_structure()
    return reduced.get_sorted_structure()


def same_crystal(a: Structure, b: Structure) -> bool:
    """Whether two structures match, in both orders (the matcher alone is not symmetric).

    Args:
        a: ordered structure, any cell.
        b: likewise.
    """
    if a.composition.reduced_formula != b.composition.reduced_formula:
        return False
    first, second = _reduced(a), _reduced(b)
    return len(first) == len(second) and _match(first, second)


def first_match(structure: Structure, others: Iterable[Structure]) -> int | None:
    """Return which of many crystals of one composition a structure is, as :func:`same_crystal`.

    Cells with as many sites alone are compared. How many sites a primitive cell has depends on the tolerance:
    that of the structure is sought within 0.25 Å, 0.1 Å as genes are, and 0.3 Å.

    Args:
        structure: ordered, any cell.
        others: primitive within 0.1 Å.

    Returns:
        Its number, from 0; None where none matches.
    """
    cells = {len(cell): cell for cell in map(_sorted_niggli, _primitive_cells(structure))}
    for number, other in enumerate(others):
        n = len(other)
        if n not in cells and not any(n % size == 0 for size in cells):
            continue
        cell = _sorted_niggli(other) if n in cells else _reduced(other)
        if len(cell) in cells and _match(cells[len(cell)], cell):
            return number
    return None


def _primitive_cells(structure: Structure) -> Iterator[Structure]:
    """Return primitive cells: of the loosest symmetry first, so that the truest of a size is the last."""
    if loose := loose_gene_of(structure):
        yield realise(*loose)
    with suppress(SymmetryError):
        yield realise(*gene_of(structure))
    yield structure.get_primitive_structure()


def _sorted_niggli(structure: Structure) -> Structure:
    return structure.get_reduced_structure("niggli").get_sorted_structure()


def _match(a: Structure, b: Structure) -> bool:
    """As :func:`same_crystal`, for reduced cells with as many sites."""
    fits = partial(_matcher().fit, skip_structure_reduction=True)
    return bool(fits(a, b) and fits(b, a))


def same_arrangement(a: Structure, b: Structure) -> bool:
    """Whether two structures match with some exchange of elements.

    Args:
        a: ordered structure, any cell.
        b: likewise.
    """
    if a.composition.anonymized_formula != b.composition.anonymized_formula:
        return False
    return bool(_matcher().fit_anonymous(a, b))


def unique_groups(structures: Sequence[Structure]) -> list[int]:
    """Index of the group that each structure belongs to; groups are numbered as they first occur.

    A structure joins the first group whose first member it matches. Only structures with one reduced
    formula and as many sites in the primitive cell are compared: others cannot match. (Canonical genes
    are no such filter: a distortion within the tolerances changes the space group.)

    Args:
        structures: n ordered structures.

    Returns:
        n group numbers from 0.
    """
    founders: dict[tuple[str, int], list[tuple[int, Structure]]] = defaultdict(list)
    groups: list[int] = []
    n_groups = 0
    # a formula that occurs once has nothing to be compared with, and need not be reduced
    formulas = [structure.composition.reduced_formula for structure in structures]
    occurrences = Counter(formulas)
    for formula, structure in zip(formulas, structures, strict=True):
        group = None
        if occurrences[formula] > 1:
            reduced = _reduced(structure)
            rivals = founders[formula, len(reduced)]
            group = next((number for number, founder in rivals if _match(founder, reduced)), None)
            if group is None:
                rivals.append((n_groups, reduced))
        if group is None:
            group = n_groups
            n_groups += 1
        groups.append(group)
    return groups


def rmsd(a: Structure, b: Structure) -> float | None:
    """Root mean square displacement between matched sites, Å, cells scaled to their mean volume.

    The matcher's distance times (V/N)^(1/3), V/N being the geometric mean of both volumes per atom; the
    best fit over lattice mappings and translations at the tolerances of :func:`same_crystal`.

    Returns:
        None where the structures do not match.
    """
    if a.composition.reduced_formula != b.composition.reduced_formula:
        return None
    found = _matcher().get_rms_dist(a, b)  # type: ignore[no-untyped-call]
    if found is None:
        return None
    volume_per_atom = (a.volume / len(a) * b.volume / len(b)) ** 0.5
    return float(found[0] * volume_per_atom ** (1 / 3))
