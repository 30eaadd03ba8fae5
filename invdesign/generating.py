"""Proposals without judgement: what generators make of a target, as crystals and as files."""

from __future__ import annotations

import csv
import time
from dataclasses import asdict, dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from invdesign.artifacts import find
from invdesign.campaign.chunks import Journal
from invdesign.campaign.executor import default_workers, run_tasks
from invdesign.campaign.folder import held
from invdesign.campaign.stages import Parts, one_thread
from invdesign.candidate import Candidate
from invdesign.crystal.files import PROPOSALS, PROPOSALS_TABLE, write_cif
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.crystal.symmetry import realise
from invdesign.errors import InputError
from invdesign.generators.loading import folder_of, load_generator
from invdesign.provenance import RUN_FILE, folder_digest, write_run_json
from invdesign.report import CIF_FOLDER, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.generators.loading import Generator
    from invdesign.targets import Target

    Progress = Callable[[float, str], None]

BATCH = 256  # candidates a task; as in a campaign, so that the same seed gives the same genes
JOURNAL = "proposals.jsonl"
GEOMETRY = ("geometries", "geometry-diffusion")  # what the geometry source consists of


@dataclass(frozen=True)
class Run:
    """What decides the proposals.

    Attributes:
        generator: name or folder, with its ``options``.
        target: what is asked for.
        seed: of the run.
        structures: give each a geometry and a structure.
        cifs: folder for a CIF of each; None: none.
    """

    generator: str
    options: dict[str, Any]
    target: Target
    seed: int
    structures: bool
    cifs: Path | None


@dataclass(frozen=True)
class Task:
    """A batch of proposals: travels to a worker."""

    run: Run
    number: int
    n: int


def generate(
    target: Target,
    n: int,
    *,
    generator: str = "gene-diffusion",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    structures: bool = True,
    out: Path | None = None,
    workers: int | None = None,
    progress: Progress = lambda _share, _message: None,
) -> list[Candidate]:
    """Exactly ``n`` proposals of a generator, judged by nothing.

    Args:
        target: what is asked for.
        n: how many.
        generator: name or folder.
        options: of the generator, such as ``guidance``.
        seed: the same seed gives the same, however many workers.
        structures: give each a geometry, not relaxed, and a structure; False: genes alone, unless ``out``.
        out: folder for ``proposals.csv``, ``proposals.extxyz``, a CIF each and ``run.json``; killed, the same
            call goes on where it was. None: no files.
        workers: processes; default one per core.
        progress: is told the share that is done and a word on it.

    Raises:
        InputError: generator, target or option cannot be used, or ``out`` is another run's or in use.
    """
    if n < 1:
        msg = f"n: {n} proposals; give 1 or more."
        raise InputError(msg)
    start = time.perf_counter()
    cifs = None if out is None else out / CIF_FOLDER
    run = Run(generator, dict(options or {}), target, seed, structures or out is not None, cifs)
    _generator(run).propose(target, 1, seed)  # tells what it can never meet
    if out is None:
        return _proposals(run, n, None, workers, progress)
    identity = {"target": str(target), "generator": generator, "options": run.options, "seed": seed, "n": n}
    identity["weights"] = _weights(generator)
    with held(out, JOURNAL):
        journal = Journal(out / JOURNAL, "generation", identity)
        candidates = _proposals(run, n, journal, workers, progress)
        _write(candidates, out)
        if len(journal.entries) < ceil(n / BATCH) or not (out / RUN_FILE).exists():
            seconds = round(time.perf_counter() - start, 1)
            write_run_json(out, {"generate": identity, "target": target.words(), "wall_seconds": seconds})
    return candidates


def _proposals(
    run: Run, n: int, journal: Journal | None, workers: int | None, progress: Progress
) -> list[Candidate]:
    """All batches in order; those of the journal are taken over, the others added to it."""
    batches = {entry["batch"]: _unpacked(entry["proposals"]) for entry in journal.entries} if journal else {}
    tasks = [
        Task(run, number, min(BATCH, n - first))
        for number, first in enumerate(range(0, n, BATCH))
        if number not in batches
    ]
    hands = min(workers or default_workers(), max(1, len(tasks)))
    for task, proposals in zip(tasks, run_tasks(_propose, tasks, workers=hands, ordered=True), strict=False):
        batches[task.number] = proposals
        if journal:
            journal.append({"batch": task.number, "proposals": [_packed(proposal) for proposal in proposals]})
        done = sum(map(len, batches.values()))
        progress(done / n, f"{done} of {n} proposals")
    return [candidate for _, own in sorted(batches.items()) for candidate in own]


