"""Embeddings of materials: vectors that are close for similar materials."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from invdesign.analysis.inputs import Sample, listed, sampled, samples_of
from invdesign.composition.formula import formula_amounts, read_compositions
from invdesign.crystal.chemical_formula import formula_of
from invdesign.data.dataset import is_formula_table, numbers
from invdesign.errors import InputError, no_such_file
from invdesign.io.atomic import atomic_write
from invdesign.io.parallel import default_workers, one_thread, run_tasks
from invdesign.io.progress import Progress
from invdesign.potentials.interface import Frame, frame_of
from invdesign.potentials.registry import load_potential

if TYPE_CHECKING:
    from invdesign.potentials.chgnet.potential import CHGNetPotential

Kind = Literal["chgnet", "composition", "crystal-vae"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CHUNK = 250  # crystals embedded together; fixed, so that the number of processes changes no value
SAVED_EACH = 10  # chunks


@dataclass(slots=True)
class Material:
    """One crystal or formula.

    Attributes:
        id: identifier.
        formula: reduced.
        amounts: atoms by element.
        properties: numerical columns of the file, in their units.
        crystal: input of the embedding: a frame, gene and geometry, or None for a composition.
        vector: the embedding; None before it is computed.
    """

    id: str
    formula: str
    amounts: dict[str, float]
    properties: dict[str, float]
    crystal: Any = None
    vector: np.ndarray | None = None


@dataclass(slots=True)
class Materials:
    """Embedded materials in the order of the file, and (id, reason) of those that could not be embedded."""

    kept: list[Material]
    left_out: list[tuple[str, str]]

    @property
    def vectors(self) -> np.ndarray:
        """Return the embeddings (n, d)."""
        return np.stack([cast("np.ndarray", material.vector) for material in self.kept])


def embed(
    given: Any,  # noqa: ANN401 - a path, or one or several pymatgen structures
    kind: Kind,
    *,
    cache: Path | None,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress,
) -> Materials:
    """Read crystals or formulas and embed them.

    Args:
        given: file, folder or table of crystals, CSV with a formula column, or pymatgen structures.
        kind: ``chgnet`` (mean of the atoms' last features), ``composition`` (features of the formula),
            ``crystal-vae`` (latents of the generator; at most 20 atoms).
        cache: ``.npz`` with CHGNet's embeddings by crystal; read, and extended as they are computed.
        limit: take only so many, drawn at random.
        seed: of that draw.
        workers: processes; default: one per core.
        progress: receives the share done and a message.

    Raises:
        InputError: the file cannot be read, or nothing in it can be embedded.
    """
    name = str(given) if isinstance(given, str | Path) else "the structures given"
    progress(0.0, f"reading {name}")
    if isinstance(given, str | Path) and not Path(given).exists():
        raise no_such_file(given, "crystals, or a CSV of formulas")
    found = _read_formulas(Path(given)) if is_formula_table(given) else _read_crystals(given, kind)
    found.kept = sampled(found.kept, limit, seed)
    if kind == "chgnet":
        _embed_chgnet(found, cache, workers, progress)
    elif kind == "composition":
        _embed_compositions(found)
    else:
        _embed_latents(found)
    if not found.kept:
        label, reason = found.left_out[0]
        raise InputError(
            f"data: nothing in {name} can be embedded ({label}: {reason}); give ordered crystals."
        )
    return found


def _read_formulas(path: Path) -> Materials:
    table = read_compositions(path)
    kept, left_out = [], []
    for i, (label, formula) in enumerate(zip(table.labels, table.formulas, strict=True)):
        try:
            amounts = formula_amounts(formula)
        except InputError as error:
            left_out.append((label, str(error)))
            continue
        finite = {n: float(column[i]) for n, column in table.columns.items() if np.isfinite(column[i])}
        kept.append(Material(label, formula, amounts, finite))
    return Materials(kept, left_out)


def _read_crystals(given: Any, kind: Kind) -> Materials:  # noqa: ANN401 - as in embed
    """Read crystals, keeping only what is embedded: 15 000 pymatgen structures take a gigabyte."""
    kept, left_out = [], []
    for number, entry in enumerate(listed(given), start=1):
        for sample in samples_of(entry, number):
            try:
                crystal = _crystal(sample, kind)
            except InputError as error:
                left_out.append((sample.label, str(error)))
                continue
            assert sample.structure is not None  # noqa: S101 - else _crystal raises
            composition = sample.structure.composition
            amounts = {element.symbol: float(amount) for element, amount in composition.items()}
            properties = numbers(sample.columns)
            kept.append(Material(sample.label, formula_of(composition), amounts, properties, crystal))
    return Materials(kept, left_out)


def _crystal(sample: Sample, kind: Kind) -> Any:  # noqa: ANN401 - see Material
    if sample.structure is None:
        raise InputError(sample.fault)
    if kind == "chgnet":
        return frame_of(sample.structure)
    if kind == "crystal-vae":
        from invdesign.generators.crystal_vae.pipeline import crystal_of

        return crystal_of(sample.structure)
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


def _embed_chgnet(found: Materials, cache: Path | None, workers: int | None, progress: Progress) -> None:
    """Fill in the vectors from the cache, then with the potential; failures are left out."""
    if any(material.crystal is None for material in found.kept):
        raise InputError("embedding: a table of formulas has no crystals; take embedding composition.")
    keys = [_key(material.crystal) for material in found.kept]
    known = _cached(cache) if cache else {}
    todo = {key: m.crystal for key, m in zip(keys, found.kept, strict=True) if key not in known}
    reasons: dict[str, str] = {}
    order = sorted(todo, key=lambda key: len(todo[key]))  # similar sizes together: even micro-batches
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
        if cache and (number % SAVED_EACH == 0 or number == len(chunks)):
            _store(cache, known)
        progress(done / len(order), f"{done} of {len(order)} crystals embedded")
    for key, material in zip(keys, found.kept, strict=True):
        material.vector = known.get(key)
        if key in reasons:
            found.left_out.append((material.id, reasons[key]))
    found.kept = [material for material in found.kept if material.vector is not None]


def embed_chunk(frames: Sequence[Frame]) -> tuple[np.ndarray, dict[int, str]]:
    """Return CHGNet's features (n, 64) of some crystals, and failures by index."""
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
