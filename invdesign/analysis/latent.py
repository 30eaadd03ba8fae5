"""Files of crystals in the latent space of ``crystal-vae``: interpolated, reconstructed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.crystal.structure_files import Unreadable, file_formula, read_entries, read_records, write_cif
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from invdesign.crystal.gene import Gene
    from invdesign.crystal.geometry import Geometry
    from invdesign.crystal.structure_files import Record
    from invdesign.generators.crystal_vae.pipeline import CrystalVAE

    Progress = Callable[[float, str], None]
    Crystal = tuple[Record, Gene, Geometry]


def interpolate(
    a: Path, b: Path, n: int, out: Path, *, generator: str = "crystal-vae"
) -> list[dict[str, Any]]:
    """Write ``n`` crystals on the line from one crystal to another, ends included.

    Args:
        a: file of one crystal.
        b: another.
        n: how many, at least 2.
        out: folder for one CIF each and ``interpolation.csv``.
        generator: released name or folder of the VAE.

    Returns:
        The table's rows: step, share of ``b``, formula, space group, gene, Å³ per atom, what the property
        heads expect, CIF.

    Raises:
        InputError: a file cannot be read or holds several crystals, one cannot be encoded, or ``out`` holds
            files.
    """
    if out.is_dir() and (strange := sorted(path.name for path in out.iterdir())):
        raise InputError(f"out: {str(out)!r} holds other files ({strange[0]}); give a new or empty folder.")
    vae = _load(generator)
    start, end = (_only(path) for path in (a, b))
    found = vae.interpolate(start, end, n)
    first, last = vae.encode([start, end])
    shares = np.linspace(0.0, 1.0, n)
    expected = vae.properties(np.outer(1 - shares, first) + np.outer(shares, last))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (share, candidate) in enumerate(zip(shares, found, strict=True)):
        gene, structure = candidate.gene, _structure(candidate.structure)
        name = f"{i:02d}_{file_formula(gene.formula)}.cif"
        write_cif(structure, out / name, symmetrised=False)
        row = {
            "step": i,
            "share": round(float(share), 4),
            "formula": gene.formula,
            "space_group": gene.space_group,
            "gene": str(gene),
            "volume_per_atom": round(structure.volume / len(structure), 3),
        }
        heads = {f"{key}_expected": round(float(values[i]), 3) for key, values in expected.items()}
        rows.append({**row, **heads, "cif": name})
    _write(rows, out / "interpolation.csv")
    return rows


def reconstruct(
    files: Sequence[Path],
    *,
    limit: int | None = None,
    seed: int = 0,
    generator: str = "crystal-vae",
    progress: Progress = lambda _share, _message: None,
) -> list[dict[str, Any]]:
    """Encode crystals, decode them, and say which come back.

    Args:
        files: of structures.
        limit: so many alone, drawn at random.
        seed: of that draw.
        generator: released name or folder of the VAE.
        progress: is told the share that is done and a word on it.

    Returns:
        A row each: label, formula, gene; whether the same gene and the same structure came back
        (``StructureMatcher`` at 0.3 / 0.5 / 10°), or the reason why it could not be encoded.

    Raises:
        InputError: a file cannot be read, or nothing can be encoded.
    """
    vae = _load(generator)
    progress(0.0, "reading and encoding")
    crystals, refused = _encodable(files, limit, seed)
    decoded = vae.decode(_encode(vae, crystals))
    rows: list[dict[str, Any]] = []
    for i, ((record, gene, _), candidate) in enumerate(zip(crystals, decoded, strict=True)):
        matches = same_structure(record.structure, _structure(candidate.structure))
        genes = {"gene": str(gene), "gene_decoded": str(candidate.gene), "gene_back": candidate.gene == gene}
        rows.append(
            {"label": record.label, "formula": gene.formula, **genes, "structure_back": matches, "reason": ""}
        )
        progress((i + 1) / len(decoded), f"{i + 1} of {len(decoded)} compared")
    return rows + refused


def same_structure(a: Structure, b: Structure) -> bool:
    """Whether two crystals match at the literature's tolerances (0.3, 0.5, 10°)."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if a.composition.reduced_formula != b.composition.reduced_formula:
        return False
    return bool(StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).fit(a, b))


def _load(generator: str) -> CrystalVAE:
    from invdesign.generators.crystal_vae.pipeline import CrystalVAE
    from invdesign.generators.registry import find_generator

    if find_generator(generator) == CrystalVAE.name:
        return CrystalVAE.load(generator)
    raise InputError(
        f"generator: {generator!r} has no latent space; give crystal-vae or a folder of its training."
    )


def _encodable(
    files: Sequence[Path], limit: int | None, seed: int
) -> tuple[list[Crystal], list[dict[str, Any]]]:
    """The crystals that have a gene of the generator's size, and a row with the reason for each of the rest.

    Raises:
        InputError: no such file, or none of its entries is left.
    """
    from invdesign.generators.crystal_vae.pipeline import crystal_of

    entries = [entry for path in files for entry in read_entries(path)]
    if limit is not None and limit < len(entries):
        chosen = np.random.default_rng(seed).choice(len(entries), limit, replace=False)
        entries = [entries[i] for i in sorted(chosen)]
    crystals, refused = [], []
    for entry in entries:
        if isinstance(entry, Unreadable):
            refused.append(_left_out(entry.label, "", entry.reason))
            continue
        try:
            crystals.append((entry, *crystal_of(entry.structure)))
        except InputError as error:
            formula = entry.structure.composition.reduced_formula
            refused.append(_left_out(entry.label, formula, str(error)))
    if not crystals:
        raise InputError(refused[0]["reason"])
    return crystals, refused


def _left_out(label: str, formula: str, reason: str) -> dict[str, Any]:
    row = {"label": label, "formula": formula, "gene": "", "gene_decoded": ""}
    return row | {"gene_back": False, "structure_back": False, "reason": reason}


def _only(path: Path) -> Structure:
    """The crystal of a file that holds one."""
    records = list(read_records(path))
    if len(records) > 1:
        raise InputError(f"{path}: it holds {len(records)} crystals; give a file of one.")
    return records[0].structure


def _encode(vae: CrystalVAE, crystals: list[Crystal]) -> NDArray[np.float32]:
    from invdesign.data.tokens import tokens_of

    return vae.encode_tokens(
        tokens_of([(record.label, i, gene, geometry) for i, (record, gene, geometry) in enumerate(crystals)])
    )


def _structure(structure: Structure | None) -> Structure:
    assert structure is not None  # noqa: S101 - decode realises every crystal
    return structure


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
