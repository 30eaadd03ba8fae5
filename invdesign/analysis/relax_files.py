"""Files of structures in, relaxed structures and a table of how each ended out, on all cores."""

from __future__ import annotations

import csv
import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from invdesign.analysis.evaluate.samples import Sample, read_samples
from invdesign.crystal.cif import write_cif
from invdesign.crystal.structure_files import RELAXED
from invdesign.io.atomic import atomic_write
from invdesign.io.provenance import write_run_json
from invdesign.io.units import EV_PER_A3
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.parallel import CHUNK, relax_structures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from invdesign.relaxation.relax import Relaxed

COLUMNS = (
    "label",
    "formula",
    "n_atoms",
    "energy_ev",
    "energy_ev_per_atom",
    "enthalpy_ev_per_atom",
    "fmax",
    "n_steps",
    "volume",
    "converged",
    "symmetry_kept",
    "reason",
    "cif_file",
)


def relax_files(
    files: Sequence[Path],
    out: Path,
    potential: str = "chgnet",
    *,
    fmax: float = 0.05,
    max_steps: int = 500,
    relax_cell: bool = True,
    keep_symmetry: bool = False,
    pressure_gpa: float = 0.0,
    workers: int | None = None,
    progress: Callable[[float, str], None],
) -> list[dict[str, Any]]:
    """Relax every structure of some files; write one CIF each, ``relaxed.csv`` as it grows, and ``run.json``.

    Args:
        files: anything that :func:`invdesign.crystal.structure_files.read_structures` reads.
        out: folder, made if need be.
        potential: ``chgnet``, a matgl folder, a hub name, or ``ase:MODULE:CALLABLE``.
        fmax: largest force at convergence, eV/Å.
        max_steps: of one relaxation.
        relax_cell: False keeps the cells.
        keep_symmetry: relax within each crystal's symmetry first, then see whether it stays.
        pressure_gpa: hydrostatic pressure, GPa.
        workers: processes; default one per core.
        progress: is told the share that is done and a word on it.

    Returns:
        One row per structure, in order: label, formula, energies in eV and eV/atom, ``fmax`` in eV/Å,
        steps, volume in Å³, whether it converged and why not, its CIF.

    Raises:
        InputError: nothing can be read, the potential cannot be loaded, or a figure makes no sense. A file
            or row that cannot be read among others that can is a row with the reason.
    """
    samples = read_samples(files)
    structures = {i: sample.structure for i, sample in enumerate(samples) if sample.structure is not None}
    out.mkdir(parents=True, exist_ok=True)
    rows = [_unread(sample) for sample in samples]
    done = relax_structures(
        list(structures.values()),
        potential,
        workers=workers,
        fmax=fmax,
        max_steps=max_steps,
        relax_cell=relax_cell,
        keep_symmetry=keep_symmetry,
        pressure_gpa=pressure_gpa,
    )
    numbers = list(structures)
    for count, (place, relaxed) in enumerate(done, start=1):
        number = numbers[place]
        label = samples[number].label
        name = f"{number + 1:04d}_{re.sub(r'[^A-Za-z0-9.+-]+', '-', label)[:80]}.cif"
        write_cif(relaxed.structure, out / name, symmetrised=False)
        rows[number] = _row(label, relaxed, name, pressure_gpa)
        progress(count / len(structures), f"{count} of {len(structures)} structures")
        if count % CHUNK == 0 or count == len(structures):
            _write(rows, out)
    settings = {
        "potential": load_potential(potential).name,
        "fmax": fmax,
        "max_steps": max_steps,
        "relax_cell": relax_cell,
        "keep_symmetry": keep_symmetry,
        "pressure_gpa": pressure_gpa,
    }
    converged = sum(bool(row["converged"]) for row in rows)
    write_run_json(out, {"relax": settings, "structures": len(rows), "converged": converged})
    return rows


def _write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    with atomic_write(out / RELAXED) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _unread(sample: Sample) -> dict[str, Any]:
    """The row of what could not be read, or is not relaxed yet."""
    reason = sample.fault or "not relaxed yet"
    return dict.fromkeys(COLUMNS) | {"label": sample.label, "converged": False, "reason": reason}


def _row(label: str, relaxed: Relaxed, name: str, pressure_gpa: float) -> dict[str, Any]:
    structure, n = relaxed.structure, len(relaxed.structure)
    evaluated = isfinite(relaxed.energy)
    enthalpy = relaxed.energy + pressure_gpa / EV_PER_A3 * structure.volume
    return {
        "label": label,
        "formula": structure.composition.reduced_formula,
        "n_atoms": n,
        "energy_ev": round(relaxed.energy, 6) if evaluated else None,
        "energy_ev_per_atom": round(relaxed.energy / n, 6) if evaluated else None,
        "enthalpy_ev_per_atom": round(enthalpy / n, 6) if evaluated else None,
        "fmax": round(relaxed.fmax, 5) if isfinite(relaxed.fmax) else None,
        "n_steps": relaxed.n_steps,
        "volume": round(structure.volume, 4),
        "converged": relaxed.converged,
        "symmetry_kept": relaxed.symmetry_kept,
        "reason": relaxed.reason,
        "cif_file": name,
    }
