"""Evaluate a set of crystals by one protocol, regardless of source.

The denominator is every crystal sampled: unreadable ones, failures and duplicates count against the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.evaluate.metrics import EvaluationResult
from invdesign.analysis.evaluate.record import SampleRecord
from invdesign.analysis.inputs import Sample, fingerprint, pack, read_samples, sampled, unpack
from invdesign.campaign.components import Components
from invdesign.campaign.progress import Clock
from invdesign.campaign.validate import check_finisher, check_least, check_names
from invdesign.core.placement import Placement
from invdesign.core.target import Target, parse_target
from invdesign.crystal.chemical_formula import formula_of
from invdesign.errors import InputError
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import default_workers, run_tasks
from invdesign.io.progress import Progress, no_progress
from invdesign.io.provenance import artifact_hashes, hardware

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.relaxation.relax import Relaxed

FILE = "chunks.jsonl"  # the chunks that are done
NOT_RELAXED = "not relaxed"
CHUNK = 16  # structures relaxed together: the unit of work that a resumed run keeps


@dataclass(frozen=True)
class EvaluateUnit:
    """A chunk of samples and the components that evaluate it; sent to a worker."""

    number: int
    samples: list[Sample]
    components: Components
    target: Target | None
    fmax: float
    max_steps: int


def evaluate(
    structures: Any,  # noqa: ANN401 - one or several paths or pymatgen structures
    *,
    target: str | Iterable[str] | Target | None = None,
    potential: Any = "chgnet",  # noqa: ANN401 - a name or a Potential
    hull: Any = "mp-hull",  # noqa: ANN401 - a name or a Hull
    reference: Any = "known-materials",  # noqa: ANN401 - a name or a KnownMaterials
    calibration: Any = None,  # noqa: ANN401 - a name or a Calibration
    second_opinion: Any = None,  # noqa: ANN401 - a name or a Potential
    second_calibration: Any = None,  # noqa: ANN401 - a name or a Calibration
    predictors: Mapping[str, Any] | None = None,
    relax: bool = True,
    fmax: float = 0.1,
    max_steps: int = 250,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    out: str | Path | None = None,
    progress: Progress = no_progress,
) -> EvaluationResult:
    """Evaluate crystals: validity, uniqueness, novelty, stability and, with a target, its windows.

    >>> evaluate("samples.csv.gz", limit=200).rates["valid"].value  # doctest: +SKIP

    Args:
        structures: pymatgen structures, or files, folders and tables of them; one or a list.
        target: the target that they were made for, as clauses or a Target; adds in-window rates and hits.
        potential: relaxes and gives energies.
        hull: for energies above hull, through the calibration of the potential.
        reference: known materials, for novelty.
        calibration: default: the calibration of the potential.
        second_opinion: another potential, which relaxes on from where the first ended and places the
            crystals, too; adds the rates by it and by both.
        second_calibration: default: the calibration of that potential.
        predictors: model by property, for the target's windows; default: the released ones.
        relax: False takes the energies of the crystals as they are.
        fmax: largest force at convergence, eV/Å.
        max_steps: most steps of one relaxation.
        limit: evaluate only so many, drawn at random with ``seed``.
        seed: of that draw.
        workers: processes; default: one per core; 1 stays in this one.
        out: folder for ``evaluation.json``, ``structures.csv`` and the chunks done so far: the same call
            resumes.
        progress: receives the share done and a message.

    Returns:
        Rates with 95 % intervals, medians, yields, cost, and one record per crystal.

    Raises:
        InputError: nothing readable, a component is missing or does not fit, or ``out`` holds another
            evaluation or is in use.
    """
    check_least(1, limit=limit, workers=workers)
    check_least(0, seed=seed)
    check_names(
        hull=hull, reference=reference, calibration=calibration, second_calibration=second_calibration
    )
    if target is not None:
        target = parse_target([str(target)] if isinstance(target, str | Target) else list(target))
    out = None if out is None else Path(out)
    clock = Clock()
    with clock.stage("reading"):
        samples = sampled(read_samples(structures, overlaps=True), limit, seed)
    models = _models(target, predictors)
    components = Components(
        known=reference,
        potential=potential,
        calibration=calibration,
        finisher=second_opinion,
        finisher_calibration=second_calibration,
        hull=hull,
        predictors=models,
    )
    protocol = _protocol(components, samples, relax=relax, fmax=fmax, max_steps=max_steps, target=target)
    pieces = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    steps = max_steps if relax else 0
    units = [
        EvaluateUnit(number, piece, components, target, fmax, steps) for number, piece in enumerate(pieces)
    ]
    with locked_folder(out, FILE) if out else nullcontext():
        journal = Journal(out / FILE, "evaluation", protocol) if out else None
        done = dict(map(_restored, journal.entries if journal else ()))
        todo = [unit for unit in units if unit.number not in done]
        workers = min(workers or default_workers(), max(1, len(todo)))
        for number, records, unit_clock in run_tasks(_evaluate_unit, todo, workers=workers):
            done[number] = (records, unit_clock)
            if journal:
                rows = [asdict(record) for record in records]
                journal.append({"chunk": number, "seconds": unit_clock.seconds, "outcomes": rows})
            n = sum(len(records) for records, _ in done.values())
            progress(n / len(samples), f"{n} of {len(samples)} crystals evaluated")
        records = [record for unit in units for record in done[unit.number][0]]
        with clock.stage("duplicates"):
            _group(samples, records)
        cost = sum((unit_clock for _, unit_clock in done.values()), clock).seconds
        drawn = {**protocol, "seed": seed if limit else None}
        result = EvaluationResult(records, drawn, cost, {**hardware(), "workers": workers}, target)
        if out:
            result.write(out)
    return result


def _models(target: Target | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the predictors of the target's windows."""
    from invdesign.core.properties import PROPERTIES
    from invdesign.predictors.registry import models_of

    wanted = sorted(set(target.windows if target else ()) - {"formation_energy_per_atom"})
    models = models_of(wanted, given)
    if idle := sorted(set(given or ()) - set(wanted)):
        raise InputError(
            f"predictor: the target does not ask for {', '.join(idle)}; add a window, or leave it out."
        )
    if missing := [name for name in wanted if name not in models]:
        raise InputError(
            f"target: nothing predicts {', '.join(missing)}; ask for {', '.join(models_of(PROPERTIES))}."
        )
    return {name: models[name] for name in wanted}


