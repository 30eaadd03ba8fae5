"""DFT energies on the hull's scale: formation energy and energy above hull, or why there is none.

VASP with the Materials Project's settings: its MP2020 corrections, its elements. Any other code: elements
computed by it with the same settings, then MP2020's anion corrections, which compensate PBE's errors for
anions. Runs with +U have no energy above hull unless by VASP: every code has other projectors for U.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from invdesign.dft.results.calculation import Calculation
from invdesign.dft.results.elements import (
    COMPARABLE,
    ElementEnergy,
    Key,
    key,
    lowest,
    references,
    vasp_energies,
)
from invdesign.errors import InputError
from invdesign.stability.hull.hull import Hull
from invdesign.stability.hull.vasp import corrected_energy, corrections

MORE = "; "  # before the advice


@dataclass(frozen=True, slots=True)
class DftPlacement:
    """A calculation on the hull.

    Attributes:
        formation_energy: eV/atom, on the hull's scale; None where unknown.
        e_above_hull: eV/atom; None where unknown.
        scale: how they were obtained, or why they are unknown; a sentence.
    """

    formation_energy: float | None
    e_above_hull: float | None
    scale: str


def compute_placements(
    calculations: Sequence[Calculation], elements: Sequence[ElementEnergy], hull: Hull
) -> list[DftPlacement]:
    """Compute formation energy and energy above hull of each calculation.

    Args:
        calculations: finished ones.
        elements: that formation energies are counted from, of any settings.
        hull: the phases to compare with, on the MP2020 scale.
    """
    known = lowest(elements)
    return [_place(one, _comparable(one, known), hull) for one in calculations]


def _comparable(one: Calculation, elements: Mapping[Key, float]) -> dict[str, float]:
    """Return the elements that were computed with a calculation's settings and pseudopotentials."""
    keys = {symbol: key(one, symbol) for symbol in one.structure.symbol_set}
    return {symbol: elements[place] for symbol, place in keys.items() if place in elements}


def _place(one: Calculation, elements: Mapping[str, float], hull: Hull) -> DftPlacement:
    if one.departure:
        return DftPlacement(None, None, one.departure)
    try:
        if one.code.on_hull_scale:
            energy, parts = _of_vasp(one)
            how = f"{one.code.label}, the Materials Project's settings and elements"
        else:
            energy, parts = _of_other(one, elements)
            how = f"{one.code.label}, elements computed with the same settings"
        hull.check_scale()
        e_above_hull = hull.e_above_hull(one.structure.composition, energy).e_above_hull
    except InputError as error:
        return DftPlacement(None, None, str(error).removeprefix("hull: "))
    corrected = ", ".join(part.removeprefix("MP2020 ").replace("correction ", "") for part in parts)
    scale = f"{how}; MP2020: {corrected or 'nothing to correct'}{_caveat(one)}"
    return DftPlacement(energy, e_above_hull, scale)


def _of_vasp(one: Calculation) -> tuple[float, dict[str, float]]:
    if one.job and one.job.settings.get("input_set", "mp") != "mp":
        raise InputError(
            f"written with the {one.job.settings['input_set']} input set, whose energies meet no such hull."
        )
    assert one.output is not None  # noqa: S101 - what VASP computed was read
    assert one.output.vasp is not None  # noqa: S101
    energy, parts = corrected_energy(one.output.vasp)
    return energy - _mean(one, vasp_energies(), "the Materials Project's table"), parts


def _of_other(one: Calculation, elements: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    if one.job is None or one.job.task not in COMPARABLE:
        raise InputError("no manifest says with which settings it was computed, so no elements go with it.")
    if one.hubbard_u:
        raise InputError(f"computed with +U, which in {one.code.label} is not the Materials Project's.")
    if one.code.elements_unavailable:
        raise InputError(f"{one.code.elements_unavailable}.")
    parts = corrections(one.structure)
    if parts is None:
        raise InputError(
            "the Materials Project computes this with +U: energies without it do not meet its hull."
        )
    return one.energy_per_atom - _mean(one, elements, "these folders") + sum(parts.values()), parts


def _mean(one: Calculation, elements: Mapping[str, float], where: str) -> float:
    """Return the mean energy of the elements of a crystal, eV/atom."""
    amounts = one.structure.composition.get_el_amt_dict()
    if missing := sorted(amounts.keys() - elements.keys()):
        message = f"no energy of {', '.join(missing)} in {where}"
        if one.code.on_hull_scale:
            raise InputError(f"{message}.")
        if unlisted := [symbol for symbol in missing if symbol not in references()]:
            command = f"`invdesign dft write FILE --code {one.code.name} --references`"
            raise InputError(f"{message}{MORE}compute a crystal of {', '.join(unlisted)}: {command}.")
        command = f"`invdesign dft write … --code {one.code.name} --references`"
        raise InputError(f"{message}{MORE}{command}, run it, and collect both.")
    return sum(elements[symbol] * amount for symbol, amount in amounts.items()) / sum(amounts.values())


def _caveat(one: Calculation) -> str:
    """Return what makes the energy less certain."""
    open_f = [el.symbol for el in one.structure.composition if el.is_lanthanoid and el.symbol not in "La Lu"]
    if one.code.on_hull_scale or not open_f:
        return ""
    return f"; less sure: 4f electrons of {', '.join(sorted(open_f))} may be in its valence, not in MP's"