def _weights(generator: str) -> dict[str, str]:
    """Digests of what the proposals come from: a retrained model is another one."""
    folders = {"generator": folder_of(generator), **{name: find("models", name) for name in GEOMETRY}}
    return {name: folder_digest(folder) for name, folder in folders.items()}


def row_of(candidate: Candidate) -> dict[str, str | int]:
    """A row of the table: what was proposed, where it came from, what was asked of the generator."""
    told = candidate.provenance
    return {
        "id": candidate.id,
        "formula": candidate.gene.formula,
        "gene": str(candidate.gene),
        "space_group": candidate.gene.space_group,
        "n_atoms": candidate.gene.n_atoms,
        "generator": told["generator"],
        "geometry": told.get("geometry", ""),
        "parent": told.get("parent", ""),
        "conditions": " ".join(f"{name}={value:g}" for name, value in told.get("conditions", {}).items()),
    }


def cif_name(candidate: Candidate) -> str:
    """File name of a proposal's CIF."""
    return f"{candidate.id}_{candidate.gene.formula.replace('(', '').replace(')', '')}.cif"


_GENERATORS: dict[str, Generator] = {}  # of this process, by name and options


def _generator(run: Run) -> Generator:
    key = repr((run.generator, sorted(run.options.items())))
    if key not in _GENERATORS:
        _GENERATORS[key] = load_generator(run.generator, **run.options)
    return _GENERATORS[key]


def _propose(task: Task) -> list[Candidate]:
    """A batch with its structures; its CIFs are on disk when it returns."""
    run = task.run
    with one_thread():
        candidates = _generator(run).propose(run.target, task.n, (run.seed, task.number))
        for i, candidate in enumerate(candidates):
            candidate.id = f"g{task.number * BATCH + i:06d}"
        if run.structures:
            _give_structures(candidates, run.seed)
    if run.cifs is not None:
        run.cifs.mkdir(parents=True, exist_ok=True)
        for candidate in candidates:
            write_cif(_structure(candidate), run.cifs / cif_name(candidate), symmetrised=False)
    return candidates


def _give_structures(candidates: Sequence[Candidate], seed: int) -> None:
    """One geometry to each candidate that brings none, all at once; and a structure to each."""
    bare = [candidate for candidate in candidates if candidate.geometry is None]
    if bare:
        seeds = [(seed, int(candidate.id[1:])) for candidate in bare]
        found = Parts().get("geometry").propose_many([candidate.gene for candidate in bare], 1, seeds)
        for candidate, ((geometry, origin),) in zip(bare, found, strict=True):
            candidate.geometry, candidate.provenance["geometry"] = geometry, origin
    for candidate in candidates:
        candidate.provenance.setdefault("geometry", "the generator's own")
        candidate.structure = _structure(candidate)


def _structure(candidate: Candidate) -> Structure:
    assert candidate.geometry is not None  # noqa: S101 - given above
    return candidate.structure or realise(candidate.gene, candidate.geometry)


def _packed(candidate: Candidate) -> dict[str, Any]:
    geometry = candidate.geometry and asdict(candidate.geometry)
    provenance = candidate.provenance
    return {"id": candidate.id, "gene": str(candidate.gene), "geometry": geometry, "provenance": provenance}


def _unpacked(entries: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    candidates = []
    for entry in entries:
        gene = Gene.parse(entry["gene"])
        lattice, free = entry["geometry"]["lattice"], entry["geometry"]["free"]
        geometry = Geometry(tuple(lattice), tuple(tuple(coordinates) for coordinates in free))
        structure = realise(gene, geometry)
        candidates.append(Candidate(entry["id"], gene, entry["provenance"], geometry, structure))
    return candidates


def _write(candidates: Sequence[Candidate], out: Path) -> None:
    """The table and one extended XYZ of all."""
    import ase.io

    rows = [{**row_of(c), "cif_file": f"{CIF_FOLDER}/{cif_name(c)}"} for c in candidates]
    with replaced(out / PROPOSALS_TABLE) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with replaced(out / PROPOSALS) as draft:
        ase.io.write(draft, list(_frames(candidates)), format="extxyz")


def _frames(candidates: Sequence[Candidate]) -> Iterator[Any]:
    from pymatgen.io.ase import AseAtomsAdaptor

    for candidate in candidates:
        atoms = AseAtomsAdaptor.get_atoms(_structure(candidate), msonable=False)
        # no formula: sodium nitride's would be read as a number; no empty text: ASE cannot read it
        row = {name: value for name, value in row_of(candidate).items() if name != "formula"}
        atoms.info = {name: value for name, value in row.items() if value or value == 0}
        yield atoms
