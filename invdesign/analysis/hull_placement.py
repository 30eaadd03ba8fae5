"""Formulas and structures in, their place on the hull out: height, uncertainty, what they fall apart into."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.evaluate.samples import read_samples
from invdesign.campaign.components import Components
from invdesign.composition.formula import formula_amounts
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.relaxation.parallel import relax_structures
from invdesign.report.plots.phase_diagram import Mark, check_target, draw_systems

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymatgen.core import Composition, Structure

    from invdesign.core.placement import Placement
    from invdesign.relaxation.relax import Relaxed
    from invdesign.stability.hull.hull import Hull, HullResult

FMAX, MAX_STEPS = 0.1, 250  # as `invdesign evaluate`
FEW = 5
"""Other compounds below which a chemical system counts as poorly explored (docs/guide/hull.md)."""
_ON_HULL = 1e-4  # eV/atom
_FILE = re.compile(r"\.[A-Za-z]\w*$|[/\\]|^(poscar|contcar)$", re.IGNORECASE)


@dataclass(slots=True)
class Place:
    """Where one formula or structure lies.

    Attributes:
        label: the formula as given, or the structure's name.
        formula: reduced formula; empty where it could not be read.
        reason: the verdict in words; where there is no place, why not.
        composition_known: whether the hull has a phase of this composition.
        n_phases: compositions that the hull knows in the chemical system, its elements among them.
        hull_energy_per_atom: the hull's own energy at this composition, eV/atom.
        decomposition: atomic fraction of each competing phase.
        below_competitors: how far the hull's phase of this composition lies under what it would fall apart
            into, eV/atom, and ``competitors`` what that is; absent where the hull has no corner here.
        formation_energy_per_atom, e_above_hull: eV/atom.
        sigma: standard deviation of both, eV/atom.
        p_stable: probability of lying under the threshold.
        crystal_known: whether the structure itself is a reported crystal; those get no hypothetical offset.
        competing: of a formula, all phases of the system: formula, energy, height above the hull,
            distance in composition (half the sum of differences of atomic fractions).
        notes: warnings, each a sentence.
    """

    label: str
    formula: str = ""
    reason: str = ""
    composition_known: bool | None = None
    n_phases: int | None = None
    hull_energy_per_atom: float | None = None
    decomposition: dict[str, float] = field(default_factory=dict)
    below_competitors: float | None = None
    competitors: dict[str, float] = field(default_factory=dict)
    formation_energy_per_atom: float | None = None
    e_above_hull: float | None = None
    sigma: float | None = None
    p_stable: float | None = None
    crystal_known: bool | None = None
    competing: list[dict[str, Any]] | None = None
    notes: list[str] = field(default_factory=list)
    composition: Composition | None = None

    @property
    def placed(self) -> bool:
        """Whether the hull has an answer."""
        return self.hull_energy_per_atom is not None

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "composition"}
        return {"label": values.pop("label"), "formula": values.pop("formula"), "placed": self.placed} | {
            name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()
        }

    def row(self) -> dict[str, Any]:
        """For a table."""
        values = self.as_json()
        del values["competing"]
        for name in ("decomposition", "competitors"):
            values[name] = mixture(values[name])
        return values | {"notes": " ".join(self.notes)}


@dataclass(frozen=True, slots=True)
class Report:
    """Places in the order of what was given, and what they were judged with."""

    places: list[Place]
    protocol: dict[str, Any]
    plots: list[Path]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            **self.protocol,
            "results": [place.as_json() for place in self.places],
            "plots": [str(path) for path in self.plots],
            "notes": self.notes,
        }


def mixture(shares: dict[str, float]) -> str:
    """``0.67 Na3N + 0.33 N``."""
    return " + ".join(f"{share:.2f} {name}" for name, share in shares.items())


def place_on_hull(
    given: Sequence[str],
    *,
    energies: Sequence[float] = (),
    hull: str = "mp-hull",
    potential: str = "chgnet",
    calibration: str | None = None,
    relax: bool = True,
    threshold: float = 0.1,
    workers: int | None = None,
    out: Path | None = None,
    plot: Path | None = None,
    save_hull: Path | None = None,
    progress: Callable[[float, str], None] = lambda _share, _message: None,
) -> Report:
    """Place formulas and structures on a hull of known phases.

    Args:
        given: formulas, and paths of structures (an existing path is a file).
        energies: formation energies of the formulas on the hull's scale, eV/atom, one each, or none.
        hull: name, folder, CSV, folder of VASP runs, ``mp:…`` or ``optimade:…`` (``Hull.load``).
        potential: gives the structures' energies.
        calibration: brings them to the hull's scale; default: the potential's own.
        relax: relax the structures first; False takes them as they are.
        threshold: eV/atom, for the probability of being stable.
        workers: processes; default one per core.
        out: CSV to write.
        plot: folder, ``.png`` or ``.html`` for the phase diagrams of the chemical systems.
        save_hull: CSV to write the hull's phases to, so that it stays as it is.
        progress: is told the share that is done and a word on it.

    Raises:
        InputError: no input can be read, a file is missing, the hull or the potential cannot be used, or
            they are on different scales.
    """
    if not 0 <= threshold < 10:
        raise InputError(f"threshold: {threshold:g} is no height above the hull; give 0 to 10 eV/atom.")
    if not given:
        raise InputError("hull: nothing was given; name formulas such as CuInS2, or files of structures.")
    places, structures = _read(given, energies)
    if plot:
        formulas = [place.composition for place in places if place.composition is not None]
        check_target(plot, [*formulas, *(structure.composition for structure in structures.values())])
    components = Components(potential=potential, calibration=calibration, hull=hull)
    known: Hull = components.get("hull")
    protocol: dict[str, Any] = {"hull": hull, "scale": known.scale, "threshold": threshold}
    if structures:
        components.check_scale()
        calibrated = components.get("calibration").potential
        protocol |= {
            "potential": components.get("potential").name,
            "calibration": calibrated,
            "relaxed": relax,
        }
        relaxed = _relaxed(list(structures.values()), potential, MAX_STEPS if relax else 0, workers, progress)
        for number, result in zip(structures, relaxed, strict=True):
            _place_structure(places[number], result, components, threshold, relax=relax)
    for number, place in enumerate(places):
        if place.composition is not None and number not in structures:
            _place_formula(place, known)
    if save_hull:
        known.save_csv(save_hull)
    if out:
        _write(places, out)
    marks = [_mark(place) for place in places if place.composition is not None]
    plots, notes = draw_systems(marks, known.phases, plot, f"{hull}, {known.scale}") if plot else ([], [])
    return Report(places, protocol, plots, notes)


def _read(given: Sequence[str], energies: Sequence[float]) -> tuple[list[Place], dict[int, Structure]]:
    """Places to be filled in, and the structures by the number of their place."""
    from pymatgen.core import Composition

    places: list[Place] = []
    structures: dict[int, Structure] = {}
    formulas: list[Place] = []
    for text in given:
        if Path(text).exists():
            for label, structure, fault in _samples(Path(text)):
                if structure is not None:
                    structures[len(places)] = structure
                places.append(Place(label, reason=fault))
        elif _FILE.search(text):
            raise InputError(
                f"{text}: no such file or folder; give the path of structures, or a formula such as CuInS2."
            )
        else:
            place = Place(text)
            formulas.append(place)
            places.append(place)
            try:
                place.composition = Composition(formula_amounts(text))
            except InputError as error:
                place.reason = str(error)
    if (energies and len(energies) != len(formulas)) or not all(map(isfinite, energies)):
        told = ", ".join(f"{energy:g}" for energy in energies)
        raise InputError(
            f"energy: {told} for {len(formulas)} formulas; give one --energy each, in order, as a number "
            "in eV/atom."
        )
    for place, energy in zip(formulas, energies, strict=False):
        place.formation_energy_per_atom = energy
    if not structures and all(place.composition is None for place in places):
        raise InputError(places[0].reason)
    return places, structures


def _samples(path: Path) -> list[tuple[str, Structure | None, str]]:
    try:
        return [(sample.label, sample.structure, sample.fault or "") for sample in read_samples(path)]
    except InputError as error:
        return [(path.name, None, str(error))]


def _relaxed(
    structures: list[Structure],
    potential: str,
    max_steps: int,
    workers: int | None,
    progress: Callable[[float, str], None],
) -> list[Relaxed]:
    results: dict[int, Relaxed] = {}
    relaxing = relax_structures(structures, potential, workers=workers, fmax=FMAX, max_steps=max_steps)
    for number, result in relaxing:
        results[number] = result
        progress(len(results) / len(structures), f"{len(results)} of {len(structures)} structures")
    return [results[number] for number in range(len(structures))]


def _place_structure(
    place: Place, result: Relaxed, components: Components, threshold: float, *, relax: bool
) -> None:
    from invdesign.filters.geometry import geometry_check

    composition = result.structure.composition
    place.formula = composition.reduced_formula
    if not isfinite(result.energy) or (relax and not result.converged):
        place.reason = f"no energy: {result.reason}"
        return
    check = geometry_check(result.structure)
    if not check.passed:
        place.reason = f"no plausible structure: {check.reason}"
        return
    try:
        at = components.placement(result.structure, result.energy)
    except InputError as error:  # an element that the calibration or the hull does not know
        place.reason = str(error)
        return
    place.composition, place.crystal_known = composition, at.crystal_known
    place.formation_energy_per_atom, place.sigma = at.formation_energy, at.sigma
    place.p_stable = at.probability_below(threshold)
    _record(place, composition, at)


def _place_formula(place: Place, hull: Hull) -> None:
    composition = place.composition
    assert composition is not None  # noqa: S101 - for the type checker; only what was read comes here
    place.formula = composition.get_integer_formula_and_factor()[0]
    try:
        at = hull.e_above_hull(composition, place.formation_energy_per_atom or 0.0)
    except InputError as error:
        place.reason, place.composition = str(error), None
        return
    _record(place, composition, at)
    without = hull.e_above_hull(composition, 0.0, known=False)
    below = -without.e_above_hull - (place.hull_energy_per_atom or 0.0)
    if len(composition) > 1 and below > _ON_HULL:
        place.below_competitors, place.competitors = below, without.decomposition
    place.competing = _competing(composition, hull)
    if place.formation_energy_per_atom is None:
        place.e_above_hull = None
        place.reason = _formula_words(place)


def _formula_words(place: Place) -> str:
    if place.below_competitors is not None:
        return f"on the hull, {place.below_competitors:.3f} eV/atom below its competitors"
    if place.composition is not None and len(place.composition) == 1:
        return "an element, zero by definition"
    if list(place.decomposition) == [place.formula]:
        return "known; its energy is that of its competitors (docs/guide/hull.md)"
    known = "known, but not on the hull" if place.composition_known else "no known phase"
    return f"{known}: at equilibrium {mixture(place.decomposition)}"


def _record(place: Place, composition: Composition, at: HullResult | Placement) -> None:
    height = float(at.e_above_hull)
    place.e_above_hull = height
    place.hull_energy_per_atom = (place.formation_energy_per_atom or 0.0) - height
    place.decomposition = at.decomposition
    place.n_phases, place.composition_known = at.n_phases, at.composition_known
    side = f"{height:.3f} eV/atom above the hull" if height > _ON_HULL else "on the hull"
    place.reason = f"{-height:.3f} eV/atom below the known hull" if height < -_ON_HULL else side
    others = at.n_phases - len(composition.elements) - at.composition_known
    if len(composition) > 1 and others < FEW:
        compounds = f"{others or 'no'} other compound{'' if others == 1 else 's'}"
        place.notes.append(
            f"Poorly explored: the hull knows {compounds} of {composition.chemical_system}; "
            "an energy above it is a lower bound, and may be far too low."
        )


def _competing(composition: Composition, hull: Hull) -> list[dict[str, Any]]:
    """All phases of the system that take part, those on the hull and near in composition first."""
    from pymatgen.core import Composition

    symbols = [element.symbol for element in composition.elements]
    rows = []
    for formula, energy in (*((symbol, 0.0) for symbol in symbols), *hull.phases(symbols)):
        other = Composition(formula)
        height = max(hull.e_above_hull(other, energy).e_above_hull, 0.0)
        distance = sum(
            abs(other.get_atomic_fraction(symbol) - composition.get_atomic_fraction(symbol))
            for symbol in symbols
        )
        rows.append(
            {
                "formula": formula,
                "formation_energy_per_atom": round(energy, 6),
                "e_above_hull": round(height, 6),
                "distance": round(distance / 2, 6),
            }
        )
    return sorted(
        rows, key=lambda row: (row["e_above_hull"] > _ON_HULL, row["distance"], row["e_above_hull"])
    )


def _write(places: Sequence[Place], out: Path) -> None:
    rows = [place.row() for place in places]
    with atomic_write(out) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _mark(place: Place) -> Mark:
    assert place.composition is not None  # noqa: S101 - for the type checker; only what was placed is plotted
    height = place.e_above_hull or 0.0  # a formula without an energy: the hull's own point
    return Mark(place.label, place.composition, (place.hull_energy_per_atom or 0.0) + height, height)
