"""GPAW inputs: a script, its settings and the cell; for elements that its setups can be trusted with."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.gpaw import job as gpaw_job
from invdesign.dft.codes.hubbard import FUNCTIONAL, ORBITALS, PROJECTORS, hubbard_u
from invdesign.dft.codes.kpoints import Task, k_grid
from invdesign.dft.codes.magmoms import starting_moments

if TYPE_CHECKING:
    from pymatgen.core import Structure

# valence electrons of gpaw-data 1.2's PBE setups; elements that are not here have none
_SETUPS = """
H1 He2 Li1 Be2 B3 C4 N5 O6 F7 Ne8 Na7 Mg10 Al3 Si4 P5 S6 Cl7 Ar8 K9 Ca10 Sc11 Ti12 V13 Cr6 Mn15
Fe8 Co9 Ni16 Cu11 Zn12 Ga3 Ge4 As5 Se6 Br7 Kr8 Rb9 Sr10 Y11 Zr12 Nb13 Mo14 Ru16 Rh15 Pd16 Ag17
Cd12 In13 Sn14 Sb15 Te6 I7 Xe8 Cs9 Ba10 La11 Ce12 Pr13 Nd14 Pm15 Sm16 Eu17 Gd18 Tb19 Dy20 Ho21
Er22 Tm23 Yb24 Lu25 Hf12 Ta13 W14 Re13 Os14 Ir15 Pt16 Au11 Hg18 Tl13 Pb14 Bi15 Rn8
"""
VALENCE = {symbol: int(number) for symbol, number in re.findall(r"([A-Z][a-z]?)(\d+)", _SETUPS)}
WRONG = {"Ga": "GPAW's Ga setup freezes 3d and gives wrong lattices"}
SMEARING = 0.05  # eV
FORCES_CUTOFF = 500.0  # eV: enough where the cell does not move
FORCES = 0.01  # eV/Å, on atoms and, by ASE's Fréchet filter, on the cell
MAX_STEPS = 100


def unsupported_reason(structure: Structure) -> str | None:
    """Return why GPAW cannot compute a crystal, as a clause; None where it can."""
    symbols = sorted(structure.symbol_set)
    missing = [symbol for symbol in symbols if symbol not in VALENCE]
    if missing:
        return f"GPAW has no setup for {', '.join(missing)}; use another code"
    return next((f"{WRONG[symbol]}; use another code" for symbol in symbols if symbol in WRONG), None)


def write_gpaw(structure: Structure, folder: Path, task: Task) -> dict[str, Any]:
    """Write ``run.py``, ``input.json`` and ``structure.vasp``.

    Args:
        structure: primitive cell of elements with a setup.
        folder: made if not there.
        task: ``relax`` (cell and positions), ``static``, ``gap`` (on the grid and along the path), or
            ``phonon-check`` (forces on a displaced cell).

    Returns:
        What belongs in the manifest: ``kpoints``, ``hubbard_u`` (eV by element), ``magmoms`` (μB by
        element), ``n_electrons``, ``notes``.
    """
    from pymatgen.io.vasp import Poscar

    grid = k_grid(structure, task)
    moments = starting_moments(structure)
    values = hubbard_u(structure)
    electrons = sum(VALENCE[site.specie.symbol] for site in structure)
    occupied = math.ceil((electrons + sum(moments)) / 2)
    forces_alone = task == "phonon-check"  # empty bands are dear, and their convergence is slow
    settings = {
        "task": task,
        "cutoff_ev": _cutoff(task),
        "kpoints": list(grid),
        "smearing_ev": SMEARING,
        "magmoms": moments,
        "setups": {symbol: f":{ORBITALS.get(symbol, '3d')[-1]},{u:g}" for symbol, u in values.items()},
        "bands": math.ceil((1.1 if forces_alone else 1.2) * occupied) + 6,
        "converged_bands": occupied + 1 if forces_alone else math.ceil(1.1 * occupied) + 2,
        "fmax_ev_per_a": FORCES,
        "max_steps": MAX_STEPS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    Poscar(structure).write_file(folder / "structure.vasp", significant_figures=16)
    (folder / "run.py").write_bytes(Path(gpaw_job.__file__).read_bytes())
    symbols = [site.specie.symbol for site in structure]
    return {
        "kpoints": list(grid),
        "hubbard_u": values,
        "magmoms": dict(zip(symbols, moments, strict=True)) if moments else {},
        "n_electrons": electrons,
    }


def _cutoff(task: Task) -> float:
    """Of plane waves, eV."""
    return FORCES_CUTOFF if task == "phonon-check" else gpaw_job.RELAX_CUTOFF


def settings(task: Task) -> dict[str, Any]:
    """Return the settings common to all folders."""
    return {
        "functional": FUNCTIONAL,
        "projectors": PROJECTORS,
        "cutoff_ev": _cutoff(task),
        "smearing": f"Fermi-Dirac, {SMEARING} eV",
        "setups": "gpaw-data 1.2, PBE",
        "magnetism": "ferromagnetic start, high spin by oxidation state; no antiferromagnetic order is tried",
        "energy_scale": "its own: compare only with elements computed with GPAW at the same settings",
    }
