"""Propose crystals for a target with a generator, before any relaxation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import count
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from invdesign.campaign.components import Components
from invdesign.campaign.stages.prerank import select_likeliest
from invdesign.campaign.validate import check_least
from invdesign.core.candidate import Candidate, Origin
from invdesign.core.target import Target, parse_target
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.structure_files import PROPOSALS, file_formula, write_cif
from invdesign.crystal.symmetry import realise
from invdesign.errors import InputError
from invdesign.filters.novelty import Wanted, novelty_wanted, novelty_word
from invdesign.generators.geometry.source import GeometrySource
from invdesign.generators.registry import Generator, generator_digest, load_generator
from invdesign.io.artifacts import find
from invdesign.io.atomic import atomic_write
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import default_workers, one_thread, process_pool, run_tasks
from invdesign.io.progress import Progress, no_progress
from invdesign.io.provenance import RUN_FILE, folder_digest, write_run_json
from invdesign.io.tables import Results, write_csv
from invdesign.report.shortlist_csv import CIF_FOLDER
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Structure

BATCH = 256  # candidates a unit; as in a campaign, so that the same seed gives the same genes
ROUNDS = 3  # of further batches in place of repeats and of what is not as new as asked for
DRAWS = 8  # genes drawn for each proposal where the target has a window on a property
TABLE, JOURNAL = "proposals.csv", "proposals.jsonl"
GEOMETRY = ("geometries", "geometry-diffusion")  # artifacts of the geometry source


@dataclass(frozen=True)
class ProposalRun:
    """What decides the proposals.

    Attributes:
        generator: name or folder, with its ``options``.
        weights: digests of all artifacts that the proposals depend on.
        target: elements, formula and property windows.
        n: number of proposals.
        seed: of the run.
        distinct: draw other genes in place of repeats.
        novelty: draw other genes in place of those that are not so new, or so well known.
        draws: genes drawn for each proposal, of which pre-ranking takes the likeliest hits.
        structures: give each proposal a geometry and a structure.
        cifs: folder for a CIF of each; None: none.
    """

    generator: str
    options: dict[str, Any]
    weights: dict[str, str]
    target: Target
    n: int
    seed: int
    distinct: bool
    novelty: Wanted
    draws: int
    structures: bool
    cifs: Path | None

    @property
    def identity(self) -> dict[str, Any]:
        """Return what must agree for a run to resume."""
        names = ("generator", "options", "weights", "n", "seed", "distinct", "novelty", "draws")
        return {"target": str(self.target), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class GeneUnit:
    """A batch of genes to draw; sent to a worker."""

    run: ProposalRun
    number: int
    n: int


@dataclass(frozen=True)
class StructureUnit:
    """Proposals that are to get structures; sent to a worker."""

    run: ProposalRun
    number: int
    candidates: list[Candidate]


def generate(
    target: str | Iterable[str] | Target = (),
    n: int = 20,
    *,
    generator: str = "gene-diffusion",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    structures: bool = True,
    distinct: bool = True,
    novelty: Wanted = "new",
    draws: int | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
    **conditions: Any,  # noqa: ANN401 - each condition has its own type
) -> Results[Candidate]:
    """Propose exactly ``n`` crystals for a target, before any relaxation.

    >>> proposals = generate("band_gap>3", n=100, elements="O")  # doctest: +SKIP
    >>> proposals[0].structure, proposals.to_pandas()["gene"]  # doctest: +SKIP

    Args:
        target: clauses of the target language (``docs/guide/targets.md``), or a Target. Conditions on
            elements, formula, space group and atoms are always met.
        n: number of proposals.
        generator: ``gene-diffusion``, ``crystal-vae``, ``ion-exchange``, ``prototypes``, or a folder.
        options: of the generator: ``guidance`` (a number, or numbers by condition), ``temperature``.
        seed: the same seed gives the same proposals, however many workers.
        structures: give each a geometry, not relaxed, and a structure; False: genes alone, unless ``out``.
        distinct: draw another gene in place of a repeated one, in up to three further rounds; repeats that
            are left then stay. False: the generator's draws as they are.
        novelty: ``new``: new compositions and new structures of known ones, others are replaced in the same
            rounds as far as these find any; ``any``; ``known``: known crystals alone.
        draws: genes drawn for each proposal, of which pre-ranking takes the likeliest hits; 1: as drawn.
            Default: 8 where the target has a window on a property, else 1.
        out: folder for ``proposals.csv``, ``proposals.extxyz``, a CIF each and ``run.json``; if killed, the
            same call resumes. None: no files.
        workers: processes; default: one per core.
        progress: receives the share done and a message.
        conditions: keywords of :func:`invdesign.parse_target`: ``elements, only, exclude, formula,
            anonymous, space_group, n_atoms``.

    Returns:
        ``n`` candidates, each with ``gene`` and, if asked for, ``structure``.

    Raises:
        InputError: generator, target or option cannot be used, or ``out`` belongs to another run.
    """
    check_least(1, n=n, workers=workers, draws=draws)
    check_least(0, seed=seed)
    if novelty not in get_args(Wanted):
        raise InputError(f"novelty: there is no {novelty!r}; give {', '.join(get_args(Wanted))}.")
    target = parse_target([str(target)] if isinstance(target, str | Target) else list(target), **conditions)
    draws = draws or (DRAWS if target.windows else 1)
    out = None if out is None else Path(out)
    run = ProposalRun(
        generator,
        dict(options or {}),
        _weights(generator, target, ranked=draws > 1),
        target,
        n,
        seed,
        distinct,
        novelty,
        draws,
        structures=structures or out is not None,
        cifs=out and out / CIF_FOLDER,
    )
    _generator_of(run).propose(target, 1, seed)  # raises for conditions that it can never meet
    workers = min(workers or default_workers(), ceil(n / BATCH))
    if out is None:
        with _batches(None, workers) as batches:
            return _results(run, _proposals(run, batches, progress))
    with (
        locked_folder(out, JOURNAL),
        _batches(Journal(out / JOURNAL, "generation", run.identity), workers) as batches,
    ):
        candidates = _proposals(run, batches, progress)
        _write(candidates, out)
        if batches.added or not (out / RUN_FILE).exists():
            write_run_json(out, {"generate": run.identity, "target": target.describe()})
    return _results(run, candidates)


def _results(run: ProposalRun, candidates: list[Candidate]) -> Results[Candidate]:
    kind = "crystals" if run.structures else "genes"
    summary = f"generate: {len(candidates)} {kind} by {run.generator}"
    return Results(candidates, row=row_of, summary=summary)


class _Batches:
    """Finished batches from the journal, and the missing ones, which are computed and added to it.

    Args:
        journal: of the run; None: nothing is kept.
        executor: computes the batches; None: this process.

    Attributes:
        added: how many were not in the journal.
    """

    def __init__(self, journal: Journal | None, executor: Executor | None) -> None:
        self._journal, self._executor = journal, executor
        entries = journal.entries if journal else []
        self._stored = {(entry["stage"], entry["batch"]): entry["proposals"] for entry in entries}
        self.added = 0

    def of(
        self,
        stage: str,
        work: Callable[[Any], list[Candidate]],
        tasks: Sequence[GeneUnit | StructureUnit],
    ) -> Iterator[list[Candidate]]:
        """Yield the candidates of each unit, in order."""
        missing = [task for task in tasks if (stage, task.number) not in self._stored]
        fresh = run_tasks(work, missing, workers=1, executor=self._executor, ordered=True)
        for task in tasks:
            if (stored := self._stored.get((stage, task.number))) is not None:
                yield [_unpacked(entry) for entry in stored]
                continue
            proposals = next(fresh)
            self.added += 1
            if self._journal:
                packed = [_packed(proposal) for proposal in proposals]
                self._journal.append({"stage": stage, "batch": task.number, "proposals": packed})
            yield proposals


@contextmanager
def _batches(journal: Journal | None, workers: int) -> Iterator[_Batches]:
    if workers == 1:
        yield _Batches(journal, None)
    else:
        with process_pool(workers) as pool:
            yield _Batches(journal, pool)


def _proposals(run: ProposalRun, batches: _Batches, progress: Progress) -> list[Candidate]:
    """Draw the genes, then make a structure for each."""
    part = 0.5 if run.structures else 1.0
    candidates = _genes(run, batches, lambda share, message: progress(part * share, message))
    for i, candidate in enumerate(candidates):
        candidate.id = f"g{i:06d}"
    if not run.structures:
        return candidates
    parts = [candidates[first : first + BATCH] for first in range(0, run.n, BATCH)]
    built: list[Candidate] = []
    for batch in batches.of(
        "structures", _build, [StructureUnit(run, i, batch) for i, batch in enumerate(parts)]
    ):
        built += batch
        progress(part + part * len(built) / run.n, f"{len(built)} of {run.n} structures")
    return built


def _genes(run: ProposalRun, batches: _Batches, progress: Progress) -> list[Candidate]:
    """Draw as many genes as asked for, and replace unwanted ones by new ones as far as these are found."""
    numbers = count()  # continue through the rounds: the number of a batch is its seed
    drawn: list[Candidate] = []

    def draw(wanted: int) -> list[Candidate]:
        before = len(drawn)
        sizes = [min(BATCH, wanted - first) for first in range(0, wanted, BATCH)]
        for batch in batches.of("genes", _draw, [GeneUnit(run, next(numbers), size) for size in sizes]):
            drawn.extend(batch)
            progress(min(1.0, len(drawn) / run.n), f"{len(drawn)} genes drawn for {run.n}")
        return drawn[before:]

    candidates, seen = draw(run.n), set[str]()
    unwanted = _unwanted(run, candidates, seen)
    for _ in range(ROUNDS):
        if not unwanted:
            break
        # twice as many, since some are unwanted too; few where the target admits few genes
        more = draw(min(2 * len(unwanted), len(seen)))
        left_out = {*_unwanted(run, more, seen)}
        wanted = [candidate for i, candidate in enumerate(more) if i not in left_out]
        for i, candidate in zip(unwanted, wanted, strict=False):
            candidates[i] = candidate
        unwanted = unwanted[len(wanted) :]
    return candidates


def _unwanted(run: ProposalRun, candidates: Sequence[Candidate], seen: set[str]) -> list[int]:
    """Return the places of repeats, then of those as new as is not asked for; add all genes to those seen."""
    repeats, others, named = [], [], run.target.formula is not None
    for i, candidate in enumerate(candidates):
        if run.distinct and candidate.gene.hash in seen:
            repeats.append(i)
        elif not novelty_wanted(candidate.verdicts["novelty"], run.novelty, named=named):
            others.append(i)
        seen.add(candidate.gene.hash)
    return repeats + others


def _weights(generator: str, target: Target, *, ranked: bool) -> dict[str, str]:
    from invdesign.core.properties import models_from_composition

    folders = {name: find("models", name) for name in GEOMETRY}
    folders["known-materials"] = find("validators", "known-materials")
    if ranked:
        models = models_from_composition()
        used = (models[name] for name in target.windows.keys() & models.keys())
        folders |= {name: find("models", name) for name in ("gene-rank", *used)}
    digests = {name: folder_digest(folder) for name, folder in folders.items()}
    return {"generator": generator_digest(generator)} | digests


def _draw(task: GeneUnit) -> list[Candidate]:
    run = task.run
    with one_thread():
        drawn = _generator_of(run).propose(run.target, task.n * run.draws, (run.seed, task.number))
        proposed = select_likeliest(drawn, run.target, task.n, run.novelty) if run.draws > 1 else drawn
        known = Components().get("known")
        for candidate in proposed:
            candidate.record(known.novelty(candidate.gene))
        return proposed


def _build(task: StructureUnit) -> list[Candidate]:
    """Give proposals structures, and write their CIFs."""
    run, candidates = task.run, task.candidates
    with one_thread():
        _give_structures(candidates, run)
    if run.cifs is not None:
        run.cifs.mkdir(parents=True, exist_ok=True)
        for candidate in candidates:
            write_cif(_structure(candidate), run.cifs / cif_name(candidate), symmetrised=False)
    return candidates


def _give_structures(candidates: Sequence[Candidate], run: ProposalRun) -> None:
    """Give a geometry to each candidate without one, all at once, and a structure to each."""
    bare = [candidate for candidate in candidates if candidate.geometry is None]
    if bare:
        seeds = [(run.seed, int(candidate.id[1:])) for candidate in bare]
        source = _geometry(*(run.weights[name] for name in GEOMETRY))
        found = source.propose_many([candidate.gene for candidate in bare], [1] * len(bare), seeds)
        for candidate, ((geometry, parent),) in zip(bare, found, strict=True):
            candidate.geometry = geometry
            candidate.origin = replace(candidate.origin, geometry=parent)
    for candidate in candidates:
        if candidate.origin.geometry is None:
            candidate.origin = replace(candidate.origin, geometry="the generator's own")
        candidate.structure = _structure(candidate)


def _generator_of(run: ProposalRun) -> Generator:
    options = json.dumps({"novelty": run.novelty, **run.options}, sort_keys=True)
    return _generator(run.generator, options, run.weights["generator"])


@lru_cache(maxsize=1)
def _generator(name: str, options: str, _digest: str) -> Generator:
    """Load a generator once for its weights; the baselines take seconds."""
    return load_generator(name, **json.loads(options))


@lru_cache(maxsize=1)
def _geometry(*_digests: str) -> GeometrySource:
    return GeometrySource.load()


def row_of(candidate: Candidate) -> dict[str, str | int]:
    """Return a row of the table: the proposal, its origin and the conditions of the generator."""
    origin = candidate.origin
    return {
        "id": candidate.id,
        "formula": candidate.gene.formula,
        "gene": str(candidate.gene),
        "space_group": candidate.gene.space_group,
        "n_atoms": candidate.gene.n_atoms,
        "novelty": novelty_word(candidate.verdicts["novelty"]),
        "generator": origin.generator,
        "geometry": origin.geometry or "",
        "parent": origin.parent or "",
        "conditions": " ".join(f"{name}={value:g}" for name, value in origin.conditions.items()),
    }


def record_of(candidate: Candidate) -> dict[str, Any]:
    """Return a row with the conditions by name and all that the generator recorded, for JSON."""
    return {**row_of(candidate), "conditions": candidate.origin.conditions, **candidate.origin.details}


def cif_name(candidate: Candidate) -> str:
    """Return the file name of a proposal's CIF."""
    return f"{candidate.id}_{file_formula(candidate.gene.formula)}.cif"


