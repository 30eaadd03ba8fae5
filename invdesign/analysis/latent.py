"""Crystals in the latent space of ``crystal-vae``: interpolated, reconstructed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.analysis.inputs import Sample, listed, read_samples, sampled, samples_of
from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.structure_files import file_formula, write_cif
from invdesign.errors import InputError
from invdesign.io.progress import Progress, no_progress
from invdesign.io.tables import Results, write_csv

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.generators.crystal_vae.pipeline import CrystalVAE


def interpolate(
    a: str | Path | Structure,
    b: str | Path | Structure,
    n: int = 8,
    *,
    out: str | Path | None = None,
    generator: str = "crystal-vae",
) -> Results[dict[str, Any]]:
    """Return ``n`` crystals on the line from one crystal to another in the latent space, ends included.

    >>> [row["structure"] for row in interpolate(rutile, anatase, n=8)]  # doctest: +SKIP

    Args:
        a: the crystal to start from: a pymatgen structure, or a file of one crystal.
        b: the crystal to end at.
        n: number of crystals, at least 2.
        out: new or empty folder for a CIF per crystal and ``interpolation.csv``.
        generator: ``crystal-vae``, or the folder of its training.

    Returns:
        A dictionary per crystal: step, share of ``b``, formula, space group, gene, volume in Å³ per atom, the
        properties that the model expects, ``cif`` (file name) and ``structure``.

    Raises:
        InputError: a file cannot be read or holds several crystals, one cannot be encoded, or ``out`` holds
            files.
    """
    if n < 2:
        raise InputError(f"n: {n} crystals do not connect two; give 2 or more.")
    out = None if out is None else Path(out)
    if out is not None and out.is_dir() and (other := sorted(path.name for path in out.iterdir())):
        raise InputError(f"out: {str(out)!r} holds other files ({other[0]}); give a new or empty folder.")
    vae = _load(generator)
    start, end = (_only(crystal) for crystal in (a, b))
    found = vae.interpolate(start, end, n)
    first, last = vae.encode([start, end])
    shares = np.linspace(0.0, 1.0, n)
    expected = vae.properties(np.outer(1 - shares, first) + np.outer(shares, last))
    rows: list[dict[str, Any]] = []
    for i, (share, candidate) in enumerate(zip(shares, found, strict=True)):
        gene, structure = candidate.gene, _structure(candidate.structure)
        row: dict[str, Any] = {
            "step": i,
            "share": round(float(share), 4),
            "formula": gene.formula,
            "space_group": gene.space_group,
            "gene": str(gene),
            "volume_per_atom": round(structure.volume / len(structure), 3),
            **{f"{key}_expected": round(float(values[i]), 3) for key, values in expected.items()},
            "cif": f"{i:02d}_{file_formula(gene.formula)}.cif",
            "structure": structure,
        }
        rows.append(row)
    results = Results(rows, row=_without_structure, summary=f"interpolation: {n} crystals")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for row in rows:
            write_cif(row["structure"], out / row["cif"], symmetrised=False)
        write_csv(out / "interpolation.csv", results.rows())
    return results


def _without_structure(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "structure"}


def reconstruct(
    structures: Any,  # noqa: ANN401 - one or several paths or pymatgen structures
    *,
    limit: int | None = None,
    seed: int = 0,
    generator: str = "crystal-vae",
    progress: Progress = no_progress,
) -> Results[dict[str, Any]]:
    """Encode crystals, decode them, and compare.

    >>> reconstruct([structure])[0]["structure_back"]  # doctest: +SKIP

    Args:
        structures: pymatgen structures, or files, folders and tables of them; one or a list.
        limit: take only so many, drawn at random.
        seed: of that draw.
        generator: ``crystal-vae``, or the folder of its training.
        progress: receives the share done and a message.

    Returns:
        A dictionary per crystal: label, formula, gene, whether the same gene and the same structure came back
        (``StructureMatcher`` at 0.3 / 0.5 / 10°), or the reason why it could not be encoded.

    Raises:
        InputError: a file cannot be read, or nothing can be encoded.
    """
    from invdesign.data.tokens import tokens_of
    from invdesign.generators.crystal_vae.pipeline import crystal_of

    vae = _load(generator)
    progress(0.0, "reading and encoding")
    crystals, refused = [], []
    for sample in sampled(read_samples(structures), limit, seed):
        if sample.structure is None:
            refused.append(_refused(sample, sample.fault))
            continue
        try:
            crystals.append((sample, *crystal_of(sample.structure)))
        except InputError as error:
            refused.append(_refused(sample, str(error)))
    if not crystals:
        raise InputError(refused[0]["reason"])
    tokens = tokens_of([(sample.label, i, gene, cell) for i, (sample, gene, cell) in enumerate(crystals)])
    decoded = vae.decode(vae.encode_tokens(tokens))
    rows: list[dict[str, Any]] = []
    for i, ((sample, gene, _), candidate) in enumerate(zip(crystals, decoded, strict=True)):
        matches = same_structure(_structure(sample.structure), _structure(candidate.structure))
        genes = {"gene": str(gene), "gene_decoded": str(candidate.gene), "gene_back": candidate.gene == gene}
        rows.append(
            {"label": sample.label, "formula": gene.formula, **genes, "structure_back": matches, "reason": ""}
        )
        progress((i + 1) / len(decoded), f"{i + 1} of {len(decoded)} compared")
    back = sum(row["structure_back"] for row in rows)
    rows += refused
    return Results(rows, summary=f"reconstruction: {back} of {len(rows)} crystals come back")


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


def _refused(sample: Sample, reason: str) -> dict[str, Any]:
    formula = "" if sample.structure is None else formula_of(sample.structure.composition)
    row = {"label": sample.label, "formula": formula, "gene": "", "gene_decoded": ""}
    return row | {"gene_back": False, "structure_back": False, "reason": reason}


def _only(given: str | Path | Structure) -> Structure:
    """Return the crystal of a file that holds one."""
    (entry,) = listed(given)
    samples = list(samples_of(entry, 1))
    if len(samples) > 1:
        raise InputError(f"{given}: it holds {len(samples)} crystals; give a file of one.")
    if samples[0].structure is None:
        raise InputError(samples[0].fault)
    return samples[0].structure


def _structure(structure: Structure | None) -> Structure:
    assert structure is not None  # noqa: S101 - every decoded and every encoded crystal has one
    return structure
