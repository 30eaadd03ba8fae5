"""Files with a known answer and damaged inputs: read, refused, misread, raised; writes robustness.json.

python benchmarks/robustness/robustness.py            # 400 damaged inputs of each kind
python benchmarks/robustness/robustness.py 50 CIF     # fewer, of one kind; prints alone
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "fuzz"))
from answers import answer
from fuzzing import fuzz
from spelled_crystals import spellings
from subjects import subjects


def known() -> dict[str, dict[str, int]]:
    """Count the answers to files whose right reading is known, sound and contradictory ones apart."""
    counts: dict[str, Counter[str]] = {"sound": Counter(), "contradictory": Counter()}
    expected: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for spelling in spellings():
            found, why = answer(spelling, Path(folder), expected)  # type: ignore[arg-type]
            kind = "sound" if spelling.crystal else "contradictory"
            counts[kind][found] += 1
            if found != ("right" if spelling.crystal else "refused"):
                print(f"{spelling.name}: {found} {why}")
    return {kind: dict(count) for kind, count in counts.items()}


def damaged(n: int, only: str) -> dict[str, dict[str, object]]:
    """Count what became of damaged inputs by kind."""
    found: dict[str, dict[str, object]] = {}
    for subject in subjects():
        if only not in subject.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tally = fuzz(subject, range(n), Path(folder) / "folder")
        found[subject.name] = {**tally.outcomes, "slowest_s": round(tally.slowest, 2)}
        print(f"{subject.name}: {found[subject.name]}")
        for fault, times in Counter(what for _, what in tally.faults).most_common(20):
            seed = next(seed for seed, what in tally.faults if what == fault)
            print(f"    {times} times, seed {seed}: {fault}")
    return found


def main(n: int = 400, only: str = "") -> None:
    """Measure and write the counts."""
    began = time.process_time()
    kinds = damaged(n, only)
    if only:
        return
    total: Counter[str] = Counter()
    for counts in kinds.values():
        total.update({name: count for name, count in counts.items() if name != "slowest_s"})  # type: ignore[misc]
    result = {
        "known_answers": known(),
        "damaged": kinds,
        "total": dict(total),
        "seeds": f"0 to {n - 1} of each kind",
        "limits": "5 s of computation, 1 GiB",
        "cpu_s": round(time.process_time() - began),
        "hardware": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("gemmi", "pymatgen", "ase", "pyarrow", "numpy")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["known_answers"]), json.dumps(result["total"]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400, sys.argv[2] if len(sys.argv) > 2 else "")
