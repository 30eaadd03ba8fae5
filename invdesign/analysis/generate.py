"""Proposals before any relaxation: what generators make of a target, as crystals and as files."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

from invdesign.campaign.components import Components
from invdesign.campaign.stages.prerank import select_likeliest
from invdesign.campaign.validate import check_least
from invdesign.core.candidate import Candidate, Origin
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.structure_files import PROPOSALS, file_formula, write_cif
from invdesign.crystal.symmetry import realise
from invdesign.generators.geometry.source import GeometrySource
from invdesign.generators.registry import generator_digest, load_generator
from invdesign.io.artifacts import find
from invdesign.io.atomic import atomic_write
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import default_workers, one_thread, process_pool, run_tasks
from invdesign.io.provenance import RUN_FILE, folder_digest, write_run_json
from invdesign.report.outputs import CIF_FOLDER
from invdesign.report.shortlist_csv import NOVELTY
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.core.target import Target
    from invdesign.generators.registry import Generator

    Progress = Callable[[float, str], None]

BATCH = 256  # candidates a task; as in a campaign, so that the same seed gives the same genes
ROUNDS = 3  # of further batches in place of repeats and of what is known
DRAWS = 8  # genes drawn for each proposal, where a property is asked for
TABLE, JOURNAL = "proposals.csv", "proposals.jsonl"
GEOMETRY = ("geometries", "geometry-diffusion")  # what the geometry source consists of
NEW = NOVELTY[2]


@dataclass(frozen=True)
class Run:
    """What decides the proposals.

    Attributes:
        generator: name or folder, with its ``options``.
        weights: digests of what the proposals come from: a retrained model is another one.
        target: what is asked for.
        n: how many.
        seed: of the run.
        distinct: draw other genes in place of repeats.
        new: draw other genes in place of those of known composition.
        draws: genes drawn for each, of which the likeliest hits by the quick rank are proposed.
        structures: give each a geometry and a structure.
        cifs: folder for a CIF of each; None: none.
    """

    generator: str
    options: dict[str, Any]
    weights: dict[str, str]
    target: Target
    n: int
    seed: int
    distinct: bool
    new: bool
    draws: int
    structures: bool
    cifs: Path | None

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from other runs that write files."""
        names = ("generator", "options", "weights", "n", "seed", "distinct", "new", "draws")
        return {"target": str(self.target), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Draw:
    """A batch of genes to be drawn: travels to a worker."""

    run: Run
    number: int
    n: int


@dataclass(frozen=True)
class Build:
    """Proposals that are to get structures: travels to a worker."""

    run: Run
    number: int
    candidates: list[Candidate]


def generate(
    target: Target,
    n: int,
    *,
    generator: str = "gene-diffusion",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    structures: bool = True,
    distinct: bool = True,
    include_known: bool = False,
    draws: int | None = None,
    out: Path | None = None,
    workers: int | None = None,
    progress: Progress = lambda _share, _message: None,
) -> list[Candidate]:
    """Exactly ``n`` proposals of a generator, judged by nothing but the quick rank.

    Args:
        target: what is asked for.
        n: how many.
        generator: name or folder.
        options: of the generator, such as ``guidance``.
        seed: the same seed gives the same, however many workers.
        structures: give each a geometry, not relaxed, and a structure; False: genes alone, unless ``out``.
        distinct: draw another gene in place of one that is there already, in up to three further rounds;
            what repeats then stays. False: the generator's draws as they are.
        include_known: let genes of known composition be. Else they give way in the same rounds, unless the
            target is a formula.
        draws: genes drawn for each proposal, of which the quick rank takes the likeliest hits; 1: as drawn.
            Default: ``DRAWS`` where the target has a window on a property, else 1.
        out: folder for ``proposals.csv``, ``proposals.extxyz``, a CIF each and ``run.json``; killed, the same
            call goes on where it was. None: no files.
        workers: processes; default one per core.
        progress: is told the share that is done and a word on it.

    Raises:
        InputError: generator, target or option cannot be used, or ``out`` is another run's or in use.
    """
    check_least(1, n=n, workers=workers, draws=draws)
    check_least(0, seed=seed)
    draws = draws or (DRAWS if target.windows else 1)
    run = Run(
        generator,
        dict(options or {}),
        _weights(generator, target, ranked=draws > 1),
        target,
        n,
        seed,
        distinct,
        not include_known and target.formula is None,
        draws,
        structures=structures or out is not None,
        cifs=out and out / CIF_FOLDER,
    )
    _generator_of(run).propose(target, 1, seed)  # tells what it can never meet
    hands = min(workers or default_workers(), ceil(n / BATCH))
    if out is None:
        with _batches(None, hands) as batches:
            return _proposals(run, batches, progress)
    with (
        locked_folder(out, JOURNAL),
        _batches(Journal(out / JOURNAL, "generation", run.identity), hands) as batches,
    ):
        candidates = _proposals(run, batches, progress)
        _write(candidates, out)
        if batches.added or not (out / RUN_FILE).exists():
            write_run_json(out, {"generate": run.identity, "target": target.words()})
    return candidates


class _Batches:
    """Batches that a journal holds, and those that are still to be done, which it gets.

    Args:
        journal: of the run; None: nothing is kept.
        executor: does them; None: this process.

    Attributes:
        added: how many were not in the journal.
    """

    def __init__(self, journal: Journal | None, executor: Executor | None) -> None:
        self._journal, self._executor = journal, executor
        entries = journal.entries if journal else []
        self._stored = {(entry["stage"], entry["batch"]): entry["proposals"] for entry in entries}
        self.added = 0

    def of(
        self, stage: str, work: Callable[[Any], list[Candidate]], tasks: Sequence[Draw | Build]
    ) -> Iterator[list[Candidate]]:
        """What becomes of each task, in order."""
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
def _batches(journal: Journal | None, hands: int) -> Iterator[_Batches]:
    """Batches done by so many processes, which stay for all of them."""
    if hands == 1:
        yield _Batches(journal, None)
    else:
        with process_pool(hands) as pool:
            yield _Batches(journal, pool)


def _proposals(run: Run, batches: _Batches, progress: Progress) -> list[Candidate]:
    """The genes, then a structure for each."""
    part = 0.5 if run.structures else 1.0
    candidates = _genes(run, batches, lambda share, message: progress(part * share, message))
    for i, candidate in enumerate(candidates):
        candidate.id = f"g{i:06d}"
    if not run.structures:
        return candidates
    shares = [candidates[first : first + BATCH] for first in range(0, run.n, BATCH)]
    built: list[Candidate] = []
    for batch in batches.of("structures", _build, [Build(run, i, own) for i, own in enumerate(shares)]):
        built += batch
        progress(part + part * len(built) / run.n, f"{len(built)} of {run.n} structures")
    return built


def _genes(run: Run, batches: _Batches, progress: Progress) -> list[Candidate]:
    """As many as asked for; those that are not wanted give way to new ones, if some are found."""
    numbers = count()  # go on through the rounds: a batch's number is its seed
    drawn: list[Candidate] = []

    def draw(wanted: int) -> list[Candidate]:
        before = len(drawn)
        sizes = [min(BATCH, wanted - first) for first in range(0, wanted, BATCH)]
        for batch in batches.of("genes", _draw, [Draw(run, next(numbers), size) for size in sizes]):
            drawn.extend(batch)
            progress(min(1.0, len(drawn) / run.n), f"{len(drawn)} genes drawn for {run.n}")
        return drawn[before:]

    candidates, seen = draw(run.n), set[str]()
    unwanted = _unwanted(run, candidates, seen)
    for _ in range(ROUNDS):
        if not unwanted:
            break
        # twice as many, for some of them are unwanted too; where the target admits few genes, few are tried
        more = draw(min(2 * len(unwanted), len(seen)))
        left_out = {*_unwanted(run, more, seen)}
        wanted = [candidate for i, candidate in enumerate(more) if i not in left_out]
        for i, candidate in zip(unwanted, wanted, strict=False):
            candidates[i] = candidate
        unwanted = unwanted[len(wanted) :]
    return candidates


def _unwanted(run: Run, candidates: Sequence[Candidate], seen: set[str]) -> list[int]:
    """Places of repeats, first, and of known compositions; all genes are added to those seen."""
    repeats, known = [], []
    for i, candidate in enumerate(candidates):
        if run.distinct and candidate.gene.hash in seen:
            repeats.append(i)
        elif run.new and _novelty(candidate) != NEW:
            known.append(i)
        seen.add(candidate.gene.hash)
    return repeats + known


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


def _draw(task: Draw) -> list[Candidate]:
    run = task.run
    with one_thread():
        drawn = _generator_of(run).propose(run.target, task.n * run.draws, (run.seed, task.number))
        proposed = select_likeliest(drawn, run.target, task.n) if run.draws > 1 else drawn
        known = Components().get("known")
        for candidate in proposed:
            candidate.record(known.novelty(candidate.gene))
        return proposed


def _build(task: Build) -> list[Candidate]:
    """Proposals with structures; their CIFs are on disk when it returns."""
    run, candidates = task.run, task.candidates
    with one_thread():
        _give_structures(candidates, run)
    if run.cifs is not None:
        run.cifs.mkdir(parents=True, exist_ok=True)
        for candidate in candidates:
            write_cif(_structure(candidate), run.cifs / cif_name(candidate), symmetrised=False)
    return candidates


def _give_structures(candidates: Sequence[Candidate], run: Run) -> None:
    """One geometry to each candidate that brings none, all at once; and a structure to each."""
    bare = [candidate for candidate in candidates if candidate.geometry is None]
    if bare:
        seeds = [(run.seed, int(candidate.id[1:])) for candidate in bare]
        source = _geometry(*(run.weights[name] for name in GEOMETRY))
        found = source.propose_many([candidate.gene for candidate in bare], [1] * len(bare), seeds)
        for candidate, ((geometry, source),) in zip(bare, found, strict=True):
            candidate.geometry = geometry
            candidate.origin = replace(candidate.origin, geometry=source)
    for candidate in candidates:
        if candidate.origin.geometry is None:
            candidate.origin = replace(candidate.origin, geometry="the generator's own")
        candidate.structure = _structure(candidate)


def _generator_of(run: Run) -> Generator:
    return _generator(run.generator, json.dumps(run.options, sort_keys=True), run.weights["generator"])


@lru_cache(maxsize=1)
def _generator(name: str, options: str, _digest: str) -> Generator:
    """A generator, loaded once for its weights; the baselines take seconds."""
    return load_generator(name, **json.loads(options))


@lru_cache(maxsize=1)
def _geometry(*_digests: str) -> GeometrySource:
    return GeometrySource.load()


def row_of(candidate: Candidate) -> dict[str, str | int]:
    """A row of the table: what was proposed, where it came from, what was asked of the generator."""
    origin = candidate.origin
    return {
        "id": candidate.id,
        "formula": candidate.gene.formula,
        "gene": str(candidate.gene),
        "space_group": candidate.gene.space_group,
        "n_atoms": candidate.gene.n_atoms,
        "novelty": _novelty(candidate),
        "generator": origin.generator,
        "geometry": origin.geometry or "",
        "parent": origin.parent or "",
        "conditions": " ".join(f"{name}={value:g}" for name, value in origin.conditions.items()),
    }


def record_of(candidate: Candidate) -> dict[str, Any]:
    """Return a row with the conditions by name and all that the generator recorded, for JSON."""
    return {**row_of(candidate), "conditions": candidate.origin.conditions, **candidate.origin.details}


def _novelty(candidate: Candidate) -> str:
    return NOVELTY[int(candidate.verdicts["novelty"].figure or 0)]


def cif_name(candidate: Candidate) -> str:
    """File name of a proposal's CIF."""
    return f"{candidate.id}_{file_formula(candidate.gene.formula)}.cif"


def _structure(candidate: Candidate) -> Structure:
    assert candidate.geometry is not None  # noqa: S101 - given above
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
    """The table and one extended XYZ of all."""
    import ase.io

    rows = [{**row_of(c), "cif_file": f"{CIF_FOLDER}/{cif_name(c)}"} for c in candidates]
    with atomic_write(out / TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
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
