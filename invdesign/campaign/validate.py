"""Checks of what options name, before the expensive work: it exists, is of its kind and has the elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from invdesign.campaign.components import Components
from invdesign.core.target import Target
from invdesign.errors import InputError
from invdesign.io import artifacts

_FILES = {
    "hull": ("hull.npz", "a CSV, a folder of VASP runs, mp:Li-Fe-O or optimade:PROVIDER:Li-Fe-O"),
    "reference": ("known.npz", "a folder with known.npz"),
    "calibration": ("calibration.json", "a folder with calibration.json"),
}
_FILES["second_calibration"] = _FILES["calibration"]


def check_names(**given: object) -> None:
    """Check that what options name exists and is of their kind; None and custom objects pass.

    Args:
        **given: by option: ``hull``, ``reference``, ``calibration``, ``second_calibration``.

    Raises:
        InputError: there is none of that name, or it is something else.
    """
    for option, name in given.items():
        if not isinstance(name, str):
            continue
        file, others = _FILES[option]
        folder = artifacts.resolve("validators", name)
        if (folder / file).is_file() or (option == "hull" and _is_hull_source(name)):
            continue
        released = ", ".join(
            sorted(path.parent.name for path in artifacts.root("validators").glob(f"*/{file}"))
        )
        wrong = (
            f"{name!r} is no {option.replace('_', ' ')}: it has no {file}"
            if folder.is_dir()
            else f"there is no {name!r}"
        )
        raise InputError(f"{option}: {wrong}; give {released}, or {others}.")


def check_finisher(
    components: Components,
    option: str = "finish",
    advice: str = "give 7net-0, 7net-l3i5, another potential that has one, or none",
) -> None:
    """Check that the finishing potential can be loaded and has a calibration, made for it.

    Args:
        components: of the campaign, or of an evaluation with a second opinion.
        option: that names the potential.
        advice: what to give where no calibration fits it.

    Raises:
        InputError: it cannot, or has none.
    """
    try:
        best = components.best()
        name = best.get("potential").name
        folder = artifacts.resolve("validators", name)
        if has_calibration := best.calibration is not None or (folder / _FILES["calibration"][0]).is_file():
            best.check_scale(advice)
    except InputError as error:
        raise InputError(f"{option}: {error}") from error
    if not has_calibration:
        raise InputError(f"{option}: {name} has no released calibration; {advice}.")


def check_generators(names: Sequence[str]) -> None:
    """Check that generators exist, ``structure-types`` among them, before anything is loaded.

    Raises:
        InputError: there is no such generator.
    """
    from invdesign.generators.registry import find_generator
    from invdesign.generators.substitution.structure_types import StructureTypes

    for name in names:
        if name != StructureTypes.name:
            find_generator(name, also=(StructureTypes.name,))


def check_least(least: int, **given: int | None) -> None:
    """Check that no number is below the least allowed; None passes.

    Raises:
        InputError: one is; the message names it.
    """
    for name, number in given.items():
        if number is not None and number < least:
            raise InputError(f"{name}: {number} cannot be; give {least} or more.")


def check_elements(targets: Mapping[str, Target], components: Components, kind: str) -> None:
    """Check that a component supports all elements.

    Raises:
        InputError: for the first formula with an element that it does not support.
    """
    known = components.get(kind).elements
    for formula, target in targets.items():
        if strange := ", ".join(sorted(target.required - known)):
            called = components.get("potential").name if kind != "hull" else components.hull
            raise InputError(
                f"formula: {formula}: the {kind} {called} does not support {strange}; give a formula without."
            )


def _is_hull_source(name: str) -> bool:
    """Whether a hull's name means a custom source, which reports errors itself."""
    from invdesign.stability.hull.vasp import runs_in

    named = name.startswith(("mp:", "optimade:")) or name.endswith((".csv", ".csv.gz"))
    return named or bool(runs_in(Path(name)))
