"""Structure features and calibrated energies of every crystal of a data set, computed once and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from invdesign.crystal.gene import Gene
from invdesign.crystal.symmetry import SymmetryError, gene_of
from invdesign.data.dataset import read_dataset
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.progress import Progress
from invdesign.predictors.features.composition_and_gene import VERSION, structure_matrix

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.data.dataset import Entry
    from invdesign.potentials.chgnet.potential import CHGNetPotential
    from invdesign.stability.calibration import EnergyCalibration


CHUNK = 500


@dataclass(frozen=True, slots=True)
class Described:
    """What the models see of n crystals.

    Attributes:
        features: (n, d) float32, of ``structure_matrix`` with CHGNet's embedding.
        energy: (n,) formation energy by calibrated CHGNet, eV/atom; nan where it failed.
        space_group: (n,).
        formulas: n reduced formulas.
    """

    features: np.ndarray
    energy: np.ndarray
    space_group: np.ndarray
    formulas: np.ndarray

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.energy)


def describe(structures: Sequence[Structure], potential: CHGNetPotential | None = None) -> Described:
    """Describe ordered crystals; where CHGNet fails its features are nan.

    Args:
        structures: at least one.
        potential: where a CHGNet is loaded already.
    """
    from invdesign.potentials.registry import load_potential
    from invdesign.stability.calibration import EnergyCalibration

    potential = potential or cast("CHGNetPotential", load_potential("chgnet"))
    output = potential.evaluate_energies(structures)
    return of_embedded(structures, output.energy, output.embeddings, EnergyCalibration.load(potential.name))


def of_embedded(
    structures: Sequence[Structure],
    energies: np.ndarray,
    embeddings: np.ndarray,
    calibration: EnergyCalibration,
) -> Described:
    """Describe crystals whose energies (eV per cell) and embeddings CHGNet has given already."""
    genes = [gene_or_general(structure) for structure in structures]
    return Described(
        structure_matrix(structures, genes, embeddings),
        np.array([_formation_energy(*pair, calibration) for pair in zip(structures, energies, strict=True)]),
        np.array([gene.space_group for gene in genes]),
        np.array([structure.composition.reduced_formula for structure in structures]),
    )


def _formation_energy(structure: Structure, energy: float, calibration: EnergyCalibration) -> float:
    try:
        return calibration.formation_energy(structure.composition, float(energy), hypothetical=False)
    except InputError:  # an element without a reference energy
        return float("nan")


def gene_or_general(structure: Structure) -> Gene:
    """Return the structure's gene; every atom in general position where no symmetry is found."""
    try:
        return gene_of(structure)[0]
    except SymmetryError:
        return Gene(1, tuple((site.specie.symbol, "a") for site in structure))


def described_file(path: Path, cache: Path, progress: Progress) -> tuple[Described, dict[str, np.ndarray]]:
    """Descriptions of every crystal of a file or folder, and its numeric columns (nan where missing).

    Raises:
        InputError: as :func:`invdesign.data.dataset.read_dataset`.
    """
    stored = (
        cache / f"described-{path.name.split('.')[0]}-{_digest(path)}-{VERSION}-{_potential_digest()}.npz"
    )
    entries = list(read_dataset(path))
    columns = columns_of(entries)
    if stored.is_file():
        with np.load(stored, allow_pickle=False) as kept:
            return Described(**dict(kept)), columns
    # like sizes together: even micro-batches
    order = np.argsort([len(entry.structure) for entry in entries], kind="stable")
    parts = []
    for start in range(0, len(order), CHUNK):
        progress(start / len(order), f"describing {path.name}: {start} of {len(order)} crystals")
        parts.append(describe([entries[i].structure for i in order[start : start + CHUNK]]))
    back = np.argsort(order)
    fields = Described.__dataclass_fields__
    joined = {name: np.concatenate([getattr(part, name) for part in parts])[back] for name in fields}
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_write(stored) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **joined)
    return Described(**joined), columns


def columns_of(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Return the entries' properties as columns (n,), nan where missing."""
    names = sorted({name for entry in entries for name in entry.properties})
    return {
        name: np.array([entry.properties.get(name, np.nan) for entry in entries], dtype=float)
        for name in names
    }


def _potential_digest() -> str:
    """Hash what features and energies come from: CHGNet and its calibration."""
    from invdesign.io.artifacts import find
    from invdesign.potentials.chgnet.potential import CHGNetPotential, weights_digest
    from invdesign.stability.calibration import FILE

    name, digest = CHGNetPotential.name, weights_digest()
    calibration = (find("validators", name, needs=(FILE,)) / FILE).read_bytes()
    return hashlib.sha256(f"{name} {digest} ".encode() + calibration).hexdigest()[:16]


def _digest(path: Path) -> str:
    """Of a file's content, or of a folder's names, sizes and times."""
    if path.is_dir():
        listing = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(path.iterdir())]
        return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