def _protocol(
    components: Components, samples: Sequence[Sample], *, target: Target | None, **settings: float
) -> dict[str, Any]:
    """Return what decides the metrics, as plain JSON; each component is loaded here once, before any work."""
    # the hull first: an error in a custom one is reported before the potential is loaded
    hull, known, potential, calibration = map(components.get, ("hull", "known", "potential", "calibration"))
    components.check_scale()
    for name in components.predictors or {}:
        components.predictor(name)

    def name_of(part: Any, default: Any) -> str:  # noqa: ANN401
        return part if isinstance(part, str) else str(getattr(default, "name", type(default).__name__))

    named = {
        "calibration": name_of(components.calibration or potential.name, calibration),
        "hull": name_of(components.hull, hull),
        "reference": name_of(components.known, known),
    }
    models = {name: name_of(part, part) for name, part in (components.predictors or {}).items()}
    released = {*named.values(), *models.values()}
    second = {}
    if components.finisher is not None:
        check_finisher(components, "second_opinion", "give --second-calibration FOLDER with one made for it")
        best = components.best()
        other, other_calibration = best.get("potential"), best.get("calibration")
        if (other.name, other.digest) == (potential.name, potential.digest):
            raise InputError(f"second_opinion: {other.name} is the first potential too; give another.")
        made_for = name_of(best.calibration or other.name, other_calibration)
        second["second_opinion"] = {
            "potential": other.name,
            "weights": other.digest,
            "calibration": made_for,
        }
        released.add(made_for)
    return {
        "potential": potential.name,
        "weights": potential.digest,
        **named,
        **second,
        "hull_phases": len(hull),
        "reference_compositions": len(known.compositions),
        "reference_crystals": len(known.genes),
        "predictors": models,
        "target": None if target is None else str(target),
        **settings,
        "files": {path: text for path, text in artifact_hashes().items() if path.split("/")[1] in released},
        "chunk": CHUNK,
        "structures": fingerprint(samples),
    }


def _restored(entry: dict[str, Any]) -> tuple[int, tuple[list[SampleRecord], Clock]]:
    """Return number, records and cost of a chunk of an earlier run."""
    clock = Clock()
    clock.seconds = {stage: (wall, core) for stage, (wall, core) in entry["seconds"].items()}
    return entry["chunk"], ([SampleRecord(**fields) for fields in entry["outcomes"]], clock)


def _evaluate_unit(unit: EvaluateUnit) -> tuple[int, list[SampleRecord], Clock]:
    """Find out everything about a chunk that does not need the others."""
    clock = Clock()
    records = [SampleRecord(sample.label, fault=sample.fault) for sample in unit.samples]
    readable = [
        (r, s.structure) for r, s in zip(records, unit.samples, strict=True) if s.structure is not None
    ]
    with clock.stage("validity"):
        for record, structure in readable:
            with _catch_fault(record, "validity"):
                _check_validity(record, structure)
    with clock.stage("relaxation"):
        relaxed = _relax([structure for _, structure in readable], unit)
    with clock.stage("hull"):
        for (record, structure), result in zip(readable, relaxed, strict=True):
            with _catch_fault(record, "hull"):
                _place(record, structure, result, unit)
    if unit.components.finisher is not None:
        with clock.stage("second opinion"):
            _second_opinion(readable, relaxed, unit)
    with clock.stage("novelty"):
        for record, structure in readable:
            with _catch_fault(record, "novelty"):
                _check_novelty(record, structure, unit)
    with clock.stage("properties"):
        _predict([record for record in records if record.e_above_hull is not None], unit)
    return unit.number, records, clock


