"""Structure features and calibrated energies of every crystal of a data set, computed once and cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from invdesign.crystal.gene import Gene
from invdesign.crystal.symmetry import SymmetryError, gene_of
from invdesign.data.dataset import read_dataset
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.progress import Progress
from invdesign.potentials.registry import load_potential
from invdesign.predictors.features.composition_and_gene import VERSION, structure_matrix

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.data.dataset import Entry
    from invdesign.potentials.chgnet.potential import CHGNetPotential
    from invdesign.stability.calibration import EnergyCalibration


CHUNK = 500
BASE = "chgnet"
"""The potential whose embedding is part of every structure's features."""


@dataclass(frozen=True, slots=True)
class Described:
    """What the models see of n crystals.

    Attributes:
        features: (n, d) float32, of ``structure_matrix`` with CHGNet's embedding.
        energy: (n,) formation energy by calibrated CHGNet, eV/atom; nan where it failed.
        space_group: (n,).
        formulas: n reduced formulas.
        further: (n, e) embeddings of other potentials by name, nan where they failed.
    """

    features: np.ndarray
    energy: np.ndarray
    space_group: np.ndarray
    formulas: np.ndarray
    further: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.energy)

    def seen_with(self, embeddings: Sequence[str], inputs: Sequence[float] = ()) -> np.ndarray:
        """Features (n, d) of a model that sees some embeddings, and last the same numbers for each crystal.

        A crystal that one of the potentials cannot evaluate has none of the further embeddings.

        Args:
            embeddings: names of potentials, ``BASE`` first.
            inputs: numbers.
        """
        if len(embeddings) > 1:
            further = np.concatenate([self.further[name] for name in embeddings[1:]], axis=1)
            failed = np.isnan(self.features[:, -1]) | np.isnan(further).any(axis=1)
            seen = [self.features, np.where(failed[:, None], np.nan, further)]
        else:
            seen = [self.features]
        constant = np.tile(np.asarray(inputs, dtype=np.float32), (len(self), 1))
        return np.concatenate([*seen, constant], axis=1, dtype=np.float32)


def embedded(described: Described, structures: Sequence[Structure], embeddings: Sequence[str]) -> Described:
    """Add the embeddings that a model sees and a description lacks.

    Args:
        described: of the structures.
        structures: the same crystals.
        embeddings: names of potentials, ``BASE`` first.
    """
    lacking = [name for name in embeddings[1:] if name not in described.further]
    if not lacking:
        return described
    found = {name: _embedding(structures, name) for name in lacking}
    return replace(described, further={**described.further, **found})


def _embedding(structures: Sequence[Structure], name: str) -> np.ndarray:
    from invdesign.potentials.batching import BatchedPotential

    potential = load_potential(name)
    if not isinstance(potential, BatchedPotential) or not potential.embedding_size:
        raise InputError(f"embeddings: {name} has none; give chgnet, 7net-0 or 7net-l3i5.")
    return potential.evaluate_energies(structures).embeddings


def describe(structures: Sequence[Structure], potential: CHGNetPotential | None = None) -> Described:
    """Describe ordered crystals; where CHGNet fails its features are nan.

    Args:
        structures: at least one.
        potential: where a CHGNet is loaded already.
    """
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


def described_file(
    path: Path, cache: Path, progress: Progress, embeddings: Sequence[str] = (BASE,)
) -> tuple[Described, dict[str, np.ndarray]]:
    """Descriptions of every crystal of a file or folder, and its numeric columns (nan where missing).

    Raises:
        InputError: as :func:`invdesign.data.dataset.read_dataset`.
    """
    return described_entries(_source(path), list(read_dataset(path)), cache, progress, embeddings)


def described_entries(
    source: str,
    entries: Sequence[Entry],
    cache: Path,
    progress: Progress,
    embeddings: Sequence[str] = (BASE,),
) -> tuple[Described, dict[str, np.ndarray]]:
    """Descriptions of crystals and their numeric columns (nan where missing).

    Kept in pieces of ``CHUNK`` crystals, drawn at random, so that a killed run goes on where it was.

    Args:
        source: what the crystals are called in the cache and while they are described.
        entries: at least one.
        cache: folder.
        progress: called before each piece.
        embeddings: names of potentials, ``BASE`` first.
    """
    structures = [entry.structure for entry in entries]
    crystals = _digest(structures)
    base = cache / f"described-{source}-{crystals}-{VERSION}-{_potential_digest()}"
    found = _in_pieces(base, structures, _base_arrays, progress, f"describing {source}")
    further = {}
    for name in embeddings[1:]:
        folder = cache / f"embedded-{source}-{crystals}-{name}-{load_potential(name).digest}"
        of_name = partial(_further_arrays, name)
        further[name] = _in_pieces(folder, structures, of_name, progress, f"{name} on {source}")["embedding"]
    described = Described(
        found["features"], found["energy"], found["space_group"], found["formulas"], further=further
    )
    return described, columns_of(entries)


def _base_arrays(structures: list[Structure]) -> dict[str, np.ndarray]:
    described = describe(structures)
    names = ("features", "energy", "space_group", "formulas")
    return {name: getattr(described, name) for name in names}


def _further_arrays(name: str, structures: list[Structure]) -> dict[str, np.ndarray]:
    return {"embedding": _embedding(structures, name)}


def _in_pieces(
    folder: Path,
    structures: Sequence[Structure],
    compute: Callable[[list[Structure]], dict[str, np.ndarray]],
    progress: Progress,
    what: str,
) -> dict[str, np.ndarray]:
    """Arrays (n, …) by name, computed in pieces that stay in a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(len(structures))
    parts = []
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        stored = folder / f"{start // CHUNK:04}.npz"
        if not stored.is_file():
            progress(start / len(order), f"{what}: {start} of {len(order)} crystals")
            # like sizes together: even micro-batches
            by_size = np.argsort([len(structures[row]) for row in rows], kind="stable")
            found = compute([structures[row] for row in rows[by_size]])
            back = np.argsort(by_size)
            with atomic_write(stored) as draft, draft.open("wb") as file:
                np.savez(file, allow_pickle=False, **{name: array[back] for name, array in found.items()})
        with np.load(stored, allow_pickle=False) as kept:
            parts.append(dict(kept))
    back = np.argsort(order)
    return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


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


def _source(path: Path) -> str:
    return path.name.split(".")[0]


def _digest(structures: Sequence[Structure]) -> str:
    """Hash of crystals: elements, cells and coordinates, in order."""
    digest = hashlib.sha256()
    for structure in structures:
        numbers = np.array(structure.atomic_numbers, dtype=np.int64)
        for array in (numbers, structure.lattice.matrix, structure.frac_coords):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
