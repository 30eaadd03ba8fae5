"""How well the gates of ``design --check`` tell crystals that run_dynamics from others, and what they cost.

``python benchmarks/checks/checks.py ../shared phonons`` (minutes on a core) writes ``phonons.json``, with
``md`` in its place ``md.json``; ``table.py`` makes the README's tables of them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystals import ground_states, saddles

from invdesign.io.parallel import one_thread
from invdesign.io.provenance import git_revision, hardware
from invdesign.potentials.registry import load_potential
from invdesign.stability.molecular_dynamics import run_dynamics
from invdesign.stability.phonons import describe_wave_vector, phonons

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.potentials.interface import Potential

HERE = Path(__file__).parent
SEED = 1  # 0 drew the crystals that the thresholds were chosen on
FOLLOWED = {"non-metals": range(4), "metals": range(3), "saddles": (7, 12, 13)}  # dynamics is dear
OTHER = "potentials/TensorNet-MatPES-PBE-v2025.1-matgl4"


def main(shared: Path, gate: str) -> None:
    """Put crystals through one gate, and write down what came of each as it comes."""
    sets = {
        "non-metals": ground_states(shared / "data", 20, SEED, metals=False),
        "metals": ground_states(shared / "data", 20, SEED, metals=True),
        "saddles": saddles(),
    }
    names = {"chgnet": "chgnet", "tensornet": str(shared / OTHER), "7net-0": "7net-0"}
    potentials = {label: load_potential(name) for label, name in names.items()}
    out: dict[str, Any] = {"hardware": hardware(), "revision": git_revision(), "seed": SEED, "crystals": []}
    with one_thread():
        for kind, crystals in sets.items():
            for place, (name, structure) in enumerate(crystals):
                row: dict[str, Any] = {"set": kind, "name": name, "n_atoms": len(structure)}
                if gate == "phonons":
                    row |= {label: _modes(structure, one) for label, one in potentials.items()}
                elif place in FOLLOWED[kind]:
                    row["chgnet"] = _motion(structure, potentials["chgnet"], place)
                else:
                    continue
                out["crystals"].append(row)
                print(row, flush=True)
                (HERE / f"{gate}.json").write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


def _motion(structure: Structure, potential: Potential, place: int) -> dict[str, Any]:
    start = time.process_time()
    held = run_dynamics(structure, potential, (SEED, place))
    took = {"core_s": round(time.process_time() - start, 1)}
    return {"fails": held, **took} if isinstance(held, str) else {**asdict(held), **took}


def _modes(structure: Structure, potential: Potential) -> dict[str, Any]:
    start = time.process_time()
    found = phonons(structure, potential)
    took = {"core_s": round(time.process_time() - start, 1)}
    if isinstance(found, str):
        return {"fails": found, **took}
    return {**asdict(found), "at": describe_wave_vector(found.at), **took}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
