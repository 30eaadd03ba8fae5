"""Elk's own output: INFO.OUT, EIGVAL.OUT, and BAND.OUT where there is a path."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.dft.codes.gpaw.job import CalculationError, band_gap
from invdesign.dft.codes.interface import ParsedOutput
from invdesign.dft.codes.reading import guarded, read_part, text_of
from invdesign.io.units import BOHR, HARTREE

if TYPE_CHECKING:
    from pymatgen.core import Structure

INFO, EIGENVALUES, FERMI, BANDS, GEOMETRY = "INFO.OUT", "EIGVAL.OUT", "EFERMI.OUT", "BAND.OUT", "GEOMETRY.OUT"
XC = {2: "LDA", 3: "LDA", 4: "LDA", 20: "PBE", 21: "revPBE", 22: "PBEsol", 26: "WC06", 30: "AM05"}
_SAME_VOLUME = 1e-3


@guarded
def read_elk(folder: Path) -> ParsedOutput:
    """Read energy and gap of an Elk run: on the grid and, where it has one, along the path too."""
    if not (folder / INFO).is_file():
        return ParsedOutput("not run", f"no {INFO}")
    text = text_of(folder / INFO)
    if "Elk" not in text:
        return ParsedOutput("unrelated", f"{INFO} is not of Elk")
    if not has_stopped(folder):
        return ParsedOutput("unfinished", f"{INFO} has no end: running or killed")
    info = text[text.rfind("Elk version", 0, text.rfind("started")) :]  # of the last run
    structure = _structure(text_of(folder / GEOMETRY))
    volume = _stated(info, "Unit cell volume")
    if volume is not None and abs(volume * BOHR**3 - structure.volume) > _SAME_VOLUME * structure.volume:
        stated = f"{volume * BOHR**3:.2f} Å³"
        return ParsedOutput(
            "unrelated", f"{INFO} is of a cell of {stated}, {GEOMETRY} of {structure.volume:.2f} Å³"
        )
    notes: list[str] = []
    energy = read_part("energy", notes, lambda: _energy(info))
    try:
        edges = _gap(folder, info)
    except CalculationError as error:
        edges = {"band_gap": None, "direct": None}
        notes.append(str(error))
    converged = "Convergence targets achieved" in info.rpartition("Self-consistent loop started")[2]
    return ParsedOutput(
        "done" if converged else "not converged",
        None if converged else "the self-consistent cycle did not converge",
        first=structure,
        structure=structure,
        energy=energy,
        **edges,
        functional=_functional(info),
        notes=tuple(notes),
    )


def has_stopped(folder: Path) -> bool:
    """Return whether Elk has ended in a folder."""
    info = folder / INFO
    return info.is_file() and bool(re.search(r"Elk version .* stopped", text_of(info)[-1000:]))


def _stated(info: str, name: str) -> float | None:
    """Return the last number under a name in INFO.OUT; None where there is none."""
    found = re.findall(rf"^ *{name} *: +(\S+)", info, re.MULTILINE)
    return float(found[-1]) if found and "*" not in found[-1] else None


def _energy(info: str) -> float:
    energy = _stated(info, "total energy")
    if energy is None:
        raise ValueError("none is printed, or it did not fit its field")
    return energy * HARTREE


def _functional(info: str) -> str:
    """Name the functional by its numbers; 100 stands for two of libxc, of which 101 and 130 are PBE's."""
    numbers = [
        int(n)
        for n in re.findall(r"Exchange-correlation functional : *([ \d]+)", info)[-1:][0:1]
        for n in n.split()
    ]
    name = "PBE" if numbers == [100, 101, 130] else XC.get(numbers[0]) if numbers else None
    if name is None:
        name = f"unknown (xctype {' '.join(map(str, numbers)) or 'is not printed'})"
    return name + ("+U" if re.search(r"DFT\+U calculation|LDA\+U calculation", info) else "")


def _gap(folder: Path, info: str) -> dict[str, Any]:
    """Count the valence electrons in the bands below the Fermi level, on the grid and along the path."""
    fermi = _stated(info, "Fermi")
    if (folder / FERMI).is_file():
        stated, fermi = fermi, float(text_of(folder / FERMI))
        if stated is not None and abs(fermi - stated) > 1e-3:
            raise CalculationError(
                f"{FERMI} says {fermi:g}, {INFO} {stated:g} Hartree, so the gap is unknown"
            )
    electrons = _stated(info, "Total valence charge")
    if fermi is None or electrons is None:
        raise CalculationError(f"{INFO} has no Fermi level or no valence charge, so the gap is unknown")
    filled = electrons / (2 if "spin-unpolarised" in info else 1)
    if not (folder / EIGENVALUES).is_file():
        raise CalculationError(f"{EIGENVALUES} is not here, so the gap is unknown")
    text = text_of(folder / EIGENVALUES)
    n_points, n_states = (int(re.findall(rf"(\d+) +: {name}", text)[0]) for name in ("nkpt", "nstsv"))
    rows = re.findall(r"^ +\d+ +([-\d*]\S*) +[-\d*]\S* *$", text, re.MULTILINE)
    bands = np.array(["nan" if "*" in row else row for row in rows], dtype=float)
    bands = bands.reshape(n_points, n_states)
    if (folder / BANDS).is_file():
        path = np.loadtxt(StringIO(text_of(folder / BANDS)))[:, 1].reshape(n_states, -1).T
        bands = np.concatenate([bands, path + fermi])  # counted from the Fermi level there
    return band_gap(bands[None] * HARTREE, fermi * HARTREE, filled)


def _structure(text: str) -> Structure:
    """Read the crystal, in Elk's input format, lengths in bohr."""
    from pymatgen.core import Structure

    lines = [line.split(":")[0].split("!")[0].strip() for line in text.splitlines()]
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
