"""Finished, failed and interrupted VASP runs, from ``vasprun.xml``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.dft.codes.band_gap import gap_by_occupation
from invdesign.dft.codes.interface import ODD_GRID, ParsedOutput
from invdesign.dft.codes.reading import described, guarded, read_part, text_of
from invdesign.dft.codes.vasp.write import STATIC
from invdesign.errors import InputError
from invdesign.io.units import KBAR
from invdesign.io.xml import chunks
from invdesign.stability.hull.vasp import run_of
from invdesign.stability.hull.vasprun import Run, read_vasprun

if TYPE_CHECKING:
    from pymatgen.core import Structure

_ENDED = "Voluntary context switches"  # the last lines of an OUTCAR
_STEP = b"</calculation>"


def vasprun_of(folder: Path) -> Path | None:
    """Find the ``vasprun.xml`` or ``vasprun.xml.gz`` of a folder."""
    names = ("vasprun.xml", "vasprun.xml.gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


@guarded
def read_vasp(folder: Path) -> ParsedOutput:
    """Read ``vasprun.xml`` or ``vasprun.xml.gz`` of a folder; energy and gap of a static run after it."""
    relaxed = _read(folder)
    if relaxed.status != "done" or vasprun_of(folder / STATIC) is None:
        return relaxed
    static = guarded(_read)(folder / STATIC)
    if static.status != "done" or not _same_cell(relaxed.structure, static.first):
        why = static.reason or "it is of another cell than the relaxed one"
        note = f"{STATIC}/ is not used ({why}): energy and gap are the relaxation's"
        return replace(relaxed, notes=(*relaxed.notes, note))
    return replace(
        static,
        first=relaxed.first,
        max_force=relaxed.max_force,
        forces=relaxed.forces,
        pressure=relaxed.pressure,
        notes=(*static.notes, f"energy and gap of {STATIC}/"),
    )


def _same_cell(one: Structure | None, other: Structure | None) -> bool:
    """Whether two structures are the same up to the digits of a POSCAR."""
    return (
        one is not None
        and other is not None
        and one.species == other.species
        and bool(np.allclose(one.lattice.matrix, other.lattice.matrix, atol=1e-3))
    )


def _read(folder: Path) -> ParsedOutput:
    path = vasprun_of(folder)
    if path is None:
        return ParsedOutput("not run", "no vasprun.xml")
    try:
        run = read_vasprun(path)
    except (InputError, PermissionError):
        raise
    except Exception as error:  # noqa: BLE001 - of expat, zlib, pymatgen; the file as such may say more
        reason = f"{path.name} lacks results or is damaged ({described(error)})"
        return _broken(path) or ParsedOutput("failed", reason)
    return _of_run(run, path)


def _broken(path: Path) -> ParsedOutput | None:
    """Return what is wrong with the file as such: not VASP's, or it breaks off."""
    head, tail, steps = b"", b"", 0
    try:
        for chunk in chunks(path):
            head = head or chunk[:1000]
            seam = tail[-len(_STEP) + 1 :] + chunk
            steps, tail = steps + seam.count(_STEP), seam[-1000:]
    except Exception as error:  # noqa: BLE001 - of zlib and gzip
        return ParsedOutput("truncated", f"{path.name} breaks off ({described(error)}); copy it again")
    if b"<modeling>" not in head:
        return ParsedOutput("unrelated", f"{path.name} is no output of VASP")
    if tail.rstrip().endswith(b"</modeling>"):
        return None
    outcar = path.with_name("OUTCAR")
    if outcar.is_file() and _ENDED in text_of(outcar)[-5000:]:
        return ParsedOutput(
            "truncated", f"{path.name} breaks off, though OUTCAR says that VASP ended; copy it again"
        )
    return ParsedOutput("unfinished", f"{path.name} breaks off after {steps} ionic steps: running or killed")


def _of_run(run: Run, path: Path) -> ParsedOutput:
    notes: list[str] = []
    energy = None
    if run.is_many_body or run.is_of_fixed_density:
        notes.append("it has bands of a density or orbitals from elsewhere and no total energy of DFT")
    else:
        energy = read_part("energy", notes, run.energy)
    forces = read_part("forces", notes, lambda: run.array("forces"))
    stress = read_part("stress", notes, lambda: run.array("stress"))
    edges = read_part("band gap", notes, lambda: _gap(run)) or {"band_gap": None, "direct": None}
    grid = read_part("k-point grid", notes, run.grid) or []
    if any(n % 2 for n in grid):
        notes.append(ODD_GRID.format(grid))
    cutoff = run.tags.number("ENMAX") or run.tags.number("ENCUT")
    return ParsedOutput(
        "not converged" if run.unconverged else "done",
        " and ".join(run.unconverged) or None,
        first=run.initial,
        structure=run.final,
        energy=energy,
        **edges,
        max_force=None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        forces=forces,
        pressure=None if stress is None else float(np.trace(stress)) / 3 * KBAR,
        functional=run.functional,
        hubbard_u=run.hubbards,
        settings=({"encut_ev": cutoff} if cutoff else {}) | ({"kpoints": grid} if grid else {}),
        vasp=None if energy is None else run_of(run, energy, path),
        notes=tuple(notes),
    )


def _gap(run: Run) -> dict[str, Any]:
    levels, electrons = run.levels(), run.tags.number("NELECT")
    whole = len(levels) == 2 or run.tags.is_true("LNONCOLLINEAR") or run.tags.is_true("LSORBIT")
    filled = None if electrons is None else electrons if whole else electrons / 2
    return gap_by_occupation(levels[..., 0], levels[..., 1], filled, run.weights())
