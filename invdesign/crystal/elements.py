"""Properties of the chemical elements as arrays by atomic number, and atomic volumes in solids.

Sources: pymatgen ``Element`` and ASE's covalent radii (Cordero et al. 2008). No entry is NaN; the fills:

- electronegativity is Pauling's; He, Ne and Ar, which have none, carry Allen's (4.16, 4.79, 3.24);
- a missing atomic radius is the covalent radius; a missing or zero mean ionic radius likewise;
- covalent radii beyond Cm, which Cordero does not list, are that of Cm (1.69 Å).

Atomic volumes (``volumes.json``) are a robust fit to mp20 and mpts52 (27 010 known crystals): reweighted
bounded least squares of the relative error (code in commit ``d18662a``). Relative error of the volume per
atom there: median 3.8 % and 4.6 %, 95 % within 17 % and 20 %; on WBM (9 332 hypothetical crystals, held out)
median 4.0 %, 95 % within 17 %. The largest errors are open frameworks and molecular crystals, which are
bigger than estimated (silicon: 15 against 20 Å³ per atom). Ne, Ar, Po to Ra and everything beyond Pu occur in
neither set and have a value derived from their covalent radius.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Composition, Element


_PERIODIC_TABLE = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
    "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr"
)
_UNSTABLE = "Tc Pm Po At Rn Fr Ra Ac Pa Np Pu Am Cm Bk Cf Es Fm Md No Lr"
_INERT = "He Ne Ar Kr Xe"

SYMBOLS: tuple[str, ...] = tuple(_PERIODIC_TABLE.split())
"""Symbol by atomic number; index 0 is a placeholder, so that ``SYMBOLS[26] == "Fe"``."""

ATOMIC_NUMBER: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
"""Atomic number by symbol, 1 (H) to 103 (Lr)."""

HEAVY_HYDROGEN = frozenset({"D", "T"})
"""Deuterium and tritium, which neutron studies write as elements of their own."""

EXCLUDED_BY_DEFAULT: frozenset[str] = frozenset(_UNSTABLE.split() + _INERT.split())
"""Elements no one wants proposed unless asked.

