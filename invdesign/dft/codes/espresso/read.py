"""Finished, failed and interrupted ``pw.x`` runs, from their XML and their printed output.

The XML of an ``nscf`` run has the bands but an energy of 0 and no forces: these are then taken from the
printed output of its ``scf``. With fixed occupations ASE reads every gap as 0, so the bands are read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import numpy as np

from invdesign.crystal.cif import UNREADABLE
from invdesign.dft.codes.gpaw.job import CalculationError, band_gap
from invdesign.dft.codes.interface import ODD_GRID, ParsedOutput
from invdesign.io.units import BOHR, HARTREE, HARTREE_PER_BOHR3, KBAR, RYDBERG

if TYPE_CHECKING:
    from pymatgen.core import Structure

EDGE = 1e-6  # Hartree above the highest occupied level, with fixed occupations
_PRINTED = (".out", ".pwo", ".log")
PBE = frozenset({"PBE", "SLA PW PBX PBC", "SLA PW PBE PBE"})  # its names
_NUMBER = r"\s*(-?\d+\.\d+)"


def read_espresso(folder: Path) -> ParsedOutput:
    """Read the outputs of ``pw.x`` in a folder: printed text, and XML there or in ``out/``."""
    texts = {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.iterdir())
        if path.suffix in _PRINTED and path.is_file()
    }
    printed = {name: text for name, text in texts.items() if "Program PWSCF" in text}
    files = _xml_files(folder)
    if not printed and not files:
        if texts:
            return ParsedOutput("unrelated", f"{', '.join(texts)}: no output of pw.x")
        return ParsedOutput("not run", "no output of pw.x (*.out) or its XML (out/pwscf.xml)")
    if (stopped := _stopped(printed)) is not None:
        return stopped
    if not files:
        return ParsedOutput(
            "truncated", f"{', '.join(printed)} ended, but its XML (out/pwscf.xml) is not here"
        )
    try:
        root = ET.parse(files[0]).getroot()  # noqa: S314 - the user's own file
        if root.tag.endswith("espresso") and root.find("output") is not None:
            return _of_xml(root, list(printed.values()))
    except (
        ET.ParseError,
        *UNREADABLE,
    ) as error:  # the latter: stars where a number did not fit, and the like
        return ParsedOutput("truncated", f"{files[0].name} is damaged ({error}); copy it again")
    return ParsedOutput("unrelated", f"{files[0].name} is no output of pw.x")


def _stopped(printed: Mapping[str, str]) -> ParsedOutput | None:
    """Return a run that has not ended or ignored its input, by the printed text."""
    for name, text in printed.items():
        if "Error in routine" in text:
            error = text.split("Error in routine", 1)[1].split("%%%", 1)[0]
            return ParsedOutput("failed", f"{name}: error in routine {' '.join(error.split())}")
        if re.search(r"card HUBBARD.* ignored", text):
            return ParsedOutput(
                "failed", f"{name}: +U was ignored; the card needs Quantum ESPRESSO 7.1 or newer"
            )
        if "JOB DONE." not in text:
            return ParsedOutput("unfinished", f"{name} has no end: running or killed")
    return None


def _xml_files(folder: Path) -> list[Path]:
    places = ("out/*.xml", "out/*.save/data-file-schema.xml", "*.xml", "*.save/data-file-schema.xml")
    return [path for place in places for path in sorted(folder.glob(place))]


def _of_xml(root: Element, printed: Sequence[str]) -> ParsedOutput:
    output = root.find("output")
    calculation = _text(root, "input/control_variables/calculation")
    assert output is not None  # noqa: S101 - seen by the caller
    notes, reasons = [], []
    forces = None
    gap, direct = None, None
    try:
        edges = _gap(output)
        gap, direct = edges["band_gap"], edges["direct"]
    except CalculationError as error:
        notes.append(f"{error}: give nbnd, or smeared occupations")
    mesh = output.find("band_structure/starting_k_points/monkhorst_pack")
    grid = [int(mesh.get(name, "0")) for name in ("nk1", "nk2", "nk3")] if mesh is not None else []
    if any(n % 2 for n in grid):
        notes.append(ODD_GRID.format(grid))
    if calculation == "nscf":
        energy, force, pressure = _printed_figures(printed)
        if energy is None:
            notes.append("bands of an nscf run alone: its scf output is not here, so the energy is unknown")
    else:
        energy = float(_text(output, "total_energy/etot")) * HARTREE
        forces, pressure = _forces(output), _pressure(output)
        force = None if forces is None else float(np.linalg.norm(forces, axis=1).max())
        if _text(output, "convergence_info/scf_conv/convergence_achieved") == "false":
            reasons.append("the last self-consistent cycle did not converge")
        if _text(output, "convergence_info/opt_conv/convergence_achieved") == "false":
            reasons.append("the relaxation did not converge")
    if any("convergence NOT achieved" in text for text in printed) and not reasons:
        reasons.append("a self-consistent cycle did not converge")
    moment = _text(output, "magnetization/total")
    return ParsedOutput(
        "not converged" if reasons else "done",
        " and ".join(reasons) or None,
        first=_structure(root.find("input")),
        structure=_structure(output),
        energy=energy,
        band_gap=gap,
        direct=direct,
        max_force=force,
        forces=forces,
        pressure=pressure,
        moment=float(moment) if _text(output, "magnetization/lsda") == "true" else None,
        **_settings(root.find("input"), grid),
        notes=tuple(notes),
    )


def _settings(given: Element | None, grid: Sequence[int]) -> dict[str, Any]:
    """Return the input as the XML repeats it: functional, U, and decisive settings."""
    if given is None:
        return {}
    name = _text(given, "dft/functional")
    smearing = given.find("bands/smearing")
    settings: dict[str, Any] = {
        "ecutwfc_ry": 2 * float(_text(given, "basis/ecutwfc")),
        "ecutrho_ry": 2 * float(_text(given, "basis/ecutrho")),
        "smearing": "none"
        if smearing is None
        else f"{smearing.text}, {2 * float(smearing.get('degauss', '0')):g} Ry",
        "pseudopotentials": {
            _symbol(one.get("name", "")): _text(one, "pseudo_file")
            for one in given.iterfind("atomic_species/species")
        },
    }
    return {
        "functional": "PBE" if name in PBE else name or None,
        "hubbard_u": {
            _symbol(one.get("specie", "")): float(one.text or 0)
            for one in given.iterfind("dft/dftU/Hubbard_U")
        },
        "settings": settings | ({"kpoints": list(grid)} if grid else {}),
    }


def _symbol(species: str) -> str:
    return re.sub(r"[^A-Za-z].*", "", species)  # Fe1 is iron


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _numbers(text: str | None) -> np.ndarray:
    return np.array((text or "").split(), dtype=float)


def _gap(output: Element) -> dict[str, Any]:
    """Eigenvalues by electron counting from the Fermi level, or from the highest occupied one.

    With ``lsda`` each k-point lists the bands of spin up, then of spin down.
    """
    bands = output.find("band_structure")
    if bands is None:
        raise CalculationError("no bands in the XML")
    values = np.array([_numbers(k.findtext("eigenvalues")) for k in bands.iter("ks_energies")])
    spins = 2 if _text(bands, "lsda") == "true" else 1
    eigenvalues = values.reshape(len(values), spins, -1).transpose(1, 0, 2)
    if _text(bands, "occupations_kind") == "fixed":
        fermi = float(_text(bands, "highestOccupiedLevel")) + EDGE
    else:
        fermi = float(_text(bands, "fermi_energy"))
    return band_gap(eigenvalues * HARTREE, fermi * HARTREE)


def _forces(output: Element) -> np.ndarray | None:
    forces = _numbers(output.findtext("forces"))
    return forces.reshape(-1, 3) * HARTREE / BOHR if forces.size else None


def _pressure(output: Element) -> float | None:
    stress = _numbers(output.findtext("stress"))
    return float(np.trace(stress.reshape(3, 3))) / 3 * HARTREE_PER_BOHR3 if stress.size else None


def _structure(part: Element | None) -> Structure | None:
    from pymatgen.core import Structure

    crystal = part.find("atomic_structure") if part is not None else None
    if crystal is None:
        return None
    cell = [_numbers(crystal.findtext(f"cell/a{n}")) * BOHR for n in (1, 2, 3)]
    atoms = list(crystal.iter("atom"))
    symbols = [_symbol(atom.get("name", "")) for atom in atoms]
    positions = [_numbers(atom.text) * BOHR for atom in atoms]
    return Structure(np.array(cell), symbols, positions, coords_are_cartesian=True)


def _printed_figures(printed: Sequence[str]) -> tuple[float | None, float | None, float | None]:
    """Energy (eV), largest force (eV/Å) and pressure (GPa) of the last self-consistent cycle."""
    for text in reversed(printed):
        energies = re.findall(rf"^!\s+total energy\s+={_NUMBER} Ry", text, re.MULTILINE)
        if not energies:
            continue
        forces = re.findall(rf"^\s+atom\s+\d+\s+type\s+\d+\s+force ={_NUMBER * 3}", text, re.MULTILINE)
        atoms = re.search(r"number of atoms/cell\s+=\s+(\d+)", text)
        last = np.array(forces, dtype=float)[: int(atoms[1]) if atoms else None]
        pressures = re.findall(rf"P={_NUMBER}", text)
        return (
            float(energies[-1]) * RYDBERG,
            float(np.linalg.norm(last, axis=1).max()) * RYDBERG / BOHR if len(last) else None,
            float(pressures[-1]) * KBAR if pressures else None,
        )
    return None, None, None
