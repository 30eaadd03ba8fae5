"""The properties that can be asked for, and windows on them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan

from invdesign.errors import InputError
from invdesign.io.config import suggest

STABILITY = "e_above_hull"
"""The property that has a limit (:attr:`Target.e_above_hull_max`) in place of a window."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property that can be asked for.

    Attributes:
        unit: of every figure of this property.
        words: its name in a sentence.
        description: what exactly it is.
        low: least value that exists.
        high: greatest value that any crystal could have.
    """

    unit: str
    words: str
    description: str
    low: float
    high: float


PROPERTIES: dict[str, Property] = {
    "band_gap": Property("eV", "band gap", "Kohn-Sham gap by DFT with the PBE functional", 0.0, 20.0),
    "band_gap_experimental": Property("eV", "measured band gap", "optical or electrical", 0.0, 20.0),
    "formation_energy_per_atom": Property(
        "eV/atom", "formation energy", "from the elements, on the MP2020 scale", -10.0, 10.0
    ),
    STABILITY: Property("eV/atom", "energy above hull", "height above the reference hull", 0.0, 10.0),
    "bulk_modulus_gpa": Property("GPa", "bulk modulus", "Voigt-Reuss-Hill average", 0.0, 1000.0),
    "shear_modulus_gpa": Property("GPa", "shear modulus", "Voigt-Reuss-Hill average", 0.0, 1000.0),
    "debye_temperature_k": Property("K", "Debye temperature", "acoustic, from elasticity", 0.0, 3000.0),
    "thermal_conductivity_w_mk": Property("W/m/K", "thermal conductivity", "of the lattice", 0.0, 5000.0),
}
"""Properties by name."""


@dataclass(frozen=True, slots=True)
class Window:
    """An interval, both ends included; ``±inf`` where it is open.

    Raises:
        InputError: the ends are not numbers in order, or both are infinite.
    """

    low: float = -inf
    high: float = inf

    def __post_init__(self) -> None:
        if isnan(self.low) or isnan(self.high) or self.low > self.high:
            raise InputError(
                f"window: {self.low:g} to {self.high:g} holds nothing; give the lower figure first."
            )
        if not (isfinite(self.low) or isfinite(self.high)):
            raise InputError(
                f"window: {self.low:g} to {self.high:g} has no limit; give a finite low or high."
            )

    def __contains__(self, value: float) -> bool:
        """Whether ``value`` lies inside."""
        return self.holds_zero if value == 0.0 else self.low <= value <= self.high

    @property
    def holds_zero(self) -> bool:
        """Whether 0 lies inside; ``> 0`` asks for more than nothing: a metal has no gap."""
        return self.low <= 0.0 <= self.high and (self.low, self.high) != (0.0, inf)

    def __str__(self) -> str:
        if self.high == inf:
            return f">{self.low:g}"
        return f"<{self.high:g}" if self.low == -inf else f"{self.low:g}–{self.high:g}"

    def __and__(self, other: Window) -> Window:
        """What lies inside both."""
        return Window(max(self.low, other.low), min(self.high, other.high))

    @property
    def clause(self) -> str:
        """The window as :func:`parse_target` reads it, to the last digit."""
        if self.high == inf:
            return f">{self.low!r}"
        return f"<{self.high!r}" if self.low == -inf else f"={self.low!r}..{self.high!r}"


def known_property(name: str) -> Property:
    """The registry's entry of a property.

    Raises:
        InputError: unknown.
    """
    if name not in PROPERTIES:
        raise InputError(f"target: there is no property {name!r}; {suggest(name, tuple(PROPERTIES))}.")
    return PROPERTIES[name]
