"""Energies of the elements that were computed, by settings; a campaign keeps them for later collections."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from invdesign.dft.results.calculation import Computed

FILE = "elements-dft.json"  # in a campaign's folder
COMPARABLE = frozenset({"relax", "static", "gap"})  # tasks whose energies are converged
Key = tuple[str, str, str]  # settings, symbol, pseudopotential


@dataclass(frozen=True, slots=True)
class Element:
    """One element's energy.

    Attributes:
        settings: that it was computed with (``Computed.scale``).
        symbol: of the element.
        pseudopotential: its file; empty where the code has none.
        energy: of the ground state, eV/atom.
        folder: of the run.
    """

    settings: str
    symbol: str
    pseudopotential: str
    energy: float
    folder: str


def own_elements(computed: Iterable[Computed]) -> list[Element]:
    """The runs that were written as references, and run so; a candidate that is an element is none."""
    return [
        Element(
            *key(one, one.structure[0].specie.symbol),
            one.per_atom - one.job.entry["reference_height"],
            str(one.folder.resolve()),
        )
        for one in computed
        if one.job is not None
        and "reference_height" in one.job.entry
        and one.job.task in COMPARABLE
        and one.departure is None
        and one.structure.composition.is_element
    ]


def key(one: Computed, symbol: str) -> Key:
    """What an element must have been computed with to go with a calculation."""
    return one.scale, symbol, one.pseudopotentials.get(symbol, "")


def lowest(elements: Sequence[Element]) -> Mapping[Key, float]:
    """Energy of each element's ground state, eV/atom: of several crystals the lowest counts."""
    found: dict[Key, float] = {}
    for one in elements:
        place = (one.settings, one.symbol, one.pseudopotential)
        found[place] = min(one.energy, found.get(place, one.energy))
    return found


def with_kept(campaign: Path, own: Sequence[Element], collected: Iterable[Path]) -> list[Element]:
    """Elements of this collection and those that the campaign keeps of other folders.

    Raises:
        InputError: what the campaign keeps is damaged.
    """
    path = campaign / FILE
    if not path.is_file():
        return list(own)
    try:
        kept = [Element(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise InputError(
            f"out: {path} is damaged ({error}); remove it and collect the elements again."
        ) from error
    now = {str(folder.resolve()) for folder in collected}
    return [*(one for one in kept if one.folder not in now), *own]


def keep(campaign: Path, elements: Sequence[Element]) -> None:
    """Keep them in a campaign's folder; no file is made for none."""
    if not elements and not (campaign / FILE).is_file():
        return
    with atomic_write(campaign / FILE) as draft:
        rows = [asdict(one) for one in sorted(elements, key=lambda one: (one.symbol, one.folder))]
        draft.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
