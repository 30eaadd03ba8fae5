"""Are known crystals found, and other polymorphs not? ``python benchmarks/novelty/novelty.py`` (minutes).

Known: random crystals of the Materials Project in ``known-materials``, every atom moved by 0.1 Å in a random
direction and the cell strained by up to 3 % (the largest principal strain), are looked up as they are; small
ones are also relaxed from there with CHGNet, without any symmetry; some of these become another crystal, by
``StructureMatcher`` on start and end.

Others: a crystal of each of many random compositions with several crystals, looked up in the index without
it, where pymatgen's ``StructureMatcher`` (0.2, 0.3, 5°: its defaults) says that it is none of the rest.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from invdesign.crystal.matching import first_match, same_crystal
from invdesign.filters.novelty import KnownMaterials, Source
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.relax import relax

OUT = Path(__file__).with_name("novelty.json")
MOVED, STRAIN = 0.1, 0.03
SMALL = 6  # atoms of those that are relaxed


def distorted(structure: Structure, rng: np.random.Generator) -> Structure:
    """Move every atom by 0.1 Å and strain the cell by 3 %."""
    strain = rng.normal(size=(3, 3))
    strain += strain.T
    strain *= STRAIN / np.abs(np.linalg.eigvalsh(strain)).max()
    steps = rng.normal(size=(len(structure), 3))
    steps *= MOVED / np.linalg.norm(steps, axis=1, keepdims=True)
    cartesian = (structure.cart_coords + steps) @ (np.eye(3) + strain)
    cell = structure.lattice.matrix @ (np.eye(3) + strain)
    return Structure(cell, structure.species, cartesian, coords_are_cartesian=True)


def recall(known: KnownMaterials, rows: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    """Look distorted crystals up."""
    missed, milliseconds = [], []
    for row in rows:
        structure = distorted(known.crystals.structure(row), rng)
        began = time.process_time()
        found = known.same_as(structure)
        milliseconds.append(1000 * (time.process_time() - began))
        if not found:
            missed.append(known.id_of(row))
    return {
        "n": len(rows),
        "found": len(rows) - len(missed),
        "missed": missed,
        "core_ms": {
            "median": round(float(np.median(milliseconds)), 1),
            "mean": round(float(np.mean(milliseconds)), 1),
        },
    }


def relaxed(known: KnownMaterials, rows: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    """Relax distorted crystals, and look them up."""
    starts = [distorted(known.crystals.structure(row), rng) for row in rows]
    results = relax(starts, load_potential("chgnet"), fmax=0.1, max_steps=150, keep_symmetry=False)
    done = [(row, result.structure) for row, result in zip(rows, results, strict=True) if result.converged]
    lost = [(row, structure) for row, structure in done if not known.same_as(structure)]
    missed = [
        known.id_of(row) for row, crystal in lost if same_crystal(crystal, known.crystals.structure(row))
    ]
    return {
        "n": len(rows),
        "converged": len(done),
        "found": len(done) - len(lost),
        "became_another_crystal": len(lost) - len(missed),
        "missed": missed,
    }


def others(known: KnownMaterials, n: int, rng: np.random.Generator) -> dict[str, object]:
    """Look crystals up among the other crystals of their composition."""
    same, taken, tried = [], 0, 0
    for place in rng.permutation(np.flatnonzero(known.counts > 1)):
        if taken == n:
            break
        tried += 1
        rows = range(int(known.counts[:place].sum()), int(known.counts[: place + 1].sum()))
        row = int(rng.choice(rows))
        structure = known.crystals.structure(row)
        rest = [known.crystals.structure(other) for other in rows if other != row]
        if any(same_crystal(structure, other) for other in rest):
            continue
        taken += 1
        if first_match(structure, rest) is not None:
            same.append(known.id_of(row))
    return {"n": taken, "compositions_tried": tried, "found_known": len(same), "which": same}


def main() -> None:
    """Measure, and write after each part."""
    parser = argparse.ArgumentParser()
    for name, n in (("--known", 2000), ("--relaxed", 100), ("--others", 2000)):
        parser.add_argument(name, type=int, default=n)
    parser.add_argument("--index", default="known-materials")
    given = parser.parse_args()
    known, rng = KnownMaterials.load(given.index), np.random.default_rng(0)
    reported = np.flatnonzero(known.crystal_sources & Source.MATERIALS_PROJECT)
    small = reported[known.crystals.n_atoms[reported] <= SMALL]
    found = {"crystals": len(known.genes), "seed": 0}
    parts = {
        "known": lambda: recall(known, rng.choice(reported, given.known, replace=False), rng),
        "relaxed": lambda: relaxed(known, rng.choice(small, given.relaxed, replace=False), rng),
        "others": lambda: others(known, given.others, rng),
    }
    for name, part in parts.items():
        found[name] = part()
        print(name, {key: value for key, value in found[name].items() if not isinstance(value, list)})
        OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
