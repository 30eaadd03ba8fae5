"""DFT energies on the hull's scale: formation energy and height above the hull, or why there is none.

VASP with the Materials Project's settings: its MP2020 corrections, its own elements. Any other code: the
elements computed by it with the same settings, then MP2020's anion corrections, which mend what PBE says of
anions. Runs with +U stay without a height but in VASP: U acts on every code's own projectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from invdesign.dft.results.element_energies import COMPARABLE, key, lowest
from invdesign.dft.results.element_references import references, vasp_energies
from invdesign.errors import InputError
from invdesign.stability.hull.vasp import corrected_energy, corrections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Composition

    from invdesign.dft.results.calculation import Computed
    from invdesign.dft.results.element_energies import Element, Key
    from invdesign.stability.hull.hull import Hull

MORE = "; "  # before what to do about it


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a calculation's crystal lies, or why that is unknown.

    Attributes:
        formation_energy: eV/atom, on the hull's scale.
        e_above_hull: eV/atom.
        scale: how they came about; without them, why they are not there. A sentence.
    """

    formation_energy: float | None
    e_above_hull: float | None
    scale: str


def place(computed: Sequence[Computed], elements: Sequence[Element], hull: Hull) -> list[Placed]:
    """Formation energy and height above the hull of each calculation.

    Args:
        computed: finished calculations.
        elements: that formation energies are counted from, of any settings.
        hull: the phases to compare with, on the MP2020 scale.
    """
    known = lowest(elements)
    return [_place(one, _suiting(one, known), hull) for one in computed]


def _suiting(one: Computed, elements: Mapping[Key, float]) -> dict[str, float]:
    """The elements that were computed with a calculation's own settings and pseudopotentials."""
    keys = {symbol: key(one, symbol) for symbol in one.structure.symbol_set}
    return {symbol: elements[place] for symbol, place in keys.items() if place in elements}


def _place(one: Computed, elements: Mapping[str, float], hull: Hull) -> Placed:
    name = one.code.label
    if one.departure:
        return Placed(None, None, one.departure)
    try:
        if one.code.on_hull_scale:
            energy, parts = _of_vasp(one)
            how = f"{name}, the Materials Project's settings and elements"
        else:
            energy, parts = _of_other(one, elements)
            how = f"{name}, elements computed with the same settings"
        composition: Composition = one.structure.composition
        hull.check_scale()
        height = hull.e_above_hull(composition, energy).e_above_hull
    except InputError as error:
        return Placed(None, None, str(error).removeprefix("hull: "))
    mended = ", ".join(part.removeprefix("MP2020 ").replace("correction ", "") for part in parts)
    return Placed(energy, height, f"{how}; MP2020: {mended or 'nothing to correct'}{_doubt(one)}")


def _of_vasp(one: Computed) -> tuple[float, dict[str, float]]:
    if one.job and one.job.settings.get("input_set", "mp") != "mp":
        raise InputError(
            f"written with the {one.job.settings['input_set']} input set, whose energies meet no such hull."
        )
    assert one.reading is not None  # noqa: S101 - what VASP computed was read
    assert one.reading.vasp is not None  # noqa: S101
    energy, parts = corrected_energy(one.reading.vasp)
    return energy - _mean(one, vasp_energies(), "the Materials Project's table"), parts


def _of_other(one: Computed, elements: Mapping[str, float]) -> tuple[float, dict[str, float]]:
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
    return one.per_atom - _mean(one, elements, "these folders") + sum(parts.values()), parts


def _mean(one: Computed, elements: Mapping[str, float], where: str) -> float:
    """Energy of the elements that a crystal is made of, eV/atom."""
    amounts = one.structure.composition.get_el_amt_dict()
    missing = sorted(set(amounts) - set(elements))
    if missing:
        raise InputError(_absent(one, missing, where))
    return sum(elements[symbol] * amount for symbol, amount in amounts.items()) / sum(amounts.values())


def _absent(one: Computed, missing: Sequence[str], where: str) -> str:
    msg = f"no energy of {', '.join(missing)} in {where}"
    if one.code.on_hull_scale:
        return f"{msg}."
    if none := [symbol for symbol in missing if symbol not in references()]:
        command = f"`invdesign dft write FILE --code {one.code.name} --references`"
        return f"{msg}{MORE}compute your own crystal of {', '.join(none)}: {command}."
    return (
        f"{msg}{MORE}`invdesign dft write … --code {one.code.name} --references`, run it, and collect both."
    )


def _doubt(one: Computed) -> str:
    """What makes the figure less sure."""
    open_f = [el.symbol for el in one.structure.composition if el.is_lanthanoid and el.symbol not in "La Lu"]
    if one.code.on_hull_scale or not open_f:
        return ""
    return f"; less sure: 4f electrons of {', '.join(sorted(open_f))} may be in its valence, not in MP's"
