"""The properties that can be asked for, and windows on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf, isfinite, isnan

from invdesign.errors import InputError, quoted
from invdesign.io.config import suggest
from invdesign.io.plugins import Registry

STABILITY = "e_above_hull"
"""The property that has a limit (:attr:`Target.e_above_hull_max`) in place of a window."""
PBE_GAP, MEASURED_GAP = "band_gap", "band_gap_experimental"
GAPS = frozenset({PBE_GAP, MEASURED_GAP})
"""Properties that are told next to each other."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property that can be asked for.

    Another distribution adds one by an entry point of group ``invdesign.properties``: the property's name,
    and where a ``Property`` is (``package:ATTRIBUTE``).

    Attributes:
        unit: of every value of this property.
        words: its name in a sentence.
        description: what exactly it is.
        low: least value that exists.
        high: greatest value that any crystal could have.
        from_structure: model that predicts it from a structure: a released model's name or the path of a
            folder; none if empty.
        from_composition: model that predicts it from the composition alone.
        from_finished: better model than ``from_structure`` for what a SevenNet, whose embedding it sees, has
            relaxed; nothing that generators or rankers learn from may use it.
    """

    unit: str
    words: str
    description: str
    low: float
    high: float
    from_structure: str = ""
    from_composition: str = ""
    from_finished: str = ""


_COMPOSITION_GAP = "band-gap-composition"
_BUILT_IN = {
    PBE_GAP: Property(
        *("eV", "PBE gap", "Kohn-Sham gap by DFT with the PBE functional", 0.0, 20.0),
        from_structure="band-gap",
        from_composition=_COMPOSITION_GAP,
        from_finished="band-gap-finished",
    ),
    MEASURED_GAP: Property(
        *("eV", "measured gap", "optical or electrical band gap", 0.0, 20.0),
        from_structure=_COMPOSITION_GAP,
        from_composition=_COMPOSITION_GAP,
    ),
    "formation_energy_per_atom": Property(
        *("eV/atom", "formation energy", "from the elements, on the MP2020 scale", -10.0, 10.0),
        from_structure="formation-energy",
        from_composition="formation-energy-composition",
    ),
    STABILITY: Property("eV/atom", "energy above hull", "above the reference hull", 0.0, 10.0),
    "bulk_modulus_gpa": Property(
        *("GPa", "bulk modulus", "Voigt-Reuss-Hill average", 0.0, 1000.0),
        from_structure="elasticity",
        from_composition="bulk-modulus-composition",
    ),
    "shear_modulus_gpa": Property(
        *("GPa", "shear modulus", "Voigt-Reuss-Hill average", 0.0, 1000.0), from_structure="elasticity"
    ),
    "debye_temperature_k": Property(
        *("K", "Debye temperature", "acoustic, from elasticity", 0.0, 3000.0), from_structure="elasticity"
    ),
    "thermal_conductivity_w_mk": Property(
        *("W/m/K", "thermal conductivity", "of the lattice", 0.0, 5000.0), from_structure="elasticity"
    ),
}
_REGISTRY = Registry(
    "property", "invdesign.properties", dict.fromkeys(_BUILT_IN, "invdesign.core.properties:PROPERTIES")
)


class _Properties(Mapping[str, Property]):
    """The built-in properties, then those of installed plug-ins."""

    def __getitem__(self, name: str) -> Property:
        """Return the row of a property.

        Raises:
            KeyError: there is none of that name.
            InputError: a plug-in cannot be imported, or gives something else.
        """
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        if name not in _REGISTRY.entries:
            raise KeyError(name)
        found = _REGISTRY.load(name)
        if not isinstance(found, Property):
            raise InputError(f"property: the plug-in {name!r} gives a {type(found).__name__}, no Property.")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_REGISTRY.names())

    def __len__(self) -> int:
        return len(_REGISTRY.names())


PROPERTIES: Mapping[str, Property] = _Properties()
"""Properties by name."""


def models_from_structure() -> dict[str, str]:
    """Return the default model of each property that is predicted from structures."""
    return {name: row.from_structure for name, row in PROPERTIES.items() if row.from_structure}


def models_from_composition() -> dict[str, str]:
    """Return the default model of each property that is predicted from the composition alone."""
    return {name: row.from_composition for name, row in PROPERTIES.items() if row.from_composition}


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
                f"window: {self.low:g} to {self.high:g} holds nothing; give the lower value first."
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
        """Return the intersection."""
        return Window(max(self.low, other.low), min(self.high, other.high))

    @property
    def clause(self) -> str:
        """The window as :func:`parse_target` reads it, to the last digit."""
        if self.high == inf:
            return f">{self.low!r}"
        below = "<" if self.high else "<="  # no gap is less than 0
        return f"{below}{self.high!r}" if self.low == -inf else f"={self.low!r}..{self.high!r}"


def known_property(name: str) -> Property:
    """Return the registry's entry of a property.

    Raises:
        InputError: unknown.
    """
    if name not in PROPERTIES:
        raise InputError(f"target: there is no property {quoted(name)}; {suggest(name, tuple(PROPERTIES))}.")
    return PROPERTIES[name]
