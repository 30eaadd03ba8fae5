"""A whole space through the whole screen, and known compounds through it; writes space.json.

`python benchmarks/screening/space.py ../shared/data/compositions/mp_hull.csv.gz`: every ternary of 40
elements with up to 12 atoms, by the command, with its wall time and the memory of all its processes; then the
compounds of a table, of which none that smact accepts may be lost.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from smact.screening import smact_validity

from invdesign.io.provenance import git_revision, hardware, package_versions

OUT = Path(__file__).with_suffix(".json")
ELEMENTS = (
    "Li,Na,K,Rb,Cs,Mg,Ca,Sr,Ba,Sc,Y,La,Ti,Zr,V,Nb,Mo,Mn,Fe,Co,Ni,Cu,Ag,Zn,Cd,Al,Ga,In,Si,Ge,Sn,Pb,Sb,Bi,"
    "O,S,Se,F,Cl,N"
)


def screened(out: Path, *given: str) -> dict[str, float]:
    """Wall seconds and peak memory, MiB, of all processes of a screening."""
    command = [sys.executable, "-m", "invdesign", "screen", *given, "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(_resident(pid) for pid in _family(process.pid)))
        time.sleep(0.25)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return {"wall_s": round(time.perf_counter() - start, 1), "peak_mib": round(peak)}


def _family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    own = map(int, path.read_text().split()) if path.exists() else []
    return [pid, *(member for child in own for member in _family(child))]


def _resident(pid: int) -> float:
    """Memory of a process, its share of what it shares, MiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("known", type=Path)
    parser.add_argument("--elements", default=ELEMENTS)
    parser.add_argument("--workers", default="2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space"
        metrics = screened(
            space,
            "--elements",
            given.elements,
            "--n-elements",
            "3",
            "--max-atoms",
            "12",
            "--workers",
            given.workers,
        )
        tally = json.loads((space / "run.json").read_text())["tally"]
        metrics |= {"elements": len(given.elements.split(",")), "workers": int(given.workers), "tally": tally}
        metrics["formulas_per_s"] = round(tally["entered"]["target"] / metrics["wall_s"])
        listed = Path(folder) / "list"
        known = screened(listed, str(given.known), "--workers", given.workers)
        with (listed / "screened.csv").open(encoding="utf-8", newline="") as file:
            rejected = [row["given"] for row in csv.DictReader(file) if row["verdict"] != "passed"]
        known |= {"tally": json.loads((listed / "run.json").read_text())["tally"], "rejected": len(rejected)}
        known["lost"] = [formula for formula in rejected if smact_validity(formula)]
    text = {
        "space": metrics,
        "known": known,
        "versions": package_versions() | {"pyarrow": version("pyarrow")},
        "git_revision": git_revision(),
        "hardware": hardware(),
    }
    OUT.write_text(json.dumps(text, indent=1) + "\n")
    print(json.dumps(text["space"]), json.dumps(text["known"]))


if __name__ == "__main__":
    main()
