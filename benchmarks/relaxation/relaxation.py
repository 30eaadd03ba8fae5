"""What relaxation and hull cost and find, against the usual loop; writes relaxation.json and README.md.

python benchmarks/relaxation/relaxation.py evaluation   # or pairs, campaign, convergence, hull, threads, gpu
python benchmarks/relaxation/relaxation.py all          # one after the other
python benchmarks/relaxation/relaxation.py table        # README.md from relaxation.json, nothing measured

Each part replaces its own section of the JSON. One thread, and glibc told to keep freed memory, for both
sides. Give the machine nothing else to do: the load at the start and the end is written down.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import campaigns
import pairs
import speed
import table
from settings import Settings

from invdesign.io.parallel import WORKER_ENVIRONMENT
from invdesign.io.provenance import git_revision, hardware, package_versions

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"
FILE = "relaxation.json"

PARTS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "evaluation": speed.evaluation,
    "threads": speed.threads,
    "hull": speed.hull,
    "gpu": speed.gpu,
    "pairs": pairs.pairs,
    "convergence": campaigns.convergence,
    "campaign": campaigns.campaign,
}


def circumstances() -> dict[str, Any]:
    """With what and where a part was measured."""
    packages = package_versions()
    for name in ("vesin", "torch-sim-atomistic"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "git_revision": git_revision(),
        "packages": packages,
        "hardware": hardware(),
        "environment": WORKER_ENVIRONMENT,
        "command": sys.argv[1:],
        "load_at_start": os.getloadavg()[0],
    }


def measure(part: str, settings: Settings, out: Path) -> None:
    """Run one part and replace its section."""
    path = out / FILE
    where, start = circumstances(), time.perf_counter()
    metrics = PARTS[part](settings)
    where |= {
        "load_at_end": os.getloadavg()[0],
        "minutes": (time.perf_counter() - start) / 60,
        "written": time.strftime("%Y-%m-%d %H:%M"),
    }
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    report[part] = {"seed": settings.seed, **metrics, "where": where}
    report = {name: report[name] for name in PARTS if name in report}
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{part}: {where['minutes']:.1f} min; {path}", flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "all", "table"])
    parser.add_argument("--n", type=int, help="crystals or candidates; default: the part's own")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--potentials", type=Path, default=SHARED / "potentials")
    parser.add_argument("--only", default="", help="trial run: potentials with this in their name")
    parser.add_argument("--rule", default="early-stopping-chgnet-0.3.0", help="name or folder")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of relaxation.json and README.md")
    given = vars(parser.parse_args())
    part, out = given.pop("part"), given.pop("out")
    if any(os.environ.get(name) != value for name, value in WORKER_ENVIRONMENT.items()):
        # glibc and OpenMP read these when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **WORKER_ENVIRONMENT})  # noqa: S606
    warnings.filterwarnings("ignore", module="pymatgen")
    import torch

    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for name in [] if part == "table" else list(PARTS) if part == "all" else [part]:
        measure(name, Settings(**given), out)
    text = table.readme(json.loads((out / FILE).read_text(encoding="utf-8")))
    (out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