def _structure(candidate: Candidate) -> Structure:
    assert candidate.geometry is not None  # noqa: S101 - given before
    return candidate.structure or realise(candidate.gene, candidate.geometry)


def _packed(candidate: Candidate) -> dict[str, Any]:
    geometry = candidate.geometry and asdict(candidate.geometry)
    entry = {"id": candidate.id, "gene": str(candidate.gene), "geometry": geometry}
    return entry | {"origin": asdict(candidate.origin), "novelty": asdict(candidate.verdicts["novelty"])}


def _unpacked(entry: Mapping[str, Any]) -> Candidate:
    candidate = Candidate(entry["id"], Gene.parse(entry["gene"]), Origin(**entry["origin"]))
    candidate.record(Verdict(**entry["novelty"]))
    if entry["geometry"]:
        lattice, free = entry["geometry"]["lattice"], entry["geometry"]["free"]
        candidate.geometry = Geometry(tuple(lattice), tuple(tuple(coordinates) for coordinates in free))
        candidate.structure = realise(candidate.gene, candidate.geometry)
    return candidate


def _write(candidates: Sequence[Candidate], out: Path) -> None:
    """Write the table and one extended XYZ of all."""
    import ase.io

    rows = [{**row_of(c), "cif_file": f"{CIF_FOLDER}/{cif_name(c)}"} for c in candidates]
    write_csv(out / TABLE, rows)
    with atomic_write(out / PROPOSALS) as draft:
        ase.io.write(draft, list(_frames(candidates)), format="extxyz")


def _frames(candidates: Sequence[Candidate]) -> Iterator[Any]:
    from pymatgen.io.ase import AseAtomsAdaptor

    for candidate in candidates:
        atoms = AseAtomsAdaptor.get_atoms(_structure(candidate), msonable=False)
        # no formula: sodium nitride's would be read as a number; no empty text: ASE cannot read it
        row = {name: value for name, value in row_of(candidate).items() if name != "formula"}
        atoms.info = {name: value for name, value in row.items() if value or value == 0}
        yield atoms
