"""Which of the settings that a CIF leaves open gives its crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from invdesign.crystal.contacts import MIN_CONTACT, shortest_contact
from invdesign.crystal.elements import volume_estimate
from invdesign.crystal.settings import Setting
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_USUAL_VOLUME, _POSSIBLE_VOLUME = (0.6, 2.0), (0.35, 2.5)  # relative to the estimate from the elements
_USUAL_CONTACT, _GOOD_CONTACT, _LONGER = 0.75, 0.9, 1.1


@dataclass(frozen=True)
class Reading:
    """The crystal that the block has in one setting."""

    setting: Setting
    structure: Structure
    as_listed: bool
    """Whether the sites have the multiplicities that are stated."""


def chosen(readings: Sequence[Reading], where: str) -> Reading:
    """Return the reading that the multiplicities, contacts and volume speak for.

    Raises:
        InputError: several remain, and are not the same crystal.
    """
    rest = list(readings)
    for fits in (lambda reading: reading.as_listed, _is_usual, _is_possible):
        if len(rest) > 1:
            rest = [reading for reading in rest if fits(reading)] or rest
    if len(rest) > 1:
        rest = [reading for reading in rest if _is_best(reading, rest)] or rest
    if len(rest) > 1 and not _alike(rest):
        names = " and ".join(reading.setting.name for reading in rest)
        raise InputError(
            f"{where}: the space group can be {names}, which give different crystals, and nothing in the CIF "
            "decides; name the setting or give the operators."
        )
    return rest[0]


def _is_usual(reading: Reading) -> bool:
    return _has_room(reading.structure, _USUAL_VOLUME, _USUAL_CONTACT)


def _is_possible(reading: Reading) -> bool:
    return _has_room(reading.structure, _POSSIBLE_VOLUME, MIN_CONTACT)


def _has_room(structure: Structure, volumes: tuple[float, float], contact: float) -> bool:
    ratio = structure.volume / volume_estimate(structure.composition)
    return volumes[0] <= ratio <= volumes[1] and shortest_contact(structure)[3] >= contact


def _is_best(reading: Reading, readings: Sequence[Reading]) -> bool:
    """Whether a reading has the fewest atoms, as sites on special positions have, and longer contacts."""
    contact = shortest_contact(reading.structure)[3]
    return contact >= _GOOD_CONTACT and all(
        len(reading.structure) <= len(other.structure)
        and contact >= _LONGER * shortest_contact(other.structure)[3]
        for other in readings
        if other is not reading
    )


def _alike(readings: Sequence[Reading]) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(scale=False, primitive_cell=False, ltol=0.01, stol=0.02, angle_tol=0.1)
    first = readings[0].structure
    return all(matcher.fit(first, reading.structure) for reading in readings[1:])
