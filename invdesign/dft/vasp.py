"""VASP inputs: pymatgen's Materials Project sets, without POTCARs.

``MPRelaxSet`` and ``MPStaticSet`` (PBE, with the Materials Project's +U on Co, Cr, Fe, Mn, Mo, Ni, V and W
in oxides and fluorides, ferromagnetic start), so that energies may meet the MP2020-corrected hull. Two
things are ours: the grid (:mod:`invdesign.dft.grid`), and Gaussian smearing of 0.05 eV in relaxations,
where the sets' tetrahedron method gives metals wrong forces and a predicted gap may be wrong.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from invdesign.dft.grid import k_grid

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.dft.grid import Task

RELAX_SMEARING = {"ISMEAR": 0, "SIGMA": 0.05}
# the sets' own remarks on what is settled here, and pymatgen's unclosed files
_SETTLED = ("ISMEAR", "unclosed file", "OLD_ERROR_HANDLING")


def write_vasp(structure: Structure, folder: Path, task: Task) -> dict[str, Any]:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec.

    Args:
        structure: primitive cell.
        folder: made if not there.
        task: ``relax`` (cell and positions) or ``static``.

    Returns:
        What belongs in the manifest: ``kpoints``, ``hubbard_u`` (eV by element), ``magmom`` (μB by
        element), ``potcar`` (symbols), ``notes`` (pymatgen's warnings).
    """
    from pymatgen.io.vasp import Kpoints
    from pymatgen.io.vasp.sets import MPRelaxSet, MPStaticSet

    grid = k_grid(structure, task)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make, incar_changes = (MPRelaxSet, RELAX_SMEARING) if task == "relax" else (MPStaticSet, {})
        inputs = make(
            structure,
            user_kpoints_settings=Kpoints.gamma_automatic(grid),  # type: ignore[arg-type]
            user_incar_settings=dict(incar_changes),
        )
        incar, poscar, potcar = inputs.incar, inputs.poscar, inputs.potcar_symbols
        inputs.write_input(str(folder), potcar_spec=True)
    notes = dict.fromkeys(str(warning.message) for warning in caught)
    values = incar.get("LDAUU", [])
    moments = zip(poscar.structure, incar["MAGMOM"], strict=True)
    return {
        "kpoints": list(grid),
        "hubbard_u": {el: float(u) for el, u in zip(poscar.site_symbols, values, strict=bool(values)) if u},
        "magmom": {site.specie.symbol: float(moment) for site, moment in moments},
        "potcar": list(potcar),
        "notes": [" ".join(note.split()) for note in notes if not any(word in note for word in _SETTLED)],
    }


def settings() -> dict[str, Any]:
    """What all folders have in common."""
    from pymatgen.io.vasp.sets import MPRelaxSet

    return {
        "functional": "PBE; +U where hubbard_u says so",
        "input_sets": "pymatgen MPRelaxSet / MPStaticSet (Materials Project, GGA and GGA+U)",
        "potcar_release": MPRelaxSet.CONFIG["POTCAR_FUNCTIONAL"],
        "potcar_note": (
            "POTCAR.spec names symbols only: take them from this release (pymatgen's name for it; PBE is the "
            "first potpaw_PBE set), or energies will not be comparable with the Materials Project's."
        ),
        "energy_scale": "Materials Project after MaterialsProject2020Compatibility",
    }
