"""The printed output of ``pw.x``: what it has of energy, bands, forces, stress and structure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.dft.codes.gpaw.job import CalculationError, band_gap
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.dft.codes.reading import read_part
from invdesign.io.units import BOHR, KBAR, RYDBERG

if TYPE_CHECKING:
    from pymatgen.core import Structure

PBE = frozenset({"PBE", "SLA PW PBX PBC", "SLA PW PBE PBE", "SLA+PW+PBX+PBC"})  # its names
_SMEARING = {"methfessel-paxton": "mp", "marzari-vanderbilt": "mv", "fermi-dirac": "fd"}  # as in the XML
_PLUS_U = re.compile(r"(\w+ [LD]\w+\+U\S*(?: calculation| \(\w+ formulation))")  # the heading of its values
_DUDAREV = {"Simplified LDA+U calculation", "Simplified DFT+U calculation", "of DFT+U (Dudarev formulation"}
_NUMBER = r"\s*(-?\d+\.\d+)"
_ROWS = r"((?:.+\n)+)"  # lines up to an empty one


def parse_printed(text: str) -> ParsedOutput:
    """Read the last run in a finished printed output (``JOB DONE.``), and nothing that is not printed."""
    run = text.rpartition("Program PWSCF")[2]
    notes: list[str] = []
    first = read_part("structure", notes, lambda: _start(run))
    final = first and read_part("final structure", notes, lambda: _end(run, first))
    energies = re.findall(r"^!\s+total energy\s+=\s*(\S+) Ry", run, re.MULTILINE)
    energy = None
    if not energies:
        notes.append("bands of an nscf run alone: its scf output is not here, so the energy is unknown")
    else:
        energy = read_part("energy", notes, lambda: float(energies[-1]) * RYDBERG)
    forces = read_part("forces", notes, lambda: _forces(run, len(first or ())))
    pressures = re.findall(r"P=\s*(\S+)", run)
    pressure = read_part("pressure", notes, lambda: float(pressures[-1]) * KBAR) if pressures else None
    edges = read_part("band gap", notes, lambda: _gap(run)) or {"band_gap": None, "direct": None}
    moments = re.findall(rf"total magnetization\s+={_NUMBER} Bohr", run)
    hubbards = _hubbards(run)
    reasons = _unconverged(run, has_energy=bool(energies))
    return ParsedOutput(
        "not converged" if reasons else "done",
        " and ".join(reasons) or None,
        first=first,
        structure=final,
        energy=energy,
        **edges,
        max_force=None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
        forces=forces,
        pressure=pressure,
        moment=float(moments[-1]) if moments else None,
        functional=_functional(run) + (" with unreadable U" if hubbards is None else ""),
        hubbard_u=hubbards or {},
        settings=_settings(run),
        notes=tuple(notes),
    )


def _unconverged(run: str, *, has_energy: bool) -> list[str]:
    reasons = []
    if has_energy and run.rfind("convergence NOT achieved") >= run.rfind("convergence has been achieved"):
        reasons.append("the last self-consistent cycle did not converge")
    if "Molecular Dynamics Calculation" in run:
        reasons.append("it is molecular dynamics, whose last step is not at rest")
    elif (
        "BFGS Geometry Optimization" in run and not re.search(r"bfgs converged in|End of BFGS Geometry", run)
    ) or "The maximum number of steps has been reached" in run:
        reasons.append("the relaxation did not converge")
    return reasons


def _functional(run: str) -> str:
    found = re.search(r"Exchange-correlation\s*=\s*(.+?)\s*(?:\(|\n)", run)
    if found is None:
        return "unknown (no Exchange-correlation is printed)"
    name = " ".join(found[1].split())
    name = "PBE" if name in PBE else name
    if share := re.search(r"EXX-fraction\s*=\s*(\S+)", run):
        name += f" (exx_fraction = {share[1]})"
    kinds = re.findall(
        r"(DFT-D3|DFT-D|Grimme-D2|Tkatchenko-Scheffler|Many-Body Dispersion|XDM) ?(?:Dispersion|Van)", run
    )
    return name + "".join(f"+{kind}" for kind in dict.fromkeys(kinds))


def _hubbards(run: str) -> dict[str, float] | None:
    """Return U by element, eV; None where it is not of Dudarev's form alone."""
    stated = {*_PLUS_U.findall(run)}
    table = re.search(rf"Simplified \w+\+U calculation.*\n.*\n{_ROWS}", run)
    rows = re.findall(rf"^\s+([A-Z][a-z]?)\S*\s+\d\s+{_NUMBER}", table[1] if table else "", re.MULTILINE)
    rows += re.findall(rf"^\s+U\(([A-Z][a-z]?)\w*-\w+\)\s*={_NUMBER}", run, re.MULTILINE)
    if not stated <= _DUDAREV or (stated and not rows):
        return None
    return {symbol: float(u) for symbol, u in rows}