@contextmanager
def _catch_fault(record: SampleRecord, stage: str) -> Iterator[None]:
    """Record an exception as a fault of the crystal that caused it, and go on with the others."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - arbitrary structures, and seven libraries that read them
        message = " ".join(str(error).split())[:200]
        record.fault = f"{record.label}: {stage} could not be evaluated ({type(error).__name__}: {message})."


def _check_validity(record: SampleRecord, structure: Structure) -> None:
    from invdesign.composition.oxidation_states import ChargeRules
    from invdesign.filters.charge_balance import charge_balance
    from invdesign.filters.geometry import geometry_check

    record.formula = formula_of(structure.composition)
    record.n_atoms = len(structure)
    record.crystal = pack(structure)
    charge, geometry = charge_balance(structure.composition, ChargeRules()), geometry_check(structure)
    record.charge_balanced, record.charge_reason = charge.passed, charge.reason
    record.plausible, record.geometry_reason = geometry.passed, geometry.reason


def _relax(structures: list[Structure], unit: EvaluateUnit) -> list[Relaxed]:
    from invdesign.relaxation.relax import relax

    return relax(structures, unit.components.get("potential"), fmax=unit.fmax, max_steps=unit.max_steps)


def _place(record: SampleRecord, structure: Structure, result: Relaxed, unit: EvaluateUnit) -> None:
    """Record how the relaxation ended and, where it converged, the energy above hull."""
    from invdesign.crystal.matching import rmsd

    record.n_steps = int(result.n_steps)
    record.converged = bool(unit.max_steps and result.converged)
    if _usable(result, unit):
        record.crystal = pack(result.structure)
        if unit.max_steps:
            record.rmsd = rmsd(structure, result.structure)
    record.relaxation, place = _placed(result, unit)
    if place is not None:
        record.formation_energy_per_atom, record.sigma = place.formation_energy, place.sigma
        record.e_above_hull, record.n_phases = place.e_above_hull, place.n_phases


def _usable(result: Relaxed, unit: EvaluateUnit) -> bool:
    """Whether the relaxation converged or, where nothing is relaxed, the energy is known."""
    return bool(result.converged if unit.max_steps else isfinite(result.energy))


def _placed(result: Relaxed, unit: EvaluateUnit) -> tuple[str, Placement | None]:
    """Return how the relaxation ended and, where it converged, the placement."""
    reason = result.reason if unit.max_steps or not isfinite(result.energy) else NOT_RELAXED
    if not _usable(result, unit):
        return reason, None
    try:
        return reason, unit.components.placement(result.structure, result.energy)
    except InputError as error:  # an element that the calibration or the hull does not know
        return f"{reason}; no energy above hull: {error}", None


def _second_opinion(
    readable: Sequence[tuple[SampleRecord, Structure]], relaxed: Sequence[Relaxed], unit: EvaluateUnit
) -> None:
    """Relax on with the second potential from where the first converged, else from the crystal as given."""
    starts = [
        result.structure if record.converged else structure
        for (record, structure), result in zip(readable, relaxed, strict=True)
    ]
    second = replace(unit, components=unit.components.best())
    for (record, _), result in zip(readable, _relax(starts, second), strict=True):
        with _catch_fault(record, "second opinion"):
            record.second_relaxation, place = _placed(result, second)
            if place is not None:
                record.second_e_above_hull, record.second_sigma = place.e_above_hull, place.sigma


def _check_novelty(record: SampleRecord, structure: Structure, unit: EvaluateUnit) -> None:
    """Set novelty; a crystal without a gene counts as known, so that it cannot pass for novel."""
    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.filters.alloys import alloy_of

    known = unit.components.get("known")
    record.composition_known = bool(known.known_composition(structure.composition))
    try:
        record.sampled_gene = str(gene_of(structure)[0])
        gene = gene_of(unpack(record.crystal))[0]
    except SymmetryError:
        record.structure_known = record.prototype_known = True
        return
    record.gene = str(gene)
    record.structure_known = bool(known.same_as(unpack(record.crystal)))
    record.prototype_known = known.prototype_known(gene)
    record.alloy = alloy_of(unpack(record.crystal), known)
    if unit.target is not None:
        record.allowed = unit.target.allows(gene).passed


def _predict(records: list[SampleRecord], unit: EvaluateUnit) -> None:
    structures = [unpack(record.crystal) for record in records]
    for record, estimates in zip(records, unit.components.estimates(structures), strict=True):
        for name, e in estimates.items():
            record.properties[name] = (float(e.mean), float(e.sigma), float(e.p_zero), bool(e.in_domain))


def _group(samples: Sequence[Sample], records: Sequence[SampleRecord]) -> None:
    """Assign numbers to the distinct crystals, as sampled and in the end."""
    from invdesign.crystal.matching import unique_groups

    readable = [(r, s.structure) for r, s in zip(records, samples, strict=True) if s.structure is not None]
    first = unique_groups([structure for _, structure in readable])
    last = unique_groups([unpack(record.crystal) for record, _ in readable])
    for (record, _), group, final in zip(readable, first, last, strict=True):
        record.group, record.final_group = group, final
