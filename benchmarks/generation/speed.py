"""Cost of sampling: seconds and genes drawn, without evaluation; ``speed.json``.

One process, one thread. Some samples of another seed are drawn before the clock starts: models are loaded.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from methods import METHODS, drawn, hashed, marked

from invdesign.generators.crystal_vae.pipeline import CrystalVAE
from invdesign.generators.gene_diffusion.pipeline import GeneDiffusionPipeline
from invdesign.generators.substitution.ion_exchange import IonExchange
from invdesign.generators.substitution.prototype_filling import Prototypes
from invdesign.io.atomic import atomic_write
from invdesign.io.parallel import one_thread
from invdesign.io.provenance import git_revision, hardware, package_versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "speed.json"
MOST = 500  # structures timed
WARM_UP = 20
DRAWS = {
    "gene-diffusion": (GeneDiffusionPipeline, "__call__"),
    "crystal-vae": (CrystalVAE, "decode"),
    "ion-exchange": (IonExchange, "propose"),
    "prototypes": (Prototypes, "propose"),
}
"""Where a generator draws, before it drops or redraws any: returns a list of what it drew."""


def time_all(n: int, seed: int, out: Path) -> None:
    """Time every method with a generator on ``n`` structures of one seed; ``speed.json``."""
    path = out / FILE
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for method in METHODS.values():
        if not method.generator:
            continue
        with one_thread():
            drawn(method, WARM_UP, seed + 1, workers=1)
            with _counted(method.generator) as genes:
                wall, core = time.perf_counter(), _core_seconds()
                candidates = drawn(method, n, seed, workers=1)
                wall, core = time.perf_counter() - wall, _core_seconds() - core
        report[method.name] = {
            "n": len(candidates),
            "seed": seed,
            "wall_seconds": round(wall, 2),
            "core_seconds": round(core, 2),
            "processes": 1,
            "loading_included": False,
            "genes_drawn": sum(genes),
            "mark": marked(method),
            "hardware": hardware(),
            "git_revision": git_revision(),
            "packages": package_versions(),
            "models": hashed(method),
        }
        with atomic_write(path) as draft:
            draft.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(
            f"{method.name}: {len(candidates)} structures, {sum(genes)} genes, {core:.1f} core s", flush=True
        )


def _core_seconds() -> float:
    """Processor time of this process and of its children that ended."""
    return sum(os.times()[:4])


@contextmanager
def _counted(generator: str) -> Iterator[list[int]]:
    """How many genes each call of a generator draws meanwhile."""
    owner, name = DRAWS[generator]
    draw, sizes = getattr(owner, name), []

    @wraps(draw)
    def count(*given: Any, **options: Any) -> Any:  # noqa: ANN401 - passed through
        found = draw(*given, **options)
        sizes.append(len(found))
        return found

    with patch.object(owner, name, count):
        yield sizes
