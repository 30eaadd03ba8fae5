"""Phases from a folder of VASP runs, on the Materials Project's scale where the runs allow it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.errors import InputError
from invdesign.stability.hull.phases import MP2020, Phase, Phases, formation_energies, single_scale
from invdesign.stability.hull.vasprun import Run, read_vasprun

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True)
class VaspRun:
    """What the Materials Project's corrections go by.

    Attributes:
        where: its file.
        entry: pymatgen's ``ComputedStructureEntry``.
        functional: that the energies are of, without +U.
        hubbards: eV by element, those with U alone.
    """

    where: str
    entry: Any  # pymatgen's ComputedStructureEntry
    functional: str
    hubbards: dict[str, float]


def runs_in(folder: Path) -> list[Path]:
    """List the ``vasprun.xml`` and ``vasprun.xml.gz`` of a folder and those in it."""
    return sorted(file for file in folder.rglob("vasprun.xml*") if file.name.endswith((".xml", ".xml.gz")))


def read_runs(files: Sequence[Path], where: str) -> Phases:
    """Phases of VASP runs.

    PBE and PBE+U runs that the Materials Project could have made (its POTCARs, its U in oxides and
    fluorides) get its MP2020 corrections, by which runs with and without U may meet. All others keep their
    energies and must agree in functional and U. Formation energies are relative to the runs of the elements.

    Raises:
        InputError: a run cannot be read or did not converge, functionals or U are mixed, or an element
            has no run.
    """
    runs = [_read(file) for file in files]
    functional = single_scale(((run.functional, run.where) for run in runs), where)
    corrected = _corrected(runs) if functional == "PBE" else None
    if corrected is None:
        _check_hubbards(runs, where)
        plus = "+U" if any(run.hubbards for run in runs) else ""
        scale = f"{functional}{plus} without corrections"
        energies = [run.entry.energy_per_atom for run in runs]
    else:
        scale, energies = MP2020, corrected
    phases = [
        Phase(
            run.entry.reduced_formula,
            {ATOMIC_NUMBER[element.symbol]: float(n) for element, n in run.entry.composition.items()},
            float(energy),
            run.where,
        )
        for run, energy in zip(runs, energies, strict=True)
    ]
    return Phases(formation_energies(phases, where), scale, where)


def corrected_energy(run: VaspRun) -> tuple[float, dict[str, float]]:
    """Energy of one run with the Materials Project's MP2020 corrections.

    Returns:
        eV/atom, and the corrections in it by name (eV/atom).

    Raises:
        InputError: it is not as the Materials Project's: another functional, other POTCARs or another U.
    """
    if run.functional != "PBE":
        raise InputError(
            f"hull: {run.where} is {run.functional}, the Materials Project's hull PBE and PBE+U."
        )
    entry = _processed(run.entry)
    if entry is None:
        raise InputError(f"hull: {run.where} has POTCARs or U that are not the Materials Project's.")
    return float(entry.energy_per_atom), _by_name(entry)


def corrections(structure: Structure) -> dict[str, float] | None:
    """MP2020's corrections of a crystal computed with PBE, without U, by any code.

    They correct errors of PBE for anions, not of VASP.

    Returns:
        By name, eV/atom; None where the Materials Project would compute the crystal with +U.
    """
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    parameters = {"run_type": "GGA", "software": "another", "hubbards": {}}  # another: no POTCARs to check
    entry = _processed(ComputedStructureEntry(structure, 0.0, parameters=parameters))
    return None if entry is None else _by_name(entry)


def _by_name(entry: Any) -> dict[str, float]:  # noqa: ANN401 - pymatgen's
    n_atoms = entry.composition.num_atoms
    return {part.name: float(part.value) / n_atoms for part in entry.energy_adjustments}


def _read(file: Path) -> VaspRun:
    try:
        run = read_vasprun(file)
        described = run_of(run, run.energy(), file)
    except InputError:
        raise
    except Exception as error:  # whatever pymatgen, expat or zlib raise on a damaged file
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"hull: {file} is not a whole VASP run ({reason}); give finished runs.") from error
    if run.unconverged:
        raise InputError(f"hull: {file} did not converge; finish the run or take it out of the folder.")
    if run.is_many_body or run.is_of_fixed_density:
        raise InputError(f"hull: {file} has no total energy of DFT; take it out of the folder.")
    return described


def run_of(run: Run, energy: float, file: Path) -> VaspRun:
    """Describe a run as the Materials Project's corrections need it.

    Args:
        run: read from ``file``.
        energy: of the cell, eV.
        file: for messages.
    """
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    kind = run.functional
    if kind == "PBE":  # under the name that the correction scheme knows
        kind = "GGA+U" if run.hubbards else "GGA"
    parameters = {
        "run_type": kind,
        "is_hubbard": bool(run.hubbards),
        "hubbards": run.hubbards,
        "potcar_symbols": list(run.potcars),
        "potcar_spec": [{"titel": title, "hash": None, "summary_stats": {}} for title in run.potcars],
    }
    entry = ComputedStructureEntry(run.final, energy, parameters=parameters, entry_id=str(file))
    return VaspRun(str(file), entry, run.functional, run.hubbards)


def _corrected(runs: Sequence[VaspRun]) -> list[float] | None:
    """MP2020-corrected energies, eV/atom; None where a run is not as the Materials Project's."""
    entries = [_processed(run.entry) for run in runs]
    energies = [float(entry.energy_per_atom) for entry in entries if entry is not None]
    return energies if len(energies) == len(runs) else None


def _processed(entry: Any) -> Any:  # noqa: ANN401 - pymatgen's
    """Return a copy of an entry with its MP2020 corrections; None where the scheme does not take it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _scheme().process_entry(entry.copy(), on_error="ignore")


@cache
def _scheme() -> Any:  # noqa: ANN401 - pymatgen's
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility()


def _check_hubbards(runs: Sequence[VaspRun], where: str) -> None:
    seen: dict[str, tuple[float, str]] = {}
    for run in runs:
        for element in run.entry.composition:
            u = run.hubbards.get(element.symbol, 0.0)
            before, there = seen.setdefault(element.symbol, (u, run.where))
            if abs(u - before) > 1e-6:
                raise InputError(
                    f"hull: {where} mixes U = {before:g} eV on {element.symbol} ({there}) and {u:g} eV "
                    f"({run.where}); give one U throughout, or runs that follow the Materials Project's "
                    "settings, whose corrections bring them together."
                )
