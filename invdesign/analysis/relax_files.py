"""Relax crystals with a universal potential, on all cores."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.inputs import Sample, read_samples
from invdesign.campaign.validate import check_least
from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.structure_files import RELAXED, write_cif
from invdesign.io.progress import Progress, no_progress
from invdesign.io.provenance import write_run_json
from invdesign.io.tables import Results, write_csv
from invdesign.io.units import EV_PER_A3
from invdesign.potentials.registry import load_potential
from invdesign.relaxation.parallel import CHUNK, relax_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.relaxation.relax import Relaxed


@dataclass(frozen=True, slots=True)
class RelaxedCrystal:
    """How the relaxation of one crystal ended.

    Attributes:
        label: name of the input.
        formula: reduced.
        n_atoms: atoms in the cell.
        energy_ev: energy of the cell, eV.
        energy_ev_per_atom: eV/atom.
        enthalpy_ev_per_atom: energy + pressure · volume, eV/atom.
        fmax: largest remaining force, eV/Å.
        n_steps: steps taken.
        volume: of the cell, Å³.
        converged: whether ``fmax`` is below the limit.
        symmetry_kept: with ``keep_symmetry``, whether the crystal keeps its symmetry without constraint.
        reason: how it ended, or why there is no result.
        cif_file: name of its CIF in the output folder; empty without one.
        structure: relaxed; None where the input cannot be read.
    """

    label: str
    formula: str | None = None
    n_atoms: int | None = None
    energy_ev: float | None = None
    energy_ev_per_atom: float | None = None
    enthalpy_ev_per_atom: float | None = None
    fmax: float | None = None
    n_steps: int | None = None
    volume: float | None = None
    converged: bool = False
    symmetry_kept: bool | None = None
    reason: str = ""
    cif_file: str | None = None
    structure: Structure | None = None

    def row(self) -> dict[str, Any]:
        """Return everything but the structure."""
        names = (field.name for field in fields(self) if field.name != "structure")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        """Return label, formula, energy and outcome."""
        energy = "" if self.energy_ev_per_atom is None else f"{self.energy_ev_per_atom:.4f} eV/atom, "
        return f"<relaxed {self.label}: {self.formula or 'no crystal'}, {energy}{self.reason}>"


def relax(
    structures: Any,  # noqa: ANN401 - one or several paths or pymatgen structures
    *,
    out: str | Path | None = None,
    potential: str = "chgnet",
    fmax: float = 0.05,
    max_steps: int = 500,
    relax_cell: bool = True,
    keep_symmetry: bool = False,
    pressure: float = 0.0,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Results[RelaxedCrystal]:
    """Relax cells and positions of crystals with a universal potential.

    >>> relaxed = relax([structure])  # doctest: +SKIP
    >>> relaxed[0].structure.volume, relaxed[0].energy_ev_per_atom  # doctest: +SKIP

    Args:
        structures: pymatgen structures, or files, folders and tables of them; one or a list.
        out: folder for ``relaxed.csv`` (which grows as it goes), a CIF per crystal and ``run.json``.
        potential: ``chgnet``, a matgl folder, ``OWNER/NAME`` on the hub, or ``ase:MODULE:CALLABLE``.
        fmax: largest force at convergence, eV/Å.
        max_steps: most steps of one relaxation.
        relax_cell: False keeps the cells.
        keep_symmetry: relax within each crystal's symmetry first, then without constraint.
        pressure: hydrostatic pressure, GPa.
        workers: processes; default: one per core.
        progress: receives the share done and a message.

    Returns:
        One :class:`RelaxedCrystal` per input, in order. An input that cannot be read among others that can
        is a row with the reason.

    Raises:
        InputError: nothing can be read, the potential cannot be loaded, or an option makes no sense.
    """
    check_least(1, workers=workers)
    out = None if out is None else Path(out)
    samples = read_samples(structures)
    readable = {i: sample.structure for i, sample in enumerate(samples) if sample.structure is not None}
    loaded = load_potential(potential)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    rows = [_pending(sample) for sample in samples]
    options = {"fmax": fmax, "max_steps": max_steps, "relax_cell": relax_cell}
    options |= {"keep_symmetry": keep_symmetry, "pressure_gpa": pressure}
    done = relax_structures(list(readable.values()), potential, workers=workers, **options)
    numbers = list(readable)
    for count, (place, relaxed) in enumerate(done, start=1):
        number = numbers[place]
        label = samples[number].label
        name = None
        if out is not None:
            name = f"{number + 1:04d}_{re.sub(r'[^A-Za-z0-9.+-]+', '-', label)[:80]}.cif"
            write_cif(relaxed.structure, out / name, symmetrised=False)
        rows[number] = _row(label, relaxed, name, pressure)
        progress(count / len(readable), f"{count} of {len(readable)} structures")
        if out is not None and (count % CHUNK == 0 or count == len(readable)):
            write_csv(out / RELAXED, [row.row() for row in rows])
    converged = sum(row.converged for row in rows)
    if out is not None:
        settings = {"potential": loaded.name, "weights": loaded.digest, **options}
        write_run_json(out, {"relax": settings, "structures": len(rows), "converged": converged})
    return Results(rows, summary=f"relax: {len(rows)} structures, {converged} converged")


def _pending(sample: Sample) -> RelaxedCrystal:
    return RelaxedCrystal(sample.label, reason=sample.fault or "not relaxed yet")


def _row(label: str, relaxed: Relaxed, name: str | None, pressure: float) -> RelaxedCrystal:
    structure, n = relaxed.structure, len(relaxed.structure)
    evaluated = isfinite(relaxed.energy)
    enthalpy = relaxed.energy + pressure / EV_PER_A3 * structure.volume
    return RelaxedCrystal(
        label=label,
        formula=formula_of(structure.composition),
        n_atoms=n,
        energy_ev=round(relaxed.energy, 6) if evaluated else None,
        energy_ev_per_atom=round(relaxed.energy / n, 6) if evaluated else None,
        enthalpy_ev_per_atom=round(enthalpy / n, 6) if evaluated else None,
        fmax=round(relaxed.fmax, 5) if isfinite(relaxed.fmax) else None,
        n_steps=relaxed.n_steps,
        volume=round(structure.volume, 4),
        converged=bool(relaxed.converged),
        symmetry_kept=relaxed.symmetry_kept,
        reason=relaxed.reason,
        cif_file=name,
        structure=structure,
    )
