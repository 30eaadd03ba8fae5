"""Linear maps between energy scales: one coefficient per element, plus terms for bonding that DFT gets wrong.

Two tables of DFT energies of the same compounds differ by what their makers corrected: energies of
elements, of anions, of +U metals in oxides and fluorides. A scale is a sum over terms of
coefficient (eV) × atomic fraction:

- ``Fe``: the fraction of an element, everywhere;
- ``Br-``: its fraction where it is an anion, that is, more electronegative than the composition's mean
  (on 21 383 shared compositions this rule leaves a mean error of 7 meV/atom between the Materials
  Project's two scales; "the most electronegative element" leaves 9);
- ``Te~``: its fraction where it is no such anion, yet nothing but metals is there (PbTe, PtTe2): by
  oxidation states it is one, and the Materials Project corrects it;
- ``N+``: its fraction where it is such an anion, yet the less electronegative elements have too few
  electrons for oxygen and fluorine: it must give some of its own (nitrates, perchlorates), and the
  Materials Project corrects nothing there. Scales fitted before this term or ``Te~`` have no coefficient
  for it;
- ``Fe|F``, ``Fe|O``: the fraction of a +U metal in the presence of fluorine, else of oxygen (the Materials
  Project sets U and its correction by the most electronegative element).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS, element_table

if TYPE_CHECKING:
    from pymatgen.core import Composition

ANIONS = frozenset(
    {"O", "F", "Cl", "Br", "I", "S", "Se", "Te", "N", "H", "P", "As", "Sb", "Si", "C", "B", "Ge"}
)
U_METALS = frozenset({"Co", "Cr", "Fe", "Mn", "Mo", "Ni", "V", "W"})  # the Materials Project's +U set


def fractions(composition: Composition) -> dict[str, float]:
    """Atomic fraction by element symbol; oxidation states are dropped."""
    total = composition.num_atoms
    out: dict[str, float] = {}
    for element, amount in composition.items():
        symbol = SYMBOLS[element.Z]
        out[symbol] = out.get(symbol, 0.0) + amount / total
    return out


def terms_of(composition: Composition) -> dict[str, float]:
    """Atomic fraction by term (see the module) of one composition."""
    parts = fractions(composition)
    table, table_is_metal, most = (
        element_table()[name] for name in ("electronegativity", "is_metal", "max_oxidation")
    )
    taken = 2 * parts.get("O", 0.0) + parts.get("F", 0.0)
    chi = {SYMBOLS[element.Z]: float(table[element.Z]) for element in composition}
    mean = sum(chi[symbol] * part for symbol, part in parts.items())
    metals = {SYMBOLS[element.Z] for element in composition if table_is_metal[element.Z]}
    out = dict(parts)
    for symbol, part in parts.items():
        if symbol in ANIONS and chi[symbol] > mean:
            out[f"{symbol}-"] = part
            given = sum(
                parts[other] * most[ATOMIC_NUMBER[other]] for other in parts if chi[other] < chi[symbol]
            )
            if given < taken - 1e-9 and symbol not in {"O", "F"}:
                out[f"{symbol}+"] = part
        elif symbol in ANIONS and metals and parts.keys() - metals == {symbol}:
            out[f"{symbol}~"] = part
        if symbol in U_METALS and (anion := next((anion for anion in "FO" if anion in parts), None)):
            out[f"{symbol}|{anion}"] = part
    return out


@dataclass(frozen=True, slots=True)
class EnergyScale:
    """Coefficients of the terms, eV."""

    coefficients: dict[str, float]

    def energy(self, composition: Composition) -> float:
        """Σ coefficient × fraction, eV/atom; terms without a coefficient count nothing."""
        return sum(self.coefficients.get(term, 0.0) * part for term, part in terms_of(composition).items())


def design_matrix(compositions: Iterable[Composition], terms: Sequence[str]) -> np.ndarray:
    """Term fractions, shape (n, len(terms)); terms not listed are left out."""
    column = {term: i for i, term in enumerate(terms)}
    rows = [terms_of(composition) for composition in compositions]
    matrix = np.zeros((len(rows), len(terms)))
    for row, parts in zip(matrix, rows, strict=True):
        for term, part in parts.items():
            if term in column:
                row[column[term]] = part
    return matrix


def fit_scale(
    compositions: Sequence[Composition],
    energies: np.ndarray,
    *,
    delta: float = 0.01,
    ridge: float = 1e-4,
    extra_terms: bool = True,
    minimum: int = 8,
) -> EnergyScale:
    """Fit a scale to energies by Huber regression (iteratively reweighted least squares).

    Args:
        compositions: n compositions.
        energies: what the scale shall give, eV/atom, shape (n,).
        delta: residual beyond which a composition counts linearly, eV/atom.
        ridge: pull of each coefficient to zero; settles terms which the data cannot tell apart.
        extra_terms: also the anion and +U terms; without them one coefficient per element.
        minimum: an extra term is fitted only where at least so many compositions have it.
    """
    counts: dict[str, int] = {}
    for composition in compositions:
        for term in terms_of(composition):
            counts[term] = counts.get(term, 0) + 1
    plain = [term for term in counts if term in SYMBOLS]
    extra = [term for term, n in counts.items() if term not in SYMBOLS and n >= minimum]
    terms = sorted(plain) + (sorted(extra) if extra_terms else [])
    matrix = design_matrix(compositions, terms)
    weights = np.ones(len(energies))
    solution = np.zeros(len(terms))
    for _ in range(100):
        normal = matrix.T @ (matrix * weights[:, None]) + ridge * np.eye(len(terms))
        previous, solution = solution, np.linalg.solve(normal, matrix.T @ (weights * energies))
        if np.abs(solution - previous).max() < 1e-5:
            break
        weights = delta / np.maximum(np.abs(energies - matrix @ solution), delta)
    return EnergyScale({term: round(float(value), 5) for term, value in zip(terms, solution, strict=True)})
