"""What options name: there, of the right kind and with the elements needed, told before the dear work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.errors import InputError
from invdesign.io import artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from invdesign.campaign.components import Components
    from invdesign.core.target import Target

_FILES = {
    "hull": ("hull.npz", "a CSV, a folder of VASP runs, mp:Li-Fe-O or optimade:PROVIDER:Li-Fe-O"),
    "reference": ("known.npz", "a folder with known.npz"),
    "calibration": ("calibration.json", "a folder with calibration.json"),
}


def check_names(**given: object) -> None:
    """See that what options name is there and of their kind; None and objects of one's own pass.

    Args:
        **given: by option: ``hull``, ``reference``, ``calibration``.

    Raises:
        InputError: there is none of that name, or it is something else.
    """
    for option, name in given.items():
        if not isinstance(name, str):
            continue
        file, others = _FILES[option]
        folder = artifacts.resolve("validators", name)
        if (folder / file).is_file() or (option == "hull" and _own_phases(name)):
            continue
        released = ", ".join(
            sorted(path.parent.name for path in artifacts.root("validators").glob(f"*/{file}"))
        )
        wrong = f"{name!r} is no {option}: it has no {file}" if folder.is_dir() else f"there is no {name!r}"
        raise InputError(f"{option}: {wrong}; give {released}, or {others}.")


def check_generators(names: Sequence[str]) -> None:
    """See that generators are there, ``structure-types`` among them, before anything is loaded.

    Raises:
        InputError: there is no such generator.
    """
    from invdesign.generators.registry import find_generator
    from invdesign.generators.substitution.structure_types import StructureTypes

    for name in names:
        if name != StructureTypes.name:
            find_generator(name, also=(StructureTypes.name,))


def check_least(least: int, **given: int | None) -> None:
    """See that no number is below the least that can be; None passes.

    Raises:
        InputError: one is, by its name.
    """
    for name, number in given.items():
        if number is not None and number < least:
            raise InputError(f"{name}: {number} cannot be; give {least} or more.")


def check_elements(targets: Mapping[str, Target], components: Components, kind: str) -> None:
    """See that a part knows all elements.

    Raises:
        InputError: naming the first formula with one that it does not know.
    """
    known = components.get(kind).elements
    for formula, target in targets.items():
        if strange := ", ".join(sorted(target.required - known)):
            called = components.get("potential").name if kind != "hull" else components.hull
            raise InputError(
                f"formula: {formula}: the {kind} {called} does not know {strange}; give one without."
            )


def _own_phases(name: str) -> bool:
    """Whether a hull's name means a user's own source, which says itself what it lacks."""
    from invdesign.stability.hull.vasp import runs_in

    named = name.startswith(("mp:", "optimade:")) or name.endswith((".csv", ".csv.gz"))
    return named or bool(runs_in(Path(name)))
