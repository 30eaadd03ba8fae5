"""Place formulas and structures on a hull: energy above hull, uncertainty, decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.inputs import LIKE_A_PATH, listed, samples_of
from invdesign.campaign.components import Components
from invdesign.campaign.validate import check_least, check_names
from invdesign.composition.formula import formula_amounts
from invdesign.core.placement import Placement
from invdesign.crystal.chemical_formula import formula_of
from invdesign.errors import InputError, no_such_file
from invdesign.io.paths import is_there
from invdesign.io.progress import Progress, no_progress
from invdesign.io.tables import Tabular, write_csv
from invdesign.relaxation.parallel import relax_structures
from invdesign.report.plots.phase_diagram import Mark, check_target, draw_systems

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

    from invdesign.relaxation.relax import Relaxed
    from invdesign.stability.hull.hull import Hull, HullResult

FMAX, MAX_STEPS = 0.1, 250  # as `invdesign evaluate`
FEW_BINARY, FEW = 3, 5
"""Compounds below which a system of two, and of more elements counts as poorly explored."""
_ON_HULL = 1e-4  # eV/atom


@dataclass(slots=True)
class HullPlacement:
    """Where one formula or structure lies relative to the hull.

    Attributes:
        label: the formula as given, or the structure's name.
        formula: reduced formula; empty where it could not be read.
        reason: the result in words; where there is none, why.
        composition_known: whether the hull has a phase of this composition.
        n_phases: compositions that the hull knows in the chemical system, its elements among them.
        hull_energy_per_atom: energy of the hull at this composition, eV/atom.
        decomposition: atomic fraction of each competing phase.
        below_competitors: how far the hull's phase of this composition lies below the phases that it would
            decompose into (``competitors``), eV/atom; absent where the hull has no vertex here.
        formation_energy_per_atom, e_above_hull: eV/atom.
        sigma: standard deviation of both, eV/atom.
        p_stable: probability of lying below the threshold.
        crystal_known: whether the structure itself is a reported crystal; those get no hypothetical offset.
        competing: for a formula, all phases of the system: formula, energy, energy above hull, distance in
            composition (half the sum of differences of atomic fractions).
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
        """Whether there is a result."""
        return self.hull_energy_per_atom is not None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "composition"}
        return {"label": values.pop("label"), "formula": values.pop("formula"), "placed": self.placed} | {
            name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()
        }

    def row(self) -> dict[str, Any]:
        """Return a row of the table."""
        values = self.as_json()
        del values["competing"]
        for name in ("decomposition", "competitors"):
            values[name] = mixture(values[name])
        return values | {"notes": " ".join(self.notes)}


