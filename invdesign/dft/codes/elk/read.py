"""Elk's own output: INFO.OUT, EIGVAL.OUT, and BAND.OUT where there is a path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.cif import UNREADABLE
from invdesign.dft.codes.gpaw.job import CalculationError, band_gap
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.io.units import BOHR, HARTREE

if TYPE_CHECKING:
    from pymatgen.core import Structure

INFO, EIGENVALUES, FERMI, BANDS, GEOMETRY = "INFO.OUT", "EIGVAL.OUT", "EFERMI.OUT", "BAND.OUT", "GEOMETRY.OUT"


def read_elk(folder: Path) -> ParsedOutput:
    """Read energy and gap of an Elk run: on the grid and, where it has one, along the path too."""
    if not (folder / INFO).is_file():
        return ParsedOutput("not run", f"no {INFO}")
    text = (folder / INFO).read_text(encoding="utf-8", errors="replace")
    if "Elk" not in text:
        return ParsedOutput("unrelated", f"{INFO} is not of Elk")
    if not has_stopped(folder):
        return ParsedOutput("unfinished", f"{INFO} has no end: running or killed")
    energies = re.findall(r"^ *total energy +: +(\S+)", text, re.MULTILINE)
    try:
        bands, fermi = _bands(folder)
        edges = band_gap(bands, fermi)
        structure = _structure(folder / GEOMETRY)
        energy = float(energies[-1]) * HARTREE
    except CalculationError as error:
        return ParsedOutput("failed", str(error))
    except (OSError, *UNREADABLE) as error:
        return ParsedOutput("truncated", f"its files break off or are damaged ({error}); copy them again")
    converged = "Convergence targets achieved" in text
    return ParsedOutput(
        "done" if converged else "not converged",
        None if converged else "the self-consistent cycle did not converge",
        first=structure,
        structure=structure,
        energy=energy,
        band_gap=edges["band_gap"],
        direct=edges["direct"],
    )


def has_stopped(folder: Path) -> bool:
    """Return whether Elk has ended in a folder."""
    info = folder / INFO
    return info.is_file() and bool(
        re.search(r"Elk version .* stopped", info.read_text(encoding="utf-8", errors="replace")[-1000:])
    )


def _bands(folder: Path) -> tuple[np.ndarray, float]:
    """Eigenvalues, 1 x k-point x band, eV, of the grid and of the path; and the Fermi level."""
    fermi = float((folder / FERMI).read_text(encoding="utf-8"))
    text = (folder / EIGENVALUES).read_text(encoding="utf-8")
    n_states = int(re.findall(r"(\d+) +: nstsv", text)[0])
    rows = re.findall(r"^ +\d+ +(-?\d\S*) +\d\S* *$", text, re.MULTILINE)
    bands = np.array(rows, dtype=float).reshape(-1, n_states)
    if (folder / BANDS).is_file():
        path = np.loadtxt(folder / BANDS)[:, 1].reshape(n_states, -1).T
        bands = np.concatenate([bands, path + fermi])  # counted from the Fermi level there
    return bands[None] * HARTREE, fermi * HARTREE


def _structure(path: Path) -> Structure:
    """Read the crystal, in Elk's input format, lengths in bohr."""
    from pymatgen.core import Structure

    lines = [
        line.split(":")[0].split("!")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()
    ]
    scales = [float(lines[lines.index(name) + 1]) for name in ("scale", "scale1", "scale2", "scale3")]
    start = lines.index("avec") + 1
    axes = np.array([line.split() for line in lines[start : start + 3]], dtype=float)
    cell = axes * scales[0] * np.array(scales[1:])[:, None] * BOHR
    rest = iter(lines[lines.index("atoms") + 1 :])
    symbols, positions = [], []
    for _ in range(int(next(rest))):
        symbol = next(rest).strip("'").removesuffix(".in")
        for _ in range(int(next(rest))):
            symbols.append(symbol)
            positions.append([float(x) for x in next(rest).split()[:3]])
    return Structure(cell, symbols, positions)
