"""``invdesign evaluate``: how good is a set of crystals, whoever made them; the same protocol for all.

The denominator is every structure sampled: unreadable ones, failures and duplicates count against.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invdesign.analysis.evaluate.checkpoint import FILE, ChunkStore
from invdesign.analysis.evaluate.metrics import Evaluation
from invdesign.analysis.evaluate.samples import Outcome, Sample, fingerprint, pack, read_samples, unpack
from invdesign.campaign.components import Components
from invdesign.campaign.progress import Clock
from invdesign.campaign.validate import check_least, check_names
from invdesign.errors import InputError
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import default_workers, run_tasks
from invdesign.io.provenance import artifact_hashes, hardware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.core.target import Target
    from invdesign.relaxation.relax import Relaxed

NOT_RELAXED = "not relaxed"
CHUNK = 16  # structures relaxed together: the unit of work that a resumed run keeps


@dataclass(frozen=True)
class Task:
    """A chunk of samples and what to judge them with: travels to a worker."""

    number: int
    samples: list[Sample]
    components: Components
    target: Target | None
    fmax: float
    max_steps: int


def evaluate(
    source: Path | str | Sequence[Path | str | Structure],
    *,
    target: Target | None = None,
    potential: Any = "chgnet",  # noqa: ANN401 - a name or a Potential
    hull: Any = "mp-hull",  # noqa: ANN401 - a name or a Hull
    reference: Any = "known-materials",  # noqa: ANN401 - a name or a KnownMaterials
    calibration: Any = None,  # noqa: ANN401 - a name or a Calibration
    predictors: Mapping[str, Any] | None = None,
    relax: bool = True,
    fmax: float = 0.1,
    max_steps: int = 250,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """Judge structures by validity, uniqueness, novelty, stability and, with a target, its windows.

    Args:
        source: files, folders, tables (:func:`invdesign.crystal.structure_files.read_structures`), or
            structures.
        target: what they were made for; adds in-window rates and hits.
        potential: relaxes and gives energies.
        hull: energies above it, through the potential's calibration.
        reference: known materials that novelty is judged against.
        calibration: default: the potential's own.
        predictors: model by property, for the target's windows; default: the released ones.
        relax: False takes the energies of the structures as they are.
        fmax: largest force at convergence, eV/Å.
        max_steps: of one relaxation.
        limit: evaluate this many only, drawn at random with ``seed``.
        seed: of that draw.
        workers: processes; default one per core; 1 stays in this one.
        out: folder for ``evaluation.json``, ``structures.csv`` and the chunks done so far: the same call
            goes on where it was killed.
        progress: show a bar on stderr.

    Raises:
        InputError: nothing readable, a part is missing or does not fit, or ``out`` holds another evaluation
            or is in use.
    """
    check_least(1, limit=limit, workers=workers)
    check_least(0, seed=seed)
    check_names(hull=hull, reference=reference, calibration=calibration)
    clock = Clock()
    with clock.stage("reading"):
        samples = _drawn(read_samples(source), limit, seed)
    models = _models(target, predictors)
    components = Components(
        known=reference, potential=potential, calibration=calibration, hull=hull, predictors=models
    )
    protocol = _protocol(components, samples, relax=relax, fmax=fmax, max_steps=max_steps, target=target)
    tasks = _tasks(samples, components, target, fmax, max_steps if relax else 0)
    with locked_folder(out, FILE) if out else nullcontext():
        store = ChunkStore(out, protocol) if out else None
        done = dict(store.done) if store else {}
        hands = _judge_all(tasks, done, store, workers, show=progress)
        outcomes = [outcome for task in tasks for outcome in done[task.number][0]]
        with clock.stage("identity"):
            _group(samples, outcomes)
        cost = _added(clock.seconds, *(seconds for _, seconds in done.values()))
        drawn = {**protocol, "seed": seed if limit else None}
        evaluation = Evaluation(outcomes, drawn, cost, {**hardware(), "workers": hands}, target)
        if out:
            evaluation.write(out)
    return evaluation


def _tasks(
    samples: list[Sample], components: Components, target: Target | None, fmax: float, max_steps: int
) -> list[Task]:
    pieces = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
    return [Task(number, own, components, target, fmax, max_steps) for number, own in enumerate(pieces)]


def _judge_all(
    tasks: list[Task],
    done: dict[int, tuple[list[Outcome], dict[str, tuple[float, float]]]],
    store: ChunkStore | None,
    workers: int | None,
    *,
    show: bool,
) -> int:
    """Judge what is not done yet, adding it to ``done`` and to the store; the number of processes."""
    todo = [task for task in tasks if task.number not in done]
    hands = min(workers or default_workers(), max(1, len(todo)))
    total = sum(len(task.samples) for task in tasks)
    with _bar(total, total - sum(len(task.samples) for task in todo), show=show) as bar:
        for number, outcomes, seconds in run_tasks(_judge, todo, workers=hands):
            done[number] = (outcomes, seconds)
            if store:
                store.append(number, outcomes, seconds)
            bar(len(outcomes))
    return hands


def _models(target: Target | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Predictors of the target's windows."""
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


