"""Data sets as arrays of genes and geometries, made once and cached."""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Wyckoff letters by token; 0 means masked or absent.
LETTERS = " abcdefghijklmnopqrstuvwxyzA"
# Changes whenever the arrays' meaning does, so that an old cache is not read.
_FORMAT = "1"


@dataclass(frozen=True)
class TokenSet:
    """Genes and geometries of N crystals with at most S orbits.

    Attributes:
        ids: (N,) entry ids of the source.
        space_group: (N,) 1 to 230.
        elements: (N, S) atomic numbers, 0 beyond the last orbit.
        letters: (N, S) index into ``LETTERS``, 0 beyond the last orbit.
        n_atoms: (N,) atoms in the primitive cell.
        lattice: (N, 6) a, b, c (Å), angles (degrees), conventional standard cell.
        free: (N, S, 3) free coordinates, left-aligned, NaN where there is none.
        row: (N,) row of the source file (0-based), for properties.
    """

    ids: NDArray[np.str_]
    space_group: NDArray[np.int64]
    elements: NDArray[np.int64]
    letters: NDArray[np.int64]
    n_atoms: NDArray[np.int64]
    lattice: NDArray[np.float64]
    free: NDArray[np.float64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.space_group)

    def gene(self, index: int) -> Gene:
        """Return the gene of one crystal."""
        pairs = zip(self.elements[index], self.letters[index], strict=True)
        return Gene(int(self.space_group[index]), tuple((SYMBOLS[z], LETTERS[w]) for z, w in pairs if z))

    def geometry(self, index: int) -> Geometry:
        """Return the geometry of one crystal, in its gene's order of orbits."""
        a, b, c, alpha, beta, gamma = (float(x) for x in self.lattice[index])
        free = tuple(
            tuple(float(x) for x in coordinates if not np.isnan(x))
            for coordinates, z in zip(self.free[index], self.elements[index], strict=True)
            if z
        )
        return Geometry((a, b, c, alpha, beta, gamma), free)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> TokenSet:
        """Select the crystals of some indices or of a mask."""
        return TokenSet(*(getattr(self, field.name)[rows] for field in fields(self)))

    def save(self, path: Path) -> None:
        """Write as ``.npz``; a killed run leaves the old file or none."""
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(temporary, **{field.name: getattr(self, field.name) for field in fields(self)})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> TokenSet:
        """Read what ``save`` wrote.

        Raises:
            InputError: the file is cut short, or is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(*(stored[field.name] for field in fields(cls)))
        except (ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise InputError(
                f"{path}: it is damaged ({error}); restore it, or delete it and build it again."
            ) from error


def tokens_of(crystals: list[tuple[str, int, Gene, Geometry]]) -> TokenSet:
    """Arrays of (id, row, gene, geometry); the geometry in its gene's order."""
    width = max((len(gene.orbits) for _, _, gene, _ in crystals), default=0)
    count = len(crystals)
    elements = np.zeros((count, width), dtype=np.int64)
    letters = np.zeros((count, width), dtype=np.int64)
    free = np.full((count, width, 3), np.nan)
    for i, (_, _, gene, geometry) in enumerate(crystals):
        for j, ((element, letter), coordinates) in enumerate(zip(gene.orbits, geometry.free, strict=True)):
            elements[i, j] = ATOMIC_NUMBER[element]
            letters[i, j] = LETTERS.index(letter)
            free[i, j, : len(coordinates)] = coordinates
    return TokenSet(
        ids=np.array([name for name, _, _, _ in crystals], dtype=np.str_),
        space_group=np.array([gene.space_group for _, _, gene, _ in crystals], dtype=np.int64),
        elements=elements,
        letters=letters,
        n_atoms=np.array([gene.n_atoms for _, _, gene, _ in crystals], dtype=np.int64),
        lattice=np.array([geometry.lattice for _, _, _, geometry in crystals]).reshape(count, 6),
        free=free,
        row=np.array([row for _, row, _, _ in crystals], dtype=np.int64),
    )


def join(parts: list[TokenSet]) -> TokenSet:
    """One set from several, padded to the widest, in 32-bit numbers."""
    width = max(part.elements.shape[1] for part in parts)
    columns: dict[str, Any] = {}
    for field in fields(TokenSet):
        arrays = [getattr(part, field.name) for part in parts]
        if arrays[0].ndim > 1 and field.name != "lattice":
            fill = np.nan if arrays[0].dtype.kind == "f" else 0
            arrays = [
                np.pad(a, ((0, 0), (0, width - a.shape[1]), *((0, 0),) * (a.ndim - 2)), constant_values=fill)
                for a in arrays
            ]
        joined = np.concatenate(arrays)
        small = {"f": np.float32, "i": np.int32}.get(joined.dtype.kind)
        columns[field.name] = joined.astype(small) if small else joined
    return TokenSet(**columns)


def _digest(source: Path, settings: str) -> str:
    """Hash of a file's, or of a folder's files', contents and of the settings."""
    if not source.exists():
        raise InputError(f"data: {str(source)!r} is not there; give the folder that holds it.")
    found = hashlib.sha256(settings.encode())
    for file in sorted(source.iterdir()) if source.is_dir() else [source]:
        found.update(file.name.encode())
        found.update(file.read_bytes() if file.is_file() else b"")
    return found.hexdigest()[:16]


def tokenise(source: Path, cache_dir: Path, *, max_atoms: int = 20, symprec: float = 0.1) -> TokenSet:
    """Genes and geometries of a data set's crystals of up to ``max_atoms`` atoms; cached by content.

    Crystals without a gene (disordered, or no symmetry found) are left out and counted in the log.

    Args:
        source: any data set that ``read_dataset`` reads.
        cache_dir: where the ``.npz`` is kept, named after the source's hash and the settings.
        max_atoms: atoms in the primitive cell.
        symprec: Å.

    Raises:
        InputError: the source cannot be read.
    """
    from rich.console import Console
    from rich.progress import track

    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.data.dataset import read_dataset

    digest = _digest(source, f"{_FORMAT} {max_atoms} {symprec}")
    cached = cache_dir / f"tokens-{source.name.split('.')[0]}-{digest}.npz"
    if cached.is_file():
        return TokenSet.load(cached)
    crystals, skipped = [], 0
    for row, entry in enumerate(
        track(read_dataset(source), f"genes of {source.name}", console=Console(stderr=True))
    ):
        try:
            gene, geometry = gene_of(entry.structure, symprec)
        except SymmetryError:
            skipped += 1
            continue
        if gene.n_atoms <= max_atoms:
            crystals.append((entry.id, row, gene, geometry))
    if skipped:
        logging.getLogger(__name__).warning("%s: %d crystals without a gene left out", source.name, skipped)
    cache_dir.mkdir(parents=True, exist_ok=True)
    tokens = tokens_of(crystals)
    tokens.save(cached)
    return tokens
