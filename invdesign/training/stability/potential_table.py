"""A potential's energies and embeddings of every crystal of a dataset, computed once.

Calibrations and predictors are fitted on these; computing them takes minutes, so they are kept in a cache,
chunk by chunk: a killed run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.potentials.batching import BatchedPotential
from invdesign.potentials.interface import Frame, Potential, frame_of
from invdesign.potentials.registry import load_potential

if TYPE_CHECKING:
    from pymatgen.core import Structure

ROWS_PER_CHUNK = 500
RELAXED_PER_CHUNK = 100
ID_COLUMNS = ("material_id", "id")

_Row: TypeAlias = tuple[str, str]
"""Identifier and CIF."""


@dataclass(frozen=True, slots=True)
class PotentialTable:
    """One row a crystal, in the order of the file.

    Attributes:
        ids: ``material_id`` (or ``id``) of the row, its number where there is none, (n,) str.
        n_atoms: (n,) int; 0 where the CIF could not be read.
        energy: eV per cell, (n,) float64; nan where the evaluation failed.
        embedding: crystal features, (n, 64) float32 of CHGNet, (n, 0) of potentials that have none; nan
            where it failed.
    """

    ids: np.ndarray
    n_atoms: np.ndarray
    energy: np.ndarray
    embedding: np.ndarray


def potential_table(csv_path: Path, *, cache_dir: Path, potential: str = "chgnet") -> PotentialTable:
    """Compute a potential's energies (and CHGNet's embeddings) of every row of a dataset.

    Args:
        csv_path: CSV or CSV.gz with a ``cif`` column.
        cache_dir: where ``<file>-<hash>-<potential>.npz`` and its unfinished parts are kept.
        potential: as in ``load_potential``.

    Raises:
        InputError: the file is missing or has no ``cif`` column, or there is no such potential.
    """
    loaded = load_potential(potential)
    target = cache_dir / f"{_stem(csv_path, loaded)}.npz"
    if not target.is_file():
        _in_chunks(target, _rows(csv_path), ROWS_PER_CHUNK, lambda chunk: _evaluate(chunk, loaded))
    with np.load(target, allow_pickle=False) as stored:
        return PotentialTable(**{name: stored[name] for name in PotentialTable.__dataclass_fields__})


def relaxed_energies(
    csv_path: Path, chosen: np.ndarray, *, cache_dir: Path, potential: str = "chgnet"
) -> np.ndarray:
    """Energies of some rows of a dataset after relaxing them with the potential.

    Args:
        csv_path: as for ``potential_table``.
        chosen: m row numbers.
        cache_dir: kept there, as in ``potential_table``.
        potential: as in ``load_potential``.

    Returns:
        eV per cell, (m,); nan where the relaxation did not converge.

    Raises:
        InputError: as for ``potential_table``.
    """
    loaded = load_potential(potential)
    which = hashlib.sha256(chosen.astype(np.int64).tobytes()).hexdigest()[:8]
    target = cache_dir / f"{_stem(csv_path, loaded)}-relaxed-{which}.npz"
    if not target.is_file():
        rows = _rows(csv_path)
        some = [rows[row] for row in chosen]
        _in_chunks(target, some, RELAXED_PER_CHUNK, lambda chunk: _relax(chunk, loaded))
    with np.load(target, allow_pickle=False) as stored:
        return np.asarray(stored["energy"])


def _stem(csv_path: Path, potential: Potential) -> str:
    if not csv_path.is_file():
        raise InputError(f"dataset {str(csv_path)!r} is not there; give a CSV with a cif column.")
    digest = hashlib.sha256(csv_path.read_bytes()).hexdigest()[:16]
    # names of hub models and ASE calculators hold / and :
    name = re.sub(r"[^\w.@-]+", "-", potential.name)
    return f"{csv_path.name.split('.')[0]}-{digest}-{name}{potential.digest and '-'}{potential.digest}"


def _in_chunks(
    target: Path, rows: list[_Row], size: int, compute: Callable[[list[_Row]], dict[str, np.ndarray]]
) -> None:
    """Compute arrays for rows, each chunk kept as soon as it is there, then all of them in ``target``."""
    parts = target.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    chunks = []
    for start in range(0, len(rows), size):
        part = parts / f"{start:07d}.npz"
        if not part.is_file():
            _write(part, **compute(rows[start : start + size]))
        with np.load(part, allow_pickle=False) as stored:
            chunks.append(dict(stored))
    _write(target, **{name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]})
    shutil.rmtree(parts)


def _evaluate(rows: list[_Row], potential: Potential) -> dict[str, np.ndarray]:
    frames: dict[int, Frame] = {}
    for k, (_, cif) in enumerate(rows):
        with contextlib.suppress(ValueError):  # raised for a CIF that is no crystal
            frames[k] = frame_of(_structure(cif))
    order = sorted(frames, key=lambda k: len(frames[k]))  # like sizes together: even micro-batches
    ordered = [frames[k] for k in order]
    evaluate = potential.evaluate_energies if isinstance(potential, BatchedPotential) else potential.evaluate
    output = evaluate(ordered)
    energy = np.full(len(rows), np.nan)
    embedding = np.full((len(rows), output.embeddings.shape[1]), np.nan, dtype=np.float32)
    energy[order], embedding[order] = output.energy, output.embeddings
    return {
        "ids": np.array([identifier for identifier, _ in rows], dtype=np.str_),
        "n_atoms": np.array([len(frames[k]) if k in frames else 0 for k in range(len(rows))]),
        "energy": energy,
        "embedding": embedding,
    }


def _relax(rows: list[_Row], potential: Potential) -> dict[str, np.ndarray]:
    from invdesign.relaxation.relax import relax

    relaxed = relax([_structure(cif) for _, cif in rows], potential)
    return {"energy": np.array([result.energy if result.converged else np.nan for result in relaxed])}


def _structure(cif: str) -> Structure:
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Structure.from_str(cif, fmt="cif")


def _rows(path: Path) -> list[_Row]:
    csv.field_size_limit(2**31 - 1)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or []
        if "cif" not in columns:
            raise InputError(
                f"dataset {str(path)!r} has no cif column; it has {', '.join(columns) or 'no columns'}."
            )
        id_column = next((name for name in ID_COLUMNS if name in columns), None)
        return [(row[id_column] if id_column else str(k), row["cif"]) for k, row in enumerate(reader)]


def _write(path: Path, **arrays: np.ndarray) -> None:
    with atomic_write(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
