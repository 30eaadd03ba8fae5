"""How well the gates of ``design --check`` tell stable crystals from others, and what they cost.

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

from invdesign.campaign.stages.dynamical_stability import DECIDING
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
POTENTIALS = {"phonons": ("chgnet", "tensornet", "7net-0", "7net-l3i5"), "md": ("chgnet", "7net-0")}
DOUBTFUL = -0.1  # THz; the potential that decides is asked only where CHGNet or SevenNet-0 is below
OTHER = "potentials/TensorNet-MatPES-PBE-v2025.1-matgl4"


def main(shared: Path, gate: str) -> None:
    """Put crystals through one gate with the potentials that the file lacks, and write each down at once."""
    sets = {
        "non-metals": ground_states(shared / "data", 20, SEED, metals=False),
        "metals": ground_states(shared / "data", 20, SEED, metals=True),
        "saddles": saddles(),
    }
    path = HERE / f"{gate}.json"
    out: dict[str, Any] = {"crystals": []}
    if path.exists():
        out = json.loads(path.read_text(encoding="utf-8"))
    out |= {"hardware": hardware(), "revision": git_revision(), "seed": SEED}
    rows = {row["name"]: row for row in out["crystals"]}
    with one_thread():
        for kind, crystals in sets.items():
            for place, (name, structure) in enumerate(crystals):
                if gate == "md" and place not in FOLLOWED[kind]:
                    continue
                row = rows.get(name) or {"set": kind, "name": name, "n_atoms": len(structure)}
                for label in POTENTIALS[gate]:
                    if label in row or (label == DECIDING and _lowest(row) >= DOUBTFUL):
                        continue
                    potential = load_potential(str(shared / OTHER) if label == "tensornet" else label)
                    measured = (
                        _modes(structure, potential)
                        if gate == "phonons"
                        else _motion(structure, potential, place)
                    )
                    row[label] = measured
                    print(name, label, measured, flush=True)
                rows[name] = row
                out["crystals"] = list(rows.values())
                path.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


def _lowest(row: dict[str, Any]) -> float:
    return min(row[label].get("lowest", -99.0) for label in ("chgnet", "7net-0"))


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
