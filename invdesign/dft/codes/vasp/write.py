"""VASP inputs: pymatgen's sets, without POTCARs.

``mp``: ``MPRelaxSet`` and ``MPStaticSet`` (PBE, with the Materials Project's +U), so that energies may meet
the MP2020-corrected hull. ``matpes``: ``MatPESStaticSet`` (PBE, never +U, PBE_64 POTCARs, 680 eV), to
compare with MatPES potentials, not with the hull. Changed in both: the grid
(:mod:`invdesign.dft.codes.kpoints`), and the moments to start from (:mod:`invdesign.dft.codes.magmoms`).
For ``mp`` also Gaussian smearing of 0.05 eV wherever forces count: the sets' tetrahedron method gives
metals wrong ones, and a predicted gap may be wrong.

A relaxation has the inputs of the static run that follows it in ``static/``. POTCARs such as ``Pr_3`` keep
the f shell in the core: they hold one oxidation state and no moment.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from invdesign.dft.codes.hubbard import FUNCTIONAL
from invdesign.dft.codes.kpoints import Task, k_grid, spaced_grid
from invdesign.dft.codes.magmoms import ionic_moments, oxidation_states

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

InputSet = Literal["mp", "matpes"]
SMEARING = {"ISMEAR": 0, "SIGMA": 0.05}
MOVING = {"IBRION": 2, "ISIF": 3, "NSW": 99, "EDIFFG": -0.02}  # as pymatgen's newer MatPESRelaxSet
STATIC = "static"  # folder of the run after a relaxation
TIGHT = {"EDIFF": 1e-7}  # eV: forces of displaced atoms are small
NO_MOMENT = 0.6  # μB, what the sets start elements with that they have no moment for
# the sets' own remarks on what is settled here, and pymatgen's unclosed files
_SETTLED = ("ISMEAR", "unclosed file", "OLD_ERROR_HANDLING")


def write_vasp(structure: Structure, folder: Path, task: Task, input_set: InputSet = "mp") -> dict[str, Any]:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec.

    Args:
        structure: the cell.
        folder: made if not there.
        task: ``relax`` (cell and positions), ``static``, or ``phonon-check`` (forces on a displaced cell).
        input_set: ``mp`` or ``matpes``.

    Returns:
        What belongs in the manifest: ``kpoints``, ``encut_ev``, ``hubbard_u`` (eV by element), ``magmom``
        (μB by element), ``potcar`` (symbols), ``notes`` (pymatgen's warnings).
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inputs = make_set(structure, task, input_set)
        incar, poscar, potcar = inputs.incar, inputs.poscar, inputs.potcar_symbols
        inputs.write_input(str(folder), potcar_spec=True)
        if task == "relax":
            _write_static(structure, folder / STATIC, input_set)
    grid = inputs.kpoints.kpts[0] if inputs.kpoints else ()  # always there: make_set gives one
    notes = dict.fromkeys(str(warning.message) for warning in caught)
    values = incar.get("LDAUU", [])
    moments = zip(poscar.structure, incar["MAGMOM"], strict=True)
    return {
        "kpoints": list(grid),
        "encut_ev": float(incar["ENCUT"]),
        "hubbard_u": {el: float(u) for el, u in zip(poscar.site_symbols, values, strict=bool(values)) if u},
        "magmom": {site.specie.symbol: float(moment) for site, moment in moments},
        "potcar": list(potcar),
        "notes": [
            *(" ".join(note.split()) for note in notes if not any(word in note for word in _SETTLED)),
            *_contradictions(structure, potcar),
        ],
    }


def _write_static(structure: Structure, folder: Path, input_set: InputSet) -> None:
    """Write INCAR and KPOINTS of the static run; its POSCAR will be the relaxation's CONTCAR."""
    inputs = make_set(structure, "static", input_set)
    folder.mkdir()
    inputs.incar.write_file(str(folder / "INCAR"))
    inputs.kpoints.write_file(str(folder / "KPOINTS"))  # type: ignore[union-attr]


def frozen_state(potcar: str) -> int | None:
    """Return the oxidation state that a POTCAR with its f shell in the core holds: 3 of ``Pr_3``."""
    digits = potcar.partition("_")[2]
    return int(digits) if digits.isdigit() else None


def _contradictions(structure: Structure, potcars: Iterable[str]) -> list[str]:
    """Name the POTCARs whose core holds another oxidation state than the likeliest."""
    notes = []
    for potcar in potcars:
        symbol, held = potcar.partition("_")[0], frozen_state(potcar)
        likely = sorted({state for state, _ in oxidation_states(structure).get(symbol, ())})
        if held is not None and likely and likely != [held]:
            told = " and ".join(f"{symbol}{state}+" for state in likely)
            notes.append(
                f"POTCAR {potcar} keeps the f shell of {symbol}{held}+ in the core, but the likeliest states "
                f"are {told}: the gap and the energy are doubtful; use one with f electrons ({symbol})."
            )
    return notes


def make_set(structure: Structure, task: Task, input_set: InputSet) -> VaspInputSet:
    """Return pymatgen's input set with the changes of this module."""
    from pymatgen.io.vasp import Kpoints
    from pymatgen.io.vasp.sets import MatPESStaticSet, MPRelaxSet, MPStaticSet

    make: type[VaspInputSet]
    incar: dict[str, Any]
    if input_set == "matpes":
        make, incar = MatPESStaticSet, dict(MOVING) if task == "relax" else {}
        grid = spaced_grid(structure, MatPESStaticSet.CONFIG["INCAR"]["KSPACING"])
    else:
        make = MPRelaxSet if task == "relax" else MPStaticSet
        incar = {} if task == "static" else dict(SMEARING)
        grid = k_grid(structure, task)
    if task == "phonon-check":
        incar |= TIGHT
    if oxidation_states(structure):
        moments = ionic_moments(structure)
        potcars = make.CONFIG["POTCAR"]
        cores = {symbol: frozen_state(potcars.get(symbol, "")) for symbol in structure.symbol_set}
        incar["MAGMOM"] = {
            symbol: moments.get(symbol, NO_MOMENT) if cores[symbol] is None else 0.0
            for symbol in structure.symbol_set
        }
    return make(
        structure,
        user_kpoints_settings=Kpoints.gamma_automatic(grid),  # type: ignore[arg-type]
        user_incar_settings=incar,
    )


def settings(input_set: InputSet) -> dict[str, Any]:
    """Return the settings common to all folders."""
    from pymatgen.io.vasp.sets import MPRelaxSet

    if input_set == "matpes":
        what = {
            "functional": "PBE, no +U",
            "input_sets": "pymatgen MatPESStaticSet (to relax: IBRION 2, ISIF 3, EDIFFG -0.02)",
            "energy_scale": "MatPES PBE, for its potentials: never the Materials Project's hull",
        }
        release = "PBE_64"
    else:
        what = {
            "functional": FUNCTIONAL,
            "input_sets": "pymatgen MPRelaxSet / MPStaticSet (Materials Project, GGA and GGA+U)",
            "energy_scale": "Materials Project after MaterialsProject2020Compatibility",
        }
        release = MPRelaxSet.CONFIG["POTCAR_FUNCTIONAL"]
    note = (
        "POTCAR.spec names symbols only: take them from this release (pymatgen's name for it; PBE is the "
        "first potpaw_PBE set, PBE_64 is potpaw_PBE.64), or energies will not be comparable."
    )
    return {"input_set": input_set, **what, "potcar_release": release, "potcar_note": note}