def _settings(run: str) -> dict[str, Any]:
    cutoffs = {
        "ecutwfc_ry": re.search(rf"kinetic-energy cutoff\s+={_NUMBER}", run),
        "ecutrho_ry": re.search(rf"charge density cutoff\s+={_NUMBER}", run),
    }
    smearing = "none"
    if found := re.search(rf"(\S+) smearing, width \(Ry\)\s*={_NUMBER}", run):
        kind = found[1].lower()
        smearing = f"{_SMEARING.get(kind, kind)}, {float(found[2]):g} Ry"
    files = re.findall(r"PseudoPot\. # *\d+ for +([A-Z][a-z]?)\S* +read from file:\s+(\S+)", run)
    return (
        {name: float(match[1]) for name, match in cutoffs.items() if match}
        | {"smearing": smearing}
        | ({"pseudopotentials": {symbol: path.rpartition("/")[2] for symbol, path in files}} if files else {})
    )


def _start(run: str) -> Structure:
    from pymatgen.core import Structure

    alat = _stated("lattice parameter (alat)", run) * BOHR
    axes = re.findall(rf"a\([123]\) = \({_NUMBER * 3}", run)[:3]
    sites = re.findall(rf"^\s+\d+\s+([A-Z][a-z]?)\S*\s+tau\(\s*\d+\) = \({_NUMBER * 3}", run, re.MULTILINE)
    number = int(_stated("number of atoms/cell", run))
    if len(sites) < number:
        raise ValueError(f"{len(sites)} of {number} sites are printed")
    positions = np.array([site[1:] for site in sites[:number]], dtype=float) * alat
    cell = np.array(axes, dtype=float) * alat
    return Structure(cell, [site[0] for site in sites[:number]], positions, coords_are_cartesian=True)


def _end(run: str, first: Structure) -> Structure:
    """Return the structure that was printed last; the first where nothing moved."""
    from pymatgen.core import Structure

    cell, positions = (
        first.lattice.matrix,
        re.findall(rf"^ATOMIC_POSITIONS *(.*)\n{_ROWS}", run, re.MULTILINE),
    )
    if cells := re.findall(r"^CELL_PARAMETERS *(.*)\n((?:.+\n){3})", run, re.MULTILINE):
        unit, rows = cells[-1]
        cell = np.array([row.split() for row in rows.splitlines()], dtype=float) * _length(unit, run)
    if not positions:
        return Structure(cell, first.species, first.frac_coords)
    unit, rows = positions[-1]
    sites = [row.split() for row in rows.splitlines()[: len(first)]]
    coordinates = np.array([site[1:4] for site in sites], dtype=float)
    cartesian = "crystal" not in unit
    symbols = [re.sub(r"[^A-Za-z].*", "", site[0]) for site in sites]
    scale = _length(unit, run) if cartesian else 1
    return Structure(cell, symbols, coordinates * scale, coords_are_cartesian=cartesian)


def _length(unit: str, run: str) -> float:
    """Return the length that coordinates are counted in, Å."""
    if "angstrom" in unit:
        return 1.0
    if "bohr" in unit:
        return BOHR
    stated = re.search(rf"alat={_NUMBER}", unit)
    return (float(stated[1]) if stated else _stated("lattice parameter (alat)", run)) * BOHR


def _forces(run: str, n_atoms: int) -> np.ndarray | None:
    """Return the total forces of the last step, n x 3, eV/Å."""
    block = run.rpartition("Forces acting on atoms")[2]
    if block == run or not n_atoms:
        return None
    rows = re.findall(r"^\s+atom\s+\d+\s+type\s+\d+\s+force =(.*)", block, re.MULTILINE)[:n_atoms]
    return np.array([row.split() for row in rows], dtype=float).reshape(n_atoms, 3) * RYDBERG / BOHR


def _gap(run: str) -> dict[str, Any]:
    """Return the gap of the bands printed last; without them that of the levels, if nothing is smeared."""
    last = re.split("End of (?:self-consistent|band structure) calculation", run)[-1]
    electrons = _stated("number of electrons", run)
    blocks = re.findall(rf"bands \(ev\):\s*\n\s*\n{_ROWS}", last, re.MULTILINE)
    spin = "SPIN DOWN" in last
    whole = spin or re.search(r"[Nn]on-?collinear|spin-orbit", run) is not None
    filled = electrons if whole else electrons / 2
    level = re.search(rf"the (?:spin up/dw )?Fermi energ(?:y is|ies are){_NUMBER}(?:{_NUMBER})? ev", last)
    edge = re.search(r"highest occupied(?:, lowest unoccupied)? level.*?\(ev\):\s*(\S+)(?: +(\S+))?", last)
    if blocks:
        rows = [" ".join(block.split()).replace("-", " -").split() for block in blocks]
        values = np.array(rows, dtype=float).reshape(2 if spin else 1, -1, len(rows[0]))
        if level:
            return band_gap(values, [float(one) for one in level.groups() if one], filled)
        if edge:
            return band_gap(values, float(edge[1]) + 1e-3, filled)
    elif edge and edge[2]:
        return {"band_gap": max(0.0, float(edge[2]) - float(edge[1])), "direct": None}
    raise CalculationError("no bands are printed, so the gap is unknown; keep the XML (out/pwscf.xml)")


def _stated(name: str, run: str) -> float:
    match = re.search(rf"{re.escape(name)}\s*=\s*(\S+)", run)
    if match is None:
        raise ValueError(f"{name} is not printed")
    return float(match[1])
