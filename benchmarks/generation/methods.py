"""What is compared, and how each method's structures come about."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import invdesign
from invdesign.analysis.generate import DRAWS, generate
from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.stages.prerank import worth_relaxing
from invdesign.core.target import parse_target
from invdesign.crystal.symmetry import realise
from invdesign.io.atomic import atomic_write
from invdesign.io.parallel import default_workers, one_thread, run_tasks
from invdesign.io.provenance import artifact_hashes, git_revision, hardware, package_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from invdesign.core.candidate import Candidate
    from invdesign.crystal.gene import Gene
    from invdesign.filters.novelty import KnownMaterials
    from invdesign.verdict import Verdict

CHUNK = 250  # genes given geometries together
GENES_PER_RELAXATION = 16  # as a campaign by default: 4096 genes for 256 relaxations
GAPS = {"1.5": "band_gap=1.5±0.25", "3.0": "band_gap=3.0±0.25", "5.0": "band_gap=5.0±0.5"}
GUIDING = ("gene-diffusion", "crystal-vae", "geometries", "geometry-diffusion")
RANKING = ("gene-rank", "known-materials", "mp-hull", "chgnet-0.3.0")  # gates and order of a ranked method
PLAIN = {"gene-diffusion": {"redraws": 0}}  # options with which a generator draws nothing again
SAMPLES, SAMPLING = "samples.csv", "sampling.json"


@dataclass(frozen=True)
class Method:
    """A way to make structures.

    Attributes:
        name: of its file of metrics.
        what: in words, for the table.
        generator: of ``load_generator``; empty for structures from a file.
        target: what is asked of it.
        ranked: gates and gene-rank choose one of ``GENES_PER_RELAXATION`` genes, as in a campaign, among
            those of new composition.
        options: of the generator.
        distinct: other genes are drawn in place of repeats and known compositions, as `invdesign generate`
            does.
        draws: genes drawn for each proposal, of which pre-ranking takes the likeliest hits.
    """

    name: str
    what: str
    generator: str = ""
    target: str = ""
    ranked: bool = False
    options: Mapping[str, float] = field(default_factory=dict)
    distinct: bool = True
    draws: int = 1


METHODS = {
    method.name: method
    for method in (
        Method(
            "gene-diffusion-unconditional",
            "raw samples: no condition, nothing drawn again",
            "gene-diffusion",
            options={**PLAIN["gene-diffusion"], "guidance": -1.0},
            distinct=False,
        ),
        Method(
            "gene-diffusion",
            "asked to be stable; unbalanced, repeated and known genes drawn again",
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
            Method(f"gap-{gap}", f"raw: `gene-diffusion` asked for {text} too", "gene-diffusion", text)
            for gap, text in GAPS.items()
        ),
        *(
            Method(
                f"gap-{gap}-of-8",
                f"as `invdesign generate` gives it: of {DRAWS} genes the likeliest hit by `gene-rank`",
                "gene-diffusion",
                text,
                draws=DRAWS,
            )
            for gap, text in GAPS.items()
        ),
        Method("diffcsp", "DiffCSP trained on MP-20, published samples"),
    )
}


def sample(method: Method, n: int, seed: int, cache: Path, workers: int | None) -> Path:
    """Draw ``n`` structures, unless that has been done by this code and models; folder of the samples."""
    mark = marked(method)
    folder = cache / method.name / f"n{n}-seed{seed}-{mark}"
    if (folder / SAMPLING).exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    candidates = drawn(method, n, seed, workers)
    with atomic_write(folder / SAMPLES) as draft, draft.open("w", newline="", encoding="utf-8") as file:
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
        "models": hashed(method),
    }
    with atomic_write(folder / SAMPLING) as draft:
        draft.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def marked(method: Method) -> str:
    """Hash the models, tables, options and code (its defaults) that its samples depend on."""
    asked = asdict(method) | {"what": "", "genes": GENES_PER_RELAXATION if method.ranked else 1}
    return hashlib.sha256(json.dumps([_code(), hashed(method), asked]).encode()).hexdigest()[:8]


def hashed(method: Method) -> dict[str, str]:
    """Hashes of the models and tables that decide its samples."""
    used = (*GUIDING, *RANKING) if method.ranked or method.draws > 1 else GUIDING
    return {path: digest for path, digest in artifact_hashes().items() if path.split("/")[1] in used}


def _code() -> str:
    """Hash of the package's source: a git revision would not tell uncommitted changes apart."""
    package = Path(invdesign.__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))).hexdigest()


def drawn(method: Method, n: int, seed: int, workers: int | None) -> list[Candidate]:
    """Its structures."""
    return (_ranked if method.ranked else _generated)(method, n, seed, workers)


def _generated(method: Method, n: int, seed: int, workers: int | None) -> list[Candidate]:
    """Sample as ``invdesign generate`` does."""
    return generate(
        parse_target(method.target),
        n,
        generator=method.generator,
        options=method.options,
        distinct=method.distinct,
        novelty="new" if method.distinct else "any",
        draws=method.draws,
        seed=seed,
        workers=workers,
    )


def _ranked(method: Method, n: int, seed: int, workers: int | None) -> list[Candidate]:
    """Sample the genes worth a relaxation, with structures."""
    chosen = _chosen(method, n, seed)
    chunks = [chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)]
    processes = min(workers or default_workers(), len(chunks))
    built = run_tasks(partial(_furnished, seed=seed), chunks, workers=processes, ordered=True)
    return [candidate for chunk in built for candidate in chunk]


class NewCompositions:
    """Known materials for which a known composition is known enough: S.U.N. is counted so."""

    def __init__(self) -> None:
        self.known: KnownMaterials = Components().get("known")

    def novelty(self, gene: Gene) -> Verdict:
        """As ``KnownMaterials.novelty``; the value is 0 or 2."""
        verdict = self.known.novelty(gene)
        return replace(verdict, value=2.0 if verdict.value == 2 else 0.0)


def _chosen(method: Method, n: int, seed: int) -> list[Candidate]:
    """Sample the genes worth a relaxation."""
    config = CampaignConfig(
        target=parse_target(method.target),
        generator=method.generator,
        n_genes=n * GENES_PER_RELAXATION,
        n_relax=n,
        seed=seed,
    )
    components = replace(Components.from_config(config), known=NewCompositions())
    return worth_relaxing(config, components)


def _furnished(candidates: list[Candidate], seed: int) -> list[Candidate]:
    """Add to each a geometry and a structure, as ``generate`` does."""
    genes, seeds = [c.gene for c in candidates], [(seed, int(c.id[1:])) for c in candidates]
    with one_thread():
        found = Components().get("geometry").propose_many(genes, [1] * len(genes), seeds)
    for candidate, ((geometry, source),) in zip(candidates, found, strict=True):
        candidate.geometry = geometry
        candidate.origin = replace(candidate.origin, geometry=source)
        candidate.structure = realise(candidate.gene, geometry)
    return candidates


def _row(candidate: Candidate) -> dict[str, str]:
    """One sample."""
    from pymatgen.io.cif import CifWriter

    origin = candidate.origin.parent or candidate.origin.geometry
    assert candidate.structure is not None  # noqa: S101 - every proposal has one
    return {"gene": str(candidate.gene), "origin": str(origin), "cif": str(CifWriter(candidate.structure))}
