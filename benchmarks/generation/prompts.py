"""Whether what is asked for is always there, and how many of 10 000 genes are different."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from invdesign.errors import InputError
from invdesign.generators.loading import load_generator
from invdesign.provenance import git_revision, hardware, package_versions
from invdesign.targets import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from invdesign.generators.loading import Generator

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
FILE = "prompts.json"


def check(generators: Sequence[str], n: int, seed: int, out: Path) -> None:
    """Write ``prompts.json``: by generator, the share honoured of ``n`` genes per prompt, and uniqueness."""
    path = out / FILE
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in generators:
        generator = load_generator(name)
        start = time.perf_counter()
        genes = [c.gene for c in generator.propose(Target(), max(n, min(MANY, 10 * n)), seed)]
        seconds = time.perf_counter() - start
        report[name] = {
            "n": n,
            "seed": seed,
            "honoured": {prompt: _honoured(generator, prompt, n, seed) for prompt in PROMPTS},
            "unique": {"count": len({gene.hash for gene in genes}), "of": len(genes)},
            "genes_per_second": round(len(genes) / seconds, 1),
            "hardware": hardware(),
            "git_revision": git_revision(),
            "packages": package_versions(),
        }
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {report[name]['honoured']}, unique {report[name]['unique']}", flush=True)


def _honoured(generator: Generator, prompt: str, n: int, seed: int) -> float | str:
    target = parse_target(prompt)
    try:
        candidates = generator.propose(target, n, seed)
    except InputError as error:
        return str(error)
    return sum(target.allows(c.gene).passed for c in candidates) / n
