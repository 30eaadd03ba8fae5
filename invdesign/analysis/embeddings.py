"""Materials of any file as vectors that are near each other where the materials are alike."""

from __future__ import annotations

import csv
import gzip
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from invdesign.composition.formula import FORMULA_COLUMNS, formula_amounts, read_compositions
from invdesign.crystal.structure_files import FILE_COLUMN, ID_COLUMNS, Unreadable, read_entries
from invdesign.data.dataset import numbers
from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.parallel import default_workers, one_thread, run_tasks
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.registry import load_potential

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from invdesign.crystal.structure_files import Record
    from invdesign.potentials.chgnet.potential import CHGNetPotential

    Progress = Callable[[float, str], None]

Kind = Literal["chgnet", "composition", "crystal-vae"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHUNK = 250  # crystals embedded together; fixed, so that the number of processes changes no figure
SAVED_EACH = 10  # chunks


@dataclass(slots=True)
class Material:
    """One entry of a file.

    Attributes:
        id: its identifier.
        formula: reduced.
        amounts: atoms by element.
        properties: the columns that are numbers, in the columns' own units.
        crystal: what the embedding takes: a frame, gene and geometry, or None for a composition.
        vector: its embedding; empty until it is there.
    """

    id: str
    formula: str
    amounts: dict[str, float]
    properties: dict[str, float]
    crystal: Any = None
    vector: np.ndarray | None = None


@dataclass(slots=True)
class Materials:
    """What could be embedded, in the order of the file, and (id, reason) of what could not."""

    kept: list[Material]
    left_out: list[tuple[str, str]]

    @property
    def vectors(self) -> np.ndarray:
        """Embeddings (n, d)."""
        return np.stack([cast("np.ndarray", material.vector) for material in self.kept])


def embed_file(
    path: Path,
    kind: Kind,
    *,
    cache: Path,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress,
) -> Materials:
    """Read a file or folder and embed what it holds.

    Args:
        path: what :func:`invdesign.crystal.structure_files.read_entries` reads, or a CSV with a formula
            column.
        kind: ``chgnet`` (the mean of the atoms' last features), ``composition`` (features of the formula),
            ``crystal-vae`` (the generator's latents; at most 20 atoms).
        cache: ``.npz`` with CHGNet's embeddings by crystal: read, and written as they are found.
        limit: so many alone, drawn at random.
        seed: of that draw.
        workers: processes; default one per core.
        progress: is told the share that is done and a word on it.

    Raises:
        InputError: the file cannot be read, or nothing in it can be embedded.
    """
    progress(0.0, f"reading {path}")
    found = _read_formulas(path) if is_formula_table(path) else _read_crystals(path, kind)
    if limit is not None and limit < len(found.kept):
        chosen = np.random.default_rng(seed).choice(len(found.kept), limit, replace=False)
        found.kept = [found.kept[i] for i in sorted(chosen.tolist())]
    if kind == "chgnet":
        _embed_chgnet(found, cache, workers, progress)
    elif kind == "composition":
        _embed_compositions(found)
    else:
        _embed_latents(found)
    if not found.kept:
        name, reason = found.left_out[0]
        raise InputError(
            f"data: nothing in {path} can be embedded ({name}: {reason}); give ordered crystals."
        )
    return found


def is_formula_table(path: Path) -> bool:
    """Whether a file is a CSV with formulas and without crystals."""
    if not path.is_file() or not path.name.lower().removesuffix(".gz").endswith(".csv"):
        return False
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
            head, first = handle.readline(), handle.readline()
    except (OSError, EOFError, UnicodeDecodeError):
        return False  # the reader of crystals says what is wrong
    names = {name.strip() for name in next(csv.reader([head]), [])}
    crystals = FILE_COLUMN in names or "cif" in {name.lower() for name in names} or "data_" in first
    return bool(names & set(FORMULA_COLUMNS)) and not crystals


def _read_formulas(path: Path) -> Materials:
    table = read_compositions(path)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as handle:
        rows = csv.DictReader(handle)
        key = next((name for name in ID_COLUMNS if name in (rows.fieldnames or [])), None)
        labels = [row[key] for row in rows] if key else table.formulas
    kept, left_out = [], []
    for i, (label, formula) in enumerate(zip(labels, table.formulas, strict=True)):
        try:
            amounts = formula_amounts(formula)
        except InputError as error:
            left_out.append((label, str(error)))
            continue
        own = {name: float(column[i]) for name, column in table.columns.items() if np.isfinite(column[i])}
        kept.append(Material(label, formula, amounts, own))
    return Materials(kept, left_out)


def _read_crystals(path: Path, kind: Kind) -> Materials:
    """Structures go at once: 15 000 of pymatgen's take a gigabyte."""
    kept, left_out = [], []
    for entry in read_entries(path):
        if isinstance(entry, Unreadable):
            left_out.append((entry.label, entry.reason))
            continue
        try:
            crystal = _crystal(entry, kind)
        except InputError as error:
            left_out.append((entry.label, str(error)))
            continue
        composition = entry.structure.composition
        amounts = {element.symbol: float(amount) for element, amount in composition.items()}
        kept.append(
            Material(entry.label, composition.reduced_formula, amounts, numbers(entry.columns), crystal)
        )
    return Materials(kept, left_out)


def _crystal(entry: Record, kind: Kind) -> Any:  # noqa: ANN401 - see Material
    if kind == "chgnet":
        return frame_of(entry.structure)
    if kind == "crystal-vae":
        from invdesign.generators.crystal_vae.pipeline import crystal_of

        return crystal_of(entry.structure)
    return None


def _embed_compositions(found: Materials) -> None:
    from invdesign.predictors.features.composition_and_gene import composition_matrix, counts_of

    if found.kept:
        rows = composition_matrix(counts_of([material.amounts for material in found.kept]))
        for material, row in zip(found.kept, rows, strict=True):
            material.vector = row


def _embed_latents(found: Materials) -> None:
    from invdesign.data.tokens import tokens_of
    from invdesign.generators.crystal_vae.pipeline import CrystalVAE

    tokens = tokens_of([(m.id, i, *m.crystal) for i, m in enumerate(found.kept)])
    for material, latent in zip(found.kept, CrystalVAE.load().encode_tokens(tokens), strict=True):
        material.vector = latent


def _embed_chgnet(found: Materials, cache: Path, workers: int | None, progress: Progress) -> None:
    """Fill in the vectors from the cache, then by the potential; failures are left out."""
    if any(material.crystal is None for material in found.kept):
        raise InputError("embedding: a table of formulas has no crystals; take embedding composition.")
    keys = [_key(material.crystal) for material in found.kept]
    known = _cached(cache)
    todo = {key: m.crystal for key, m in zip(keys, found.kept, strict=True) if key not in known}
    reasons: dict[str, str] = {}
    order = sorted(todo, key=lambda key: len(todo[key]))  # like sizes together: even micro-batches
    chunks = [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
    tasks = [[todo[key] for key in chunk] for chunk in chunks]
    results = run_tasks(
        embed_chunk, tasks, workers=min(workers or default_workers(), len(tasks) or 1), ordered=True
    )
    done = 0
    for number, (chunk, (vectors, failures)) in enumerate(zip(chunks, results, strict=True), start=1):
        known |= {key: vectors[i] for i, key in enumerate(chunk) if i not in failures}
        reasons |= {chunk[i]: reason for i, reason in failures.items()}
        done += len(chunk)
        if number % SAVED_EACH == 0 or number == len(chunks):
            _store(cache, known)
        progress(done / len(order), f"{done} of {len(order)} crystals embedded")
    for key, material in zip(keys, found.kept, strict=True):
        material.vector = known.get(key)
        if key in reasons:
            found.left_out.append((material.id, reasons[key]))
    found.kept = [material for material in found.kept if material.vector is not None]


def embed_chunk(frames: Sequence[Frame]) -> tuple[np.ndarray, dict[int, str]]:
    """CHGNet's features (n, 64) of some crystals, and failures by index."""
    with one_thread():
        potential = cast("CHGNetPotential", load_potential("chgnet"))
        output = potential.evaluate_energies(frames)
    return output.embeddings, output.failures


def _key(frame: Frame) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for array in (frame.numbers, frame.positions, frame.cell):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _cached(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))


def _store(path: Path, known: dict[str, np.ndarray]) -> None:
    with atomic_write(path) as draft, draft.open("wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            keys=np.array(list(known), dtype=np.str_),
            vectors=np.stack(list(known.values())) if known else np.zeros((0, 0), dtype=np.float32),
        )
