"""Phases of a hull, their formation energies and the energy scale that they share.

The scale is the functional and the corrections of the energies. Energies of two scales differ by up to
1.5 eV/atom (FeO with and without the Materials Project's corrections), so mixtures are refused.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from invdesign.composition.formula import formula_amounts
from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.errors import InputError

MP2020 = "MP2020 PBE/PBE+U"
"""Scale of the released hull and of the calibrations: Materials Project, MP2020 corrections."""
ASSUMED = " (assumed)"
"""Ends the scale of a table of formation energies that names none."""
NOT_STATED = "not stated"

_SAME_SCALE = frozenset({MP2020.lower(), "mp2020", "gga_gga+u"})  # the last: the Materials Project's name


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a source.

    Attributes:
        formula: as the source writes it.
        amounts: atoms by atomic number.
        energy: eV/atom.
        where: the phase's place in its source, for messages.
    """

    formula: str
    amounts: dict[int, float]
    energy: float
    where: str

    @property
    def is_element(self) -> bool:
        """Whether it holds one element only."""
        return len(self.amounts) == 1


@dataclass(frozen=True, slots=True)
class Phases:
    """Phases with formation energies (elements at 0), where they came from, and their scale."""

    phases: Sequence[Phase]
    scale: str
    where: str


def scale_named(text: str) -> str:
    """Return the canonical name of a scale."""
    return MP2020 if text.strip().lower() in _SAME_SCALE else text.strip()


def single_scale(stated: Iterable[tuple[str, str]], where: str) -> str:
    """Return the scale that all phases share.

    Args:
        stated: scale and place of each phase.
        where: the source, for the message.

    Raises:
        InputError: two phases are on different scales.
    """
    seen: dict[str, tuple[str, str]] = {}
    for scale, place in stated:
        name = scale_named(scale) or NOT_STATED
        seen.setdefault(name.lower(), (name, place))
        if len(seen) > 1:
            (first, here), (second, there) = seen.values()
            raise InputError(
                f"hull: {where} mixes the scales {first!r} ({here}) and {second!r} ({there}), whose energies "
                "cannot be compared; give entries of one."
            )
    return next(iter(seen.values()), (NOT_STATED, ""))[0]


def formation_energies(phases: Sequence[Phase], where: str) -> list[Phase]:
    """Energies relative to the elements, each at the lowest of its phases in the source.

    Args:
        phases: with total energies, or with any others whose elements are not at 0.
        where: the source, for the message.

    Raises:
        InputError: an element has no phase.
    """
    lowest: dict[int, float] = {}
    for phase in phases:
        if phase.is_element:
            number = next(iter(phase.amounts))
            lowest[number] = min(phase.energy, lowest.get(number, math.inf))
    missing = sorted({number for phase in phases for number in phase.amounts} - lowest.keys())
    if missing:
        names = ", ".join(SYMBOLS[number] for number in missing)
        raise InputError(
            f"hull: {where} has no energy of {'the element' if len(missing) == 1 else 'the elements'} "
            f"{names}, which formation energies are counted from; add it, or give formation energies."
        )
    return [
        Phase(phase.formula, phase.amounts, phase.energy - _mean(phase.amounts, lowest), phase.where)
        for phase in phases
    ]


def _mean(amounts: dict[int, float], values: dict[int, float]) -> float:
    return sum(values[number] * amount for number, amount in amounts.items()) / sum(amounts.values())


def phase(formula: str, energy: float, where: str) -> Phase:
    """Make a phase from its formula and energy, eV/atom.

    Raises:
        InputError: not a formula.
    """
    amounts = formula_amounts(formula)
    numbers = {ATOMIC_NUMBER[symbol]: amount for symbol, amount in amounts.items()}
    return Phase(formula, numbers, energy, where)
