"""Whether what is asked for is there, in genes and structures; of `generate`: different genes, speed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from methods import PLAIN

from invdesign.analysis.generate import generate
from invdesign.core.target import Target, parse_target
from invdesign.crystal.symmetry import SymmetryError, gene_of
from invdesign.errors import InputError
from invdesign.io.parallel import default_workers
from invdesign.io.provenance import git_revision, hardware, package_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from invdesign.core.candidate import Candidate
    from invdesign.crystal.gene import Gene

PROMPTS = (
    "elements=Li,O",
    "elements=Zn",
    "only=Ca,Ti,O",
    "elements=O exclude=Pb,Cd,Hg,Tl",
    "exclude=O,F,Cl,S",
    "formula=Li2FeSiO4",
    "formula=BaTiO3",
    "formula=NiAl",
    "anonymous=ABC3",
    "space_group=225",
    "space_group=62",
    "space_group=195..206",
    "n_atoms=5..10",
    "elements=O space_group=221 n_atoms=5 band_gap=3.0±0.25",
)
MANY = 10_000
REALISED = 200  # structures of a prompt
FILE = "prompts.json"


def check(generators: Sequence[str], n: int, seed: int, out: Path, workers: int | None) -> None:
    """Write ``prompts.json``: by generator and prompt what is as asked of ``n`` genes; uniqueness and speed.

    ``honoured``: the share of genes, 1 by construction where the generator respects its target.
    ``structures``: of ``REALISED``, each with one geometry and not relaxed, the share whose gene, found
    again from the atoms alone, is as asked, and the share of which it has the space group drawn.
    ``unique`` and ``speed``: as ``generate`` gives them; ``unique_drawn``: where nothing is drawn again.
    """
    path = out / FILE
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in generators:
        many = _many(
            name, min(MANY, 10 * n), seed, workers or default_workers()
        )  # first: it loads the models
        found = {prompt: _honoured(name, prompt, n, seed) for prompt in PROMPTS}
        report[name] = {
            "n": n,
            "seed": seed,
            "honoured": {prompt: genes for prompt, (genes, _) in found.items()},
            "structures": {prompt: structures for prompt, (_, structures) in found.items() if structures},
            **many,
            "hardware": hardware(),
            "git_revision": git_revision(),
            "packages": package_versions(),
        }
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {found}, unique {report[name]['unique']}", flush=True)


def _many(name: str, n: int, seed: int, workers: int) -> dict[str, Any]:
    """Different genes of ``n`` proposals with structures, the seconds they take; of as many plain draws."""
    start = time.perf_counter()
    candidates = generate(Target(), n, generator=name, seed=seed, workers=workers)
    seconds = time.perf_counter() - start
    named: dict[str, Any] = {"generator": name, "seed": seed, "workers": workers}
    plain = generate(Target(), n, options=PLAIN.get(name), structures=False, distinct=False, **named)
    return {
        "unique": {"count": len({candidate.gene.hash for candidate in candidates}), "of": n},
        "unique_drawn": {"count": len({candidate.gene.hash for candidate in plain}), "of": n},
        "speed": {"wall_seconds": round(seconds, 1), "workers": workers},
    }


def _honoured(name: str, prompt: str, n: int, seed: int) -> tuple[float | str, dict[str, float] | None]:
    """Share of genes as asked, or why there are none; and what their structures are."""
    target = parse_target(prompt)
    named: dict[str, Any] = {"generator": name, "seed": seed, "distinct": False, "workers": 1}
    try:
        candidates = generate(target, n, structures=False, **named)
    except InputError as error:
        return str(error), None
    genes = sum(target.allows(c.gene).passed for c in candidates) / n
    some = generate(target, min(n, REALISED), **named)
    again = [_found_again(candidate) for candidate in some]
    as_asked = sum(gene is not None and target.allows(gene).passed for gene in again)
    same_group = sum(
        gene is not None and gene.space_group == c.gene.space_group
        for gene, c in zip(again, some, strict=True)
    )
    structures = {
        "of": len(some),
        "as_asked": as_asked / len(some),
        "same_space_group": same_group / len(some),
    }
    return genes, structures


def _found_again(candidate: Candidate) -> Gene | None:
    """Return the gene of a candidate's atoms; None where no symmetry is found."""
    assert candidate.structure is not None  # noqa: S101 - given by `generate`
    try:
        return gene_of(candidate.structure)[0]
    except SymmetryError:
        return None
