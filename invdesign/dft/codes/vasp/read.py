"""Finished, failed and interrupted VASP runs, from ``vasprun.xml``."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.crystal.cif import UNREADABLE
from invdesign.dft.codes.gpaw.job import CalculationError, gap_between
from invdesign.dft.codes.interface import ODD_GRID, ParsedOutput
from invdesign.errors import InputError
from invdesign.io.units import KBAR
from invdesign.stability.hull.vasp import run_of

HALF = 0.5  # filled: occupied
_ENDED = "Voluntary context switches"  # the last lines of an OUTCAR


def vasprun_of(folder: Path) -> Path | None:
    """Find the ``vasprun.xml`` or ``vasprun.xml.gz`` of a folder."""
    names = ("vasprun.xml", "vasprun.xml.gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_vasp(folder: Path) -> ParsedOutput:
    """Read ``vasprun.xml`` or ``vasprun.xml.gz`` of a folder."""
    from pymatgen.io.vasp import Vasprun

    path = vasprun_of(folder)
    if path is None:
        return ParsedOutput("not run", "no vasprun.xml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _of_vasp(Vasprun(path, parse_dos=False, parse_potcar_file=False), path)
        except InputError as error:
            return ParsedOutput("failed", str(error).removeprefix("hull: "))
        except (SyntaxError, EOFError, zlib.error, OSError, *UNREADABLE) as error:  # XML's are SyntaxErrors
            return _broken(path) or ParsedOutput("failed", f"{path.name} lacks results ({error!r})")


def _broken(path: Path) -> ParsedOutput | None:
    """Return what is wrong with the file as such: not VASP's, or it breaks off."""
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (EOFError, zlib.error, OSError) as error:
        return ParsedOutput("truncated", f"{path.name} breaks off ({error}); copy it again")
    if "<modeling>" not in text[:1000]:
        return ParsedOutput("unrelated", f"{path.name} is no output of VASP")
    if text.rstrip().endswith("</modeling>"):
        return None
    outcar = path.with_name("OUTCAR")
    if outcar.is_file() and _ENDED in outcar.read_text(encoding="utf-8", errors="replace")[-5000:]:
        return ParsedOutput(
            "truncated", f"{path.name} breaks off, though OUTCAR says that VASP ended; copy it again"
        )
    steps = text.count("</calculation>")
    return ParsedOutput("unfinished", f"{path.name} breaks off after {steps} ionic steps: running or killed")


def _of_vasp(run: Any, path: Path) -> ParsedOutput:  # noqa: ANN401 - pymatgen's Vasprun
    last = run.ionic_steps[-1]
    forces, stress = np.array(last.get("forces", [])), last.get("stress")
    described = run_of(run, path)
    reasons = []
    if not run.converged_electronic:
        reasons.append("the last self-consistent cycle did not converge")
    if not run.converged_ionic:
        reasons.append(f"still moving after {len(run.ionic_steps)} ionic steps")
    grid = [int(n) for n in run.kpoints.kpts[0]] if run.kpoints.num_kpts == 0 else []
    notes = [ODD_GRID.format(grid)] if any(n % 2 for n in grid) else []
    gap, direct = None, None
    try:
        edges = gap_of(run.eigenvalues)
        gap, direct = edges["band_gap"], edges["direct"]
    except CalculationError as error:
        notes.append(f"{error}: give NBANDS")
    settings: dict[str, Any] = {"encut_ev": float(run.parameters["ENMAX"])}
    return ParsedOutput(
        "not converged" if reasons else "done",
        " and ".join(reasons) or None,
        first=run.initial_structure,
        structure=run.final_structure,
        energy=float(run.final_energy),
        band_gap=gap,
        direct=direct,
        max_force=float(np.linalg.norm(forces, axis=1).max()) if forces.size else None,
        forces=forces if forces.size else None,
        pressure=float(np.trace(stress)) / 3 * KBAR if stress is not None else None,
        functional=described.functional,
        hubbard_u=described.hubbards,
        settings=settings | ({"kpoints": grid} if grid else {}),
        vasp=described,
        notes=tuple(notes),
    )


def gap_of(eigenvalues: Mapping[Any, np.ndarray]) -> dict[str, Any]:
    """Return the gap by occupation (``gap_between``).

    VASP can put the Fermi level into a band, and smearing fills levels above it a little.
    pymatgen's own takes every level that is filled at all as occupied.

    Args:
        eigenvalues: by spin, k-point x band x (eV, occupation).

    Raises:
        CalculationError: no empty band was computed.
    """
    levels = np.array(list(eigenvalues.values()))
    return gap_between(levels[..., 0], (levels[..., 1] > HALF).sum(axis=2))
