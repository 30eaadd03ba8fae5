"""Data of a calibration: energies of data sets by DFT and by the potential."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.dft.results.elements import references
from invdesign.potentials.interface import Potential
from invdesign.stability.energy_corrections import EnergyScale
from invdesign.training.stability.hull import MP2020_SETS, on_mp2020, parse, read_set
from invdesign.training.stability.potential_table import potential_table, relaxed_energies

if TYPE_CHECKING:
    from pymatgen.core import Composition

HYPOTHETICAL = "wbm"
FMAX, MAX_STEPS = 0.02, 300  # eV/Å; of the elements, as finished candidates


@dataclass(frozen=True, slots=True)
class EvaluatedSet:
    """Crystals of one data set with the potential's energies and DFT's.

    Attributes:
        formulas: n, as in the source.
        compositions: the same, parsed.
        energies: the potential's at the source's geometries, eV/atom, (n,).
        relaxed: the potential's after relaxing with it, eV/atom, (n,); nan where that was not done.
        formation: DFT formation energies on the MP2020 scale, eV/atom, (n,).
        reported: DFT energy above hull, eV/atom, (n,); nan where the source has none.
        failed: crystals that the potential could not evaluate; left out of the rest.
    """

    formulas: list[str]
    compositions: list[Composition]
    energies: np.ndarray
    relaxed: np.ndarray
    formation: np.ndarray
    reported: np.ndarray
    failed: int


def read_evaluated(
    name: str, *, data: Path, potential: str, cache: Path, shift: EnergyScale, n_relaxed: int, seed: int
) -> EvaluatedSet:
    """Read a data set with a potential's energies (computed once, then from the cache).

    Args:
        name: ``mp20``, ``mpts52`` or ``wbm``.
        data: folder with ``structures/``.
        potential: as in ``load_potential``.
        cache: folder of energies.
        shift: brings hypothetical crystals to the MP2020 scale.
        n_relaxed: how many hypothetical crystals to relax with the potential, drawn at random.
        seed: of that draw.
    """
    path = data / "structures" / f"{name}.csv.gz"
    table = read_set(data, name)
    found = potential_table(path, cache_dir=cache, potential=potential)
    n_atoms = np.maximum(found.n_atoms, 1)
    energies, relaxed = found.energy / n_atoms, np.full(len(table), np.nan)
    published = np.array(table["formation_energy_per_atom"], dtype=float)
    formulas = table["pretty_formula"].tolist()
    compositions = parse(formulas)
    formation, reported = published, np.full(len(table), np.nan)
    if name == HYPOTHETICAL:
        formation = on_mp2020(compositions, published, shift)
    else:
        reported = np.array(table["e_above_hull"], dtype=float)
    if name == HYPOTHETICAL and n_relaxed:
        rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:n_relaxed])
        relaxed[rows] = relaxed_energies(path, rows, cache_dir=cache, potential=potential) / n_atoms[rows]
    usable = np.flatnonzero(np.isfinite(energies))
    return EvaluatedSet(
        formulas=[formulas[i] for i in usable],
        compositions=[compositions[i] for i in usable],
        energies=energies[usable],
        relaxed=relaxed[usable],
        formation=formation[usable],
        reported=reported[usable],
        failed=len(energies) - len(usable),
    )


def known_targets(samples: dict[str, EvaluatedSet]) -> tuple[list[Composition], np.ndarray]:
    """Compositions of the known crystals and energy minus formation energy, eV/atom, (n,)."""
    known = [samples[name] for name in MP2020_SETS]
    compositions = [composition for sample in known for composition in sample.compositions]
    return compositions, np.concatenate([sample.energies - sample.formation for sample in known])


def ground_states(potential: Potential, elements: Iterable[str]) -> dict[str, float]:
    """Energies of the elements' ground states relaxed with a potential, eV/atom, by symbol.

    Those of ``validators/elements``, less their known energies above the ground state; elements without a
    crystal there, or whose relaxation fails, are left out.
    """
    from invdesign.relaxation.relax import relax

    chosen = {symbol: crystal for symbol, crystal in references().items() if symbol in elements}
    structures = [crystal.structure for crystal in chosen.values()]
    relaxed = relax(structures, potential, fmax=FMAX, max_steps=MAX_STEPS, keep_symmetry=True)
    return {
        symbol: round(result.energy / len(result.structure) - crystal.e_above_hull, 5)
        for (symbol, crystal), result in zip(chosen.items(), relaxed, strict=True)
        if result.converged
    }