@dataclass(frozen=True, slots=True)
class HullReport(Tabular):
    """The result of :func:`hull`.

    Attributes:
        places: one per input, in order.
        protocol: hull, its energy scale, threshold, potential and calibration.
        plots: files of phase diagrams.
        notes: what was not plotted.
    """

    places: list[HullPlacement]
    protocol: dict[str, Any]
    plots: list[Path]
    notes: list[str]

    def __repr__(self) -> str:
        """Return how many inputs were placed on which hull."""
        placed = sum(place.placed for place in self.places)
        return f"<hull: {placed} of {len(self.places)} inputs placed on {self.protocol['hull']}>"

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per input."""
        return [place.row() for place in self.places]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            **self.protocol,
            "results": [place.as_json() for place in self.places],
            "plots": [str(path) for path in self.plots],
            "notes": self.notes,
        }


def mixture(shares: dict[str, float]) -> str:
    """Return ``0.67 Na3N + 0.33 N``."""
    return " + ".join(f"{share:.2f} {name}" for name, share in shares.items())


def hull(
    given: Any,  # noqa: ANN401 - one or several formulas, paths or pymatgen objects
    *,
    energies: Sequence[float] = (),
    hull: str | Path = "mp-hull",
    potential: str = "chgnet",
    calibration: str | None = None,
    relax: bool = True,
    threshold: float = 0.1,
    workers: int | None = None,
    out: str | Path | None = None,
    plot: str | Path | None = None,
    save_hull: str | Path | None = None,
    progress: Progress = no_progress,
) -> HullReport:
    """Place formulas and structures on the hull of known phases.

    A formula is looked up. A structure is relaxed with a potential and placed by its calibrated energy.

    >>> hull(["CuInS2", structure]).to_pandas()["e_above_hull"]  # doctest: +SKIP

    Args:
        given: formulas, pymatgen structures or compositions, and paths of structures (an existing path is a
            file); one or a list.
        energies: formation energies of the formulas on the hull's scale, eV/atom, one each, or none.
        hull: name, folder, CSV, folder of VASP runs, ``mp:…`` or ``optimade:…`` (``Hull.load``).
        potential: gives the energies of the structures.
        calibration: brings them to the hull's scale; default: the calibration of the potential.
        relax: relax the structures first; False takes them as they are.
        threshold: e_above_hull up to which a crystal counts as stable, eV/atom.
        workers: processes; default: one per core.
        out: CSV to write.
        plot: folder, ``.png`` or ``.html`` for the phase diagrams of the chemical systems.
        save_hull: CSV to write the phases of the hull to, to use the same ones again.
        progress: receives the share done and a message.

    Returns:
        A report with one :class:`HullPlacement` per input in ``places``.

    Raises:
        InputError: no input can be read, a file is missing, the hull or the potential cannot be used, or
            they are on different scales.
    """
    check_least(1, workers=workers)
    check_names(hull=hull, calibration=calibration)
    hull = str(hull)
    if not 0 <= threshold < 10:
        raise InputError(f"threshold: {threshold:g} is no energy above hull; give 0 to 10 eV/atom.")
    places, structures = _read(listed(given), energies)
    if plot:
        plot = Path(plot)
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
        known.save_csv(Path(save_hull))
    marks = [_mark(place) for place in places if place.composition is not None]
    plots, notes = (
        draw_systems(marks, known.comparable_phases, plot, f"{hull}, {known.scale}") if plot else ([], [])
    )
    report = HullReport(places, protocol, plots, notes)
    if out:
        write_csv(Path(out), report.rows())
    return report


def _read(
    given: Sequence[Any], energies: Sequence[float]
) -> tuple[list[HullPlacement], dict[int, Structure]]:
    """Return results to be filled in, and the structures by the number of their result."""
    if not given:
        raise InputError("hull: nothing was given; name formulas such as CuInS2, or files of structures.")
    places: list[HullPlacement] = []
    structures: dict[int, Structure] = {}
    formulas: list[HullPlacement] = []
    for entry in given:
        if _is_formula(entry):
            places.append(_formula(entry))
            formulas.append(places[-1])
            continue
        for sample in samples_of(entry, len(places) + 1):
            if sample.structure is not None:
                structures[len(places)] = sample.structure
            places.append(HullPlacement(sample.label, reason=sample.fault))
    if (energies and len(energies) != len(formulas)) or not all(map(isfinite, energies)):
        listed_energies = ", ".join(f"{energy:g}" for energy in energies)
        raise InputError(
            f"energy: {listed_energies} for {len(formulas)} formulas; give one --energy each, in order, as a "
            "number in eV/atom."
        )
    for place, energy in zip(formulas, energies, strict=False):
        place.formation_energy_per_atom = energy
    if not structures and all(place.composition is None for place in places):
        raise InputError(places[0].reason)
    return places, structures


def _is_formula(entry: Any) -> bool:  # noqa: ANN401 - see hull
    """Whether the entry is a composition or text, not a structure or an existing path."""
    from pymatgen.core import Structure

    if isinstance(entry, Structure) or (isinstance(entry, str | Path) and is_there(entry)):
        return False
    if LIKE_A_PATH.search(str(entry)):
        raise no_such_file(entry, "the path of structures, or a formula such as CuInS2")
    return True


def _formula(entry: Any) -> HullPlacement:  # noqa: ANN401 - text or a composition
    from pymatgen.core import Composition

    place = HullPlacement(str(entry).replace(" ", ""))
    try:
        place.composition = Composition(formula_amounts(str(entry)))
    except InputError as error:
        place.reason = str(error)
    return place


def _relaxed(
    structures: list[Structure],
    potential: str,
    max_steps: int,
    workers: int | None,
    progress: Progress,
) -> list[Relaxed]:
    results: dict[int, Relaxed] = {}
    relaxing = relax_structures(structures, potential, workers=workers, fmax=FMAX, max_steps=max_steps)
    for number, result in relaxing:
        results[number] = result
        progress(len(results) / len(structures), f"{len(results)} of {len(structures)} structures")
    return [results[number] for number in range(len(structures))]


def _place_structure(
    place: HullPlacement, result: Relaxed, components: Components, threshold: float, *, relax: bool
) -> None:
    from invdesign.filters.geometry import geometry_check

    composition = result.structure.composition
    place.formula = formula_of(composition)
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
    _record(place, composition, at, components.get("hull"))


def _place_formula(place: HullPlacement, hull: Hull) -> None:
    composition = place.composition
    assert composition is not None  # noqa: S101 - for the type checker; only what was read comes here
    place.formula = formula_of(composition)
    try:
        at = hull.e_above_hull(composition, place.formation_energy_per_atom or 0.0)
    except InputError as error:
        place.reason, place.composition = str(error), None
        return
    _record(place, composition, at, hull)
    without = hull.e_above_hull(composition, 0.0, known=False)
    below = without.hull_energy - (place.hull_energy_per_atom or 0.0)
    if len(composition) > 1 and below > _ON_HULL:
        place.below_competitors, place.competitors = below, without.decomposition
    place.competing = _competing(composition, hull)
    if place.formation_energy_per_atom is None:
        place.e_above_hull = None
        place.reason = _formula_words(place)


def _formula_words(place: HullPlacement) -> str:
    if place.below_competitors is not None:
        return f"on the hull, {place.below_competitors:.3f} eV/atom below its competitors"
    if place.composition is not None and len(place.composition) == 1:
        return "an element, zero by definition"
    if list(place.decomposition) == [place.formula]:
        return "known; its energy is that of its competitors (docs/guide/hull.md)"
    known = "known, but not on the hull" if place.composition_known else "no known phase"
    return f"{known}: at equilibrium {mixture(place.decomposition)}"


def _record(place: HullPlacement, composition: Composition, at: HullResult | Placement, hull: Hull) -> None:
    e_above_hull = float(at.e_above_hull)
    place.e_above_hull = e_above_hull
    place.hull_energy_per_atom = hull.e_above_hull(composition, 0.0).hull_energy
    place.decomposition = at.decomposition
    place.n_phases, place.composition_known = at.n_phases, at.composition_known
    if e_above_hull < -_ON_HULL:
        place.reason = f"{-e_above_hull:.3f} eV/atom below the known hull"
    else:
        above = f"{e_above_hull:.3f} eV/atom above the hull"
        place.reason = above if e_above_hull > _ON_HULL else "on the hull"
    taken_back = e_above_hull + place.hull_energy_per_atom - (place.formation_energy_per_atom or 0.0)
    if taken_back > _ON_HULL:
        place.notes.append(
            f"Its cations cannot reduce all anions: {taken_back:.3f} eV/atom of MP2020's correction is "
            "taken back, and what is due of its competitors' (docs/concepts/energy-above-hull.md)."
        )
    others = at.n_phases - len(composition.elements) - at.composition_known
    few = FEW_BINARY if len(composition) == 2 else FEW
    if len(composition) > 1 and others < few and not at.composition_known:
        compounds = f"{others or 'no'} compound{'' if others == 1 else 's'}"
        place.notes.append(
            f"Poorly explored: the hull knows {compounds} of {composition.chemical_system}; "
            "an energy above it is a lower bound, and may be far too low."
        )


def _competing(composition: Composition, hull: Hull) -> list[dict[str, Any]]:
    """Return all phases of the system, those on the hull and near in composition first."""
    from pymatgen.core import Composition

    symbols = [element.symbol for element in composition.elements]
    rows = []
    for formula, energy in (*((symbol, 0.0) for symbol in symbols), *hull.phases(symbols)):
        other = Composition(formula)
        above = max(hull.e_above_hull(other, energy).e_above_hull, 0.0)
        distance = sum(
            abs(other.get_atomic_fraction(symbol) - composition.get_atomic_fraction(symbol))
            for symbol in symbols
        )
        rows.append(
            {
                "formula": formula,
                "formation_energy_per_atom": round(energy, 6),
                "e_above_hull": round(above, 6),
                "distance": round(distance / 2, 6),
            }
        )
    return sorted(
        rows, key=lambda row: (row["e_above_hull"] > _ON_HULL, row["distance"], row["e_above_hull"])
    )


def _mark(place: HullPlacement) -> Mark:
    assert place.composition is not None  # noqa: S101 - for the type checker; only what was placed is plotted
    above = place.e_above_hull or 0.0  # a formula without an energy is drawn on the hull
    return Mark(place.label, place.composition, (place.hull_energy_per_atom or 0.0) + above, above)
