"""A potential's energies and embeddings of every crystal of a dataset, computed once.

Calibrations and predictors are fitted on these; computing them takes minutes, so they are kept in a cache,
chunk by chunk: a killed run goes on where it stopped.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.errors import InputError
from invdesign.validators.chgnet_potential import EMBEDDING_SIZE, CHGNetPotential
from invdesign.validators.potential import Frame, frame_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS_PER_CHUNK = 500
ID_COLUMNS = ("material_id", "id")


@dataclass(frozen=True, slots=True)
class PotentialTable:
    """One row a crystal, in the order of the file.

    Attributes:
        ids: ``material_id`` (or ``id``) of the row, its number where there is none, (n,) str.
        n_atoms: (n,) int; 0 where the CIF could not be read.
        energy: eV per cell, (n,) float64; nan where the evaluation failed.
        embedding: crystal features, (n, 64) float32; nan where it failed.
        failure: why it failed, (n,) str; empty where it did not.
    """

    ids: np.ndarray
    n_atoms: np.ndarray
    energy: np.ndarray
    embedding: np.ndarray
    failure: np.ndarray

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ids)


def potential_table(
    csv_path: Path, *, cache_dir: Path, progress: Callable[[int, int], None] | None = None
) -> PotentialTable:
    """CHGNet's energies and embeddings of every row of a dataset.

    Args:
        csv_path: CSV or CSV.gz with a ``cif`` column.
        cache_dir: where ``<file>-<hash>-<potential>.npz`` and its unfinished parts are kept.
        progress: called with rows done and rows in all, after each chunk.

    Raises:
        InputError: the file is missing or has no ``cif`` column.
    """
    csv_path = Path(csv_path)
    if not csv_path.is_file():
        msg = f"dataset {str(csv_path)!r} is not there; give a CSV with a cif column."
        raise InputError(msg)
    digest = hashlib.sha256(csv_path.read_bytes()).hexdigest()[:16]
    stem = f"{csv_path.name.split('.')[0]}-{digest}-{CHGNetPotential.name}"
    target = Path(cache_dir) / f"{stem}.npz"
    if not target.is_file():
        parts = Path(cache_dir) / f"{stem}.parts"
        parts.mkdir(parents=True, exist_ok=True)
        _write(target, **_compute(_rows(csv_path), parts, progress))
        shutil.rmtree(parts)
    with np.load(target, allow_pickle=False) as stored:
        return PotentialTable(**{name: stored[name] for name in PotentialTable.__dataclass_fields__})


def _compute(
    rows: list[tuple[str, str]], parts: Path, progress: Callable[[int, int], None] | None
) -> dict[str, np.ndarray]:
    potential: CHGNetPotential | None = None
    chunks = []
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        part = parts / f"{start:07d}.npz"
        if not part.is_file():
            potential = potential or CHGNetPotential()
            _write(part, **_evaluate(rows[start : start + ROWS_PER_CHUNK], potential))
        with np.load(part, allow_pickle=False) as stored:
            chunks.append(dict(stored))
        if progress is not None:
            progress(min(start + ROWS_PER_CHUNK, len(rows)), len(rows))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _evaluate(rows: list[tuple[str, str]], potential: CHGNetPotential) -> dict[str, np.ndarray]:
    failure = [""] * len(rows)
    frames: dict[int, Frame] = {}
    for k, (_, cif) in enumerate(rows):
        try:
            frames[k] = _frame(cif)
        except ValueError as error:  # pymatgen's and our own word for a CIF that is no crystal
            failure[k] = str(error)
    order = sorted(frames, key=lambda k: len(frames[k]))  # like sizes together: even micro-batches
    energies, features, failures = potential.embed([frames[k] for k in order])
    energy = np.full(len(rows), np.nan)
    embedding = np.full((len(rows), EMBEDDING_SIZE), np.nan, dtype=np.float32)
    energy[order], embedding[order] = energies, features
    for position, reason in failures.items():
        failure[order[position]] = reason
    return {
        "ids": np.array([identifier for identifier, _ in rows], dtype=np.str_),
        "n_atoms": np.array([len(frames[k]) if k in frames else 0 for k in range(len(rows))]),
        "energy": energy,
        "embedding": embedding,
        "failure": np.array(failure, dtype=np.str_),
    }


def _frame(cif: str) -> Frame:
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frame_of(Structure.from_str(cif, fmt="cif"))


def _rows(path: Path) -> list[tuple[str, str]]:
    """(identifier, CIF) of every row."""
    csv.field_size_limit(2**31 - 1)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames or []
        if "cif" not in columns:
            msg = f"dataset {str(path)!r} has no cif column; it has {', '.join(columns) or 'no columns'}."
            raise InputError(msg)
        id_column = next((name for name in ID_COLUMNS if name in columns), None)
        return [(row[id_column] if id_column else str(k), row["cif"]) for k, row in enumerate(reader)]


def _write(path: Path, **arrays: np.ndarray) -> None:
    """Write an npz so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    temporary.replace(path)