Without a long-lived isotope: Tc, Pm, Po to Ac, Pa (33 000 years, never in gram amounts) and everything
beyond U; Th and U stay, being mined. Noble gases form no solid compound that one could make and keep
(mp20 without Xe: three in 14 711; xenon's oxides and fluorides are oxidisers in bottles).
"""

RADIOACTIVE: frozenset[str] = frozenset((*_UNSTABLE.split(), "Th", "U"))
"""Elements without a stable isotope; bismuth (2 × 10¹⁹ years) counts as stable."""

_ELECTRONEGATIVITY_SPAN = 1.5  # difference from the mean at which an atom is wholly donor or acceptor
_ALLEN = {"He": 4.16, "Ne": 4.787, "Ar": 3.242}  # Pauling's scale has no value for these


@dataclass(frozen=True, slots=True)
class ElementTable:
    """Element properties: ``names`` (p,) and ``values`` (104, p), rows by atomic number, row 0 zero."""

    names: tuple[str, ...]
    values: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """One property of every element, by atomic number, shape (104,)."""
        return self.values[:, self.names.index(name)]


def atomic_number(symbol: str) -> int:
    """Atomic number of an element symbol.

    Raises:
        InputError: not an element up to Lr.
    """
    number = ATOMIC_NUMBER.get(symbol)
    if number is None:
        raise InputError(f"element: {symbol!r} is not a chemical element up to Lr; give a symbol such as Fe.")
    return number


@lru_cache(maxsize=1)
def element_table() -> ElementTable:
    """Return the table, built once a process (30 ms after importing pymatgen).

    Columns: ``number, mass`` (u), ``electronegativity`` (Pauling), ``covalent_radius, atomic_radius,
    ionic_radius`` (Å), ``group, row, mendeleev, melting_point`` (K), ``ionization_energy,
    electron_affinity`` (eV), ``max_oxidation, min_oxidation, is_metal`` (0/1), ``valence_s, valence_p,
    valence_d, valence_f`` (electrons outside the noble-gas core).
    """
    from pymatgen.core import Element

    rows = [_properties(Element(symbol)) for symbol in SYMBOLS[1:]]
    names = tuple(rows[0])
    values = np.zeros((len(SYMBOLS), len(names)))
    values[1:] = [list(row.values()) for row in rows]
    values.flags.writeable = False
    return ElementTable(names, values)


def _properties(element: Element) -> dict[str, float]:
    from ase.data import covalent_radii

    number = int(element.Z)
    covalent = float(covalent_radii[min(number, ATOMIC_NUMBER["Cm"])])
    atomic = element.data.get("Atomic radius")
    ionic = float(element.average_ionic_radius or 0.0)
    shells = dict.fromkeys("spdf", 0)
    core = max((z for z in (0, 2, 10, 18, 36, 54, 86) if z < number), default=0)
    for _, shell, electrons in element.full_electronic_structure[_core_shells(core) :]:
        shells[shell] += electrons
    symbol = element.symbol
    return {
        "number": number,
        "mass": float(element.atomic_mass),
        "electronegativity": _ALLEN[symbol] if symbol in _ALLEN else float(element.X),
        "covalent_radius": covalent,
        "atomic_radius": float(atomic) if isinstance(atomic, int | float) else covalent,
        "ionic_radius": ionic if ionic > 0 else covalent,
        "group": float(element.group),
        "row": float(element.row),
        "mendeleev": float(element.mendeleev_no),
        "melting_point": float(element.melting_point),
        "ionization_energy": float(element.ionization_energy or 0.0),
        "electron_affinity": float(element.electron_affinity),
        "max_oxidation": float(element.max_oxidation_state),
        "min_oxidation": float(element.min_oxidation_state),
        "is_metal": float(element.is_metal),
        **{f"valence_{shell}": float(count) for shell, count in shells.items()},
    }


def _core_shells(core: int) -> int:
    """Return the number of filled subshells of a noble-gas core, in pymatgen's order."""
    return {0: 0, 2: 1, 10: 3, 18: 5, 36: 8, 54: 11, 86: 15}[core]


@lru_cache(maxsize=1)
def element_volumes() -> np.ndarray:
    """Fitted atomic volumes in solids, Å³ per atom, shape (104, 2): as electron donor, as acceptor."""
    import json
    from pathlib import Path

    volumes = np.array(json.loads(Path(__file__).with_name("volumes.json").read_text())["volumes"])
    volumes.flags.writeable = False
    return volumes


def volume_weights(fractions: np.ndarray) -> np.ndarray:
    """Weights of the donor and acceptor volumes, shape (n, 208), for atomic fractions (n, 104).

    Volume per atom = Σ xᵢ [donorᵢ·(1 - d) + acceptorᵢ·(1 + d)]/2 with d = (χᵢ - χ̄)/1.5 clipped to ±1 and
    χ̄ the composition's mean electronegativity: an anion swells, a cation shrinks.
    """
    electronegativity = element_table()["electronegativity"]
    difference = electronegativity - (fractions @ electronegativity)[:, None]
    relative = np.clip(difference / _ELECTRONEGATIVITY_SPAN, -1.0, 1.0)
    return np.concatenate([fractions * (1 - relative) / 2, fractions * (1 + relative) / 2], axis=1)


def volume_estimate(composition: Composition | dict[str, float]) -> float:
    """Return the expected volume of a composition's amount of atoms in a solid, Å³ (errors: ``volumes.py``).

    Args:
        composition: pymatgen composition, or amounts by symbol; the amounts of one cell give its volume.

    Raises:
        InputError: a symbol that is not an element.
    """
    counts = np.zeros((1, len(SYMBOLS)))
    for element, amount in dict(composition).items():
        counts[0, atomic_number(str(element))] += amount
    total = counts.sum()
    return float(total * (volume_weights(counts / total) @ element_volumes().T.ravel())[0])