def _drawn(samples: list[Sample], limit: int | None, seed: int) -> list[Sample]:
    import numpy as np

    if limit is None or limit >= len(samples):
        return samples
    chosen = np.random.default_rng(seed).choice(len(samples), size=limit, replace=False)
    return [samples[i] for i in sorted(chosen)]


def _protocol(
    components: Components, samples: Sequence[Sample], *, target: Target | None, **settings: float
) -> dict[str, Any]:
    """What decides the figures, as plain JSON; every part is loaded here once, before any work."""
    # what a user's own hull lacks is told before the potential is loaded
    hull, known, potential, calibration = map(components.get, ("hull", "known", "potential", "calibration"))
    components.check_scale()
    for name in components.predictors or {}:
        components.predictor(name)

    def told(part: Any, default: Any) -> str:  # noqa: ANN401
        return part if isinstance(part, str) else str(getattr(default, "name", type(default).__name__))

    named = {
        "calibration": told(components.calibration or potential.name, calibration),
        "hull": told(components.hull, hull),
        "reference": told(components.known, known),
    }
    models = {name: told(part, part) for name, part in (components.predictors or {}).items()}
    released = {*named.values(), *models.values()}
    return {
        "potential": potential.name,
        **named,
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


def _judge(task: Task) -> tuple[int, list[Outcome], dict[str, tuple[float, float]]]:
    """Everything about a chunk that does not need the others."""
    clock = Clock()
    outcomes = [Outcome(sample.label, fault=sample.fault) for sample in task.samples]
    readable = [
        (o, s.structure) for o, s in zip(outcomes, task.samples, strict=True) if s.structure is not None
    ]
    with clock.stage("validity"):
        for outcome, structure in readable:
            with _own_fault(outcome, "validity"):
                _check_validity(outcome, structure)
    with clock.stage("relaxation"):
        relaxed = _relax([structure for _, structure in readable], task)
    with clock.stage("hull"):
        for (outcome, structure), result in zip(readable, relaxed, strict=True):
            with _own_fault(outcome, "hull"):
                _place(outcome, structure, result, task)
    with clock.stage("novelty"):
        for outcome, structure in readable:
            with _own_fault(outcome, "novelty"):
                _check_novelty(outcome, structure, task)
    with clock.stage("properties"):
        _predict([outcome for outcome in outcomes if outcome.e_above_hull is not None], task)
    return task.number, outcomes, clock.seconds


@contextmanager
def _own_fault(outcome: Outcome, stage: str) -> Iterator[None]:
    """What a strange structure makes a stage raise is that structure's fault, and ends nothing else."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - strangers' structures, and seven libraries that read them
        told = " ".join(str(error).split())[:200]
        outcome.fault = f"{outcome.label}: {stage} could not be judged ({type(error).__name__}: {told})."


def _check_validity(outcome: Outcome, structure: Structure) -> None:
    from invdesign.filters.charge_balance import charge_balance
    from invdesign.filters.geometry import geometry_check

    outcome.formula = structure.composition.reduced_formula
    outcome.n_atoms = len(structure)
    outcome.crystal = pack(structure)
    charge, geometry = charge_balance(structure.composition), geometry_check(structure)
    outcome.charge_balanced, outcome.charge_reason = charge.passed, charge.reason
    outcome.plausible, outcome.geometry_reason = geometry.passed, geometry.reason


def _relax(structures: list[Structure], task: Task) -> list[Relaxed]:
    from invdesign.relaxation.relax import relax

    return relax(structures, task.components.get("potential"), fmax=task.fmax, max_steps=task.max_steps)


def _place(outcome: Outcome, structure: Structure, result: Relaxed, task: Task) -> None:
    """Record how the relaxation ended and, where it gave a result, the energy above the hull."""
    from math import isfinite

    from invdesign.crystal.matching import rmsd

    outcome.n_steps, outcome.relaxation = int(result.n_steps), result.reason
    outcome.converged = bool(task.max_steps and result.converged)
    if not (outcome.converged if task.max_steps else isfinite(result.energy)):
        return
    if not task.max_steps:
        outcome.relaxation = NOT_RELAXED
    outcome.crystal = pack(result.structure)
    if task.max_steps:
        outcome.rmsd = rmsd(structure, result.structure)
    try:
        place = task.components.placement(result.structure, result.energy)
    except InputError as error:  # an element that the calibration or the hull does not know
        outcome.relaxation += f"; no energy above hull: {error}"
        return
    outcome.formation_energy_per_atom, outcome.sigma = place.formation_energy, place.sigma
    outcome.e_above_hull, outcome.n_phases = place.e_above_hull, place.n_phases


def _check_novelty(outcome: Outcome, structure: Structure, task: Task) -> None:
    """Known or not; what has no gene counts as known, so that it cannot pass for novel."""
    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.filters.alloys import alloy_of

    known = task.components.get("known")
    outcome.composition_known = bool(known.known_composition(structure.composition))
    try:
        outcome.sampled_gene = str(gene_of(structure)[0])
        gene = gene_of(unpack(outcome.crystal))[0]
    except SymmetryError:
        outcome.gene_known = outcome.prototype_known = True
        return
    outcome.gene = str(gene)
    outcome.gene_known = bool(known.known_gene(gene.hash))
    outcome.prototype_known = known.prototype_known(gene)
    outcome.alloy = alloy_of(unpack(outcome.crystal), known)
    if task.target is not None:
        outcome.allowed = task.target.allows(gene).passed


def _predict(outcomes: list[Outcome], task: Task) -> None:
    structures = [unpack(outcome.crystal) for outcome in outcomes]
    for outcome, estimates in zip(outcomes, task.components.estimates(structures), strict=True):
        for name, e in estimates.items():
            outcome.properties[name] = (float(e.mean), float(e.sigma), float(e.p_zero), bool(e.in_domain))


def _group(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> None:
    """Number the distinct crystals, as sampled and in the end."""
    from invdesign.crystal.matching import unique_groups

    readable = [(o, s.structure) for o, s in zip(outcomes, samples, strict=True) if s.structure is not None]
    first = unique_groups([structure for _, structure in readable])
    last = unique_groups([unpack(outcome.crystal) for outcome, _ in readable])
    for (outcome, _), group, final in zip(readable, first, last, strict=True):
        outcome.group, outcome.final_group = group, final


def _added(*costs: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    total: dict[str, tuple[float, float]] = {}
    for cost in costs:
        for stage, (wall, core) in cost.items():
            before = total.get(stage, (0.0, 0.0))
            total[stage] = (before[0] + wall, before[1] + core)
    return total


@contextmanager
def _bar(total: int, before: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task("evaluating", total=total, completed=before)
        yield lambda n: progress.advance(task, n)
