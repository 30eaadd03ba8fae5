"""What is compared, and how each method's structures come about."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.executor import default_workers, run_tasks
from invdesign.campaign.stages import Parts, one_thread, worth_relaxing
from invdesign.crystal.symmetry import realise
from invdesign.generating import generate
from invdesign.provenance import artifact_hashes, git_revision, hardware, package_versions
from invdesign.report import replaced
from invdesign.targets import Target, parse_target
from invdesign.validators.novelty import KnownMaterials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from invdesign.candidate import Candidate, Verdict
    from invdesign.crystal.gene import Gene

CHUNK = 250  # genes given geometries together
GENES_PER_RELAXATION = 16  # as a campaign by default: 4096 genes for 256 relaxations
GAPS = {"1.5": "band_gap=1.5±0.25", "3.0": "band_gap=3.0±0.25", "5.0": "band_gap=5.0±0.5"}
GUIDING = ("gene-diffusion", "crystal-vae", "geometries", "geometry-diffusion", "gene-rank")
SAMPLES, SAMPLING = "samples.csv", "sampling.json"


@dataclass(frozen=True)
class Method:
    """A way to make structures.

    Attributes:
        name: of its file of figures.
        what: in words, for the table.
        generator: of ``load_generator``; empty for structures from a file.
        target: what is asked of it.
        ranked: gates and gene-rank choose one of ``GENES_PER_RELAXATION`` genes, as in a campaign, among
            those of new composition.
        options: of the generator.
        distinct: other genes are drawn in place of repeats, as `invdesign generate` does.
    """

    name: str
    what: str
    generator: str = ""
    target: str = ""
    ranked: bool = False
    options: Mapping[str, float] = field(default_factory=dict)
    distinct: bool = True


METHODS = {
    method.name: method
    for method in (
        Method(
            "gene-diffusion-unconditional",
            "raw samples: no condition, nothing drawn again",
            "gene-diffusion",
            options={"redraws": 0, "guidance": -1.0},
            distinct=False,
        ),
        Method(
            "gene-diffusion",
            "asked to be stable and new; unbalanced and repeated genes drawn again",
            "gene-diffusion",
        ),
        Method(
            "gene-diffusion-ranked",
            f"of {GENES_PER_RELAXATION} genes of `gene-diffusion` the best by `gene-rank`, "
            "among new compositions that balance",
            "gene-diffusion",
            ranked=True,
        ),
        Method(
            "crystal-vae", "asked to be stable; of some spares those with room for the atoms", "crystal-vae"
        ),
        Method("ion-exchange", "baseline", "ion-exchange"),
        Method("prototypes", "baseline", "prototypes"),
        *(
            Method(f"gap-{gap}", f"`gene-diffusion` asked for {text} too", "gene-diffusion", text)
            for gap, text in GAPS.items()
        ),
        Method("diffcsp", "DiffCSP trained on MP-20, published samples"),
    )
}


@dataclass(frozen=True)
class Task:
    """Genes that are to get geometries: travels to a worker."""

    candidates: list[Candidate]
    seed: tuple[int, int]


def sample(method: Method, n: int, seed: int, cache: Path, workers: int | None) -> Path:
    """Draw ``n`` structures, unless that has been done with these models; folder of the samples."""
    models = {path: digest for path, digest in artifact_hashes().items() if path.split("/")[1] in GUIDING}
    asked = asdict(method) | {"what": ""}
    mark = hashlib.sha256(json.dumps([models, asked]).encode()).hexdigest()[:8]
    folder = cache / method.name / f"n{n}-seed{seed}-{mark}"
    if (folder / SAMPLING).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    candidates = (_ranked if method.ranked else _generated)(method, n, seed, workers)
    with replaced(folder / SAMPLES) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "gene", "origin", "cif"])
        writer.writeheader()
        for i, candidate in enumerate(candidates):
            writer.writerow({"id": f"{method.name}-{seed}-{i}", **_row(candidate)})
    about = {
        "n": n,
        "mark": mark,
        "hardware": hardware(),
        "git_revision": git_revision(),
        "packages": package_versions(),
        "models": models,
    }
    with replaced(folder / SAMPLING) as draft:
        draft.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def _generated(method: Method, n: int, seed: int, workers: int | None) -> list[Candidate]:
    """What ``invdesign generate`` gives a user."""
    named = {"generator": method.generator, "options": method.options, "distinct": method.distinct}
    return generate(target_of(method), n, seed=seed, workers=workers, **named)


def _ranked(method: Method, n: int, seed: int, workers: int | None) -> Iterator[Candidate]:
    """The genes worth a relaxation, with geometries."""
    chosen = _chosen(method, n, seed)
    tasks = [Task(chosen[i : i + CHUNK], (seed, i)) for i in range(0, n, CHUNK)]
    hands = min(workers or default_workers(), len(tasks))
    for candidates in run_tasks(_furnish, tasks, workers=hands, ordered=True):
        yield from candidates


class NewCompositions:
    """Known materials for which a known composition is known enough: S.U.N. is counted so."""

    def __init__(self) -> None:
        self.known = KnownMaterials.load()

    def novelty(self, gene: Gene) -> Verdict:
        """As ``KnownMaterials.novelty``; the figure is 0 or 2."""
        verdict = self.known.novelty(gene)
        return replace(verdict, figure=2.0 if verdict.figure == 2 else 0.0)


def _chosen(method: Method, n: int, seed: int) -> list[Candidate]:
    """The genes worth a relaxation."""
    config = CampaignConfig(
        target=target_of(method),
        generator=method.generator,
        n_genes=n * GENES_PER_RELAXATION,
        n_relax=n,
        seed=seed,
    )
    parts = replace(Parts.named(config), known=NewCompositions())
    return worth_relaxing(config, parts)


def target_of(method: Method) -> Target:
    """What a method is asked for."""
    return parse_target(method.target)


def _furnish(task: Task) -> list[Candidate]:
    with one_thread():
        give_geometries(task.candidates, task.seed)
    return task.candidates


def give_geometries(candidates: Sequence[Candidate], seed: Sequence[int]) -> None:
    """One geometry for each candidate that has none; none where two atoms would be on one point."""
    bare = [i for i, c in enumerate(candidates) if c.geometry is None and c.gene.realisable]
    genes, seeds = [candidates[i].gene for i in bare], [(*seed, i) for i in bare]
    found = Parts().get("geometry").propose_many(genes, [1] * len(genes), seeds)
    for i, options in zip(bare, found, strict=True):
        candidates[i].geometry, candidates[i].provenance["geometry"] = options[0]


def _row(candidate: Candidate) -> dict[str, str]:
    """One sample; without a CIF where two atoms would be on one point: a failure that counts."""
    from pymatgen.io.cif import CifWriter

    origin = candidate.provenance.get("parent") or candidate.provenance.get("geometry", "")
    cif = "" if candidate.geometry is None else str(CifWriter(realise(candidate.gene, candidate.geometry)))
    return {"gene": str(candidate.gene), "origin": str(origin), "cif": cif}
