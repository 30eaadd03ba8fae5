"""``vasprun.xml``: what a VASP run computed, and with which functional. Nothing else in it is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

import numpy as np

from invdesign.io.xml import parse_xml
from invdesign.stability.hull.phases import single_scale

if TYPE_CHECKING:
    from pymatgen.core import Structure

_BULKY = frozenset({"dos", "projected", "partial", "dynmat", "dielectricfunction", "primitive_cell"})
_FAR = 10  # times the criterion: a change or force beyond it is not converged, whatever else ended the run
_SAME_VOLUME = 0.01
_ONE_STEP = frozenset({"exact", "eigenval", "none", "nothing"})  # algorithms without a cycle

GGA = {
    "PE": "PBE", "91": "PW91", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "AM": "AM05", "CA": "LDA",
    "B3": "B3LYP", "B5": "B3LYP with VWN5", "BF": "BEEF-vdW", "OR": "optPBE", "BO": "optB88",
    "MK": "optB86b", "ML": "rPW86", "CX": "cx13", "HL": "LDA of Hedin and Lundqvist", "WI": "LDA of Wigner",
}  # fmt: skip
POTCARS = {"PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA"}
NONLOCAL = {
    "RE": "vdW-DF", "OR": "optPBE-vdW", "BO": "optB88-vdW", "MK": "optB86b-vdW", "ML": "vdW-DF2",
    "CX": "vdW-DF-cx", "BF": "BEEF-vdW",
}  # fmt: skip
METAGGA = {"RTPSS": "revTPSS", "M06L": "M06-L", "MBJ": "modified Becke-Johnson"}  # others as the tag says
DISPERSION = {
    1: "D2", 10: "D2", 11: "D3", 12: "D3(BJ)", 13: "D4", 2: "TS", 20: "TS", 21: "TS-HI", 202: "MBD",
    263: "MBD@FI", 3: "ULG", 4: "dDsC",
}  # fmt: skip
HYBRIDS = {(0.25, 0.0): "PBE0", (0.25, 0.2): "HSE06", (0.25, 0.21): "HSE06", (0.25, 0.3): "HSE03"}
MANY_BODY = re.compile("GW|BSE|TDHF|TIMEEV|CHI|RPA|ACFDT", re.IGNORECASE)


class Tags:
    """The settings of a run, of ``parameters`` and ``incar``, as text until they are asked for.

    Stars stand where a number did not fit: only the tag that has them is lost.
    """

    def __init__(self, root: Element) -> None:
        """Keep the settings below ``modeling``."""
        self._text: dict[str, str] = {}
        self._true: set[str] = set()
        for part in ("incar", "parameters"):  # the latter are what VASP used
            for element in root.iterfind(f"{part}//*[@name]"):
                text = (element.text or "").strip()
                if element.tag in {"i", "v"} and text not in {"", "--", "NONE", "None"}:
                    name = element.get("name", "").upper()
                    self._text[name] = text
                    if text.strip(".").upper().startswith("T"):
                        self._true.add(name)

    def text(self, name: str) -> str:
        """Return a tag; empty where it is not set."""
        return self._text.get(name, "")

    def is_true(self, name: str) -> bool:
        """Return whether a logical tag is set in either part."""
        return name in self._true

    def number(self, name: str) -> float | None:
        """Return a number; None where it is not set or did not fit its field."""
        try:
            return _finite(self.text(name))
        except ValueError:
            return None

    def integer(self, name: str, default: int) -> int:
        """Return an integer; the default where it is not set or did not fit its field."""
        number = self.number(name)
        return default if number is None else int(number)


@dataclass(frozen=True, slots=True)
class Run:
    """One finished VASP run.

    Attributes:
        tags: its settings.
        potcars: titles of its POTCARs by kind of atom.
        hubbards: U by element, eV, where it is not 0.
        functional: without +U, by its tags.
        initial: first structure.
        final: structure of the last ionic step.
        last: ``calculation`` of that step.
        n_steps: ionic steps.
        unconverged: why its energy is not to be trusted, as clauses; empty where it is.
        root: the whole file.
    """

    tags: Tags
    potcars: tuple[str, ...]
    hubbards: dict[str, float]
    functional: str
    initial: Structure
    final: Structure
    last: Element
    n_steps: int
    unconverged: tuple[str, ...]
    root: Element

    @property
    def is_many_body(self) -> bool:
        """Return whether it is a GW, RPA or BSE run, whose total energy is none of DFT."""
        return bool(MANY_BODY.search(self.tags.text("ALGO")))

    @property
    def is_of_fixed_density(self) -> bool:
        """Return whether only bands were computed, of a density from elsewhere: it has no total energy."""
        return self.tags.integer("ICHARG", 0) >= 10

    def energy(self) -> float:
        """Return the energy of the cell for no smearing, eV.

        Raises:
            ValueError: it is not there, or is no number.
        """
        total, steps = _energies(self.last.find("energy")), _cycle(self.last)
        energy = total.get("e_0_energy")
        if steps and "e_fr_energy" in total and steps[-1].keys() >= {"e_0_energy", "e_fr_energy"}:
            # VASP 5 and 6 forget part of the total in e_0_energy alone
            energy = total["e_fr_energy"] + steps[-1]["e_0_energy"] - steps[-1]["e_fr_energy"]
        if energy is None:
            raise ValueError("there is none")
        return round(energy, 8)

    def array(self, name: str) -> np.ndarray | None:
        """Return forces (n x 3, eV/Å) or stress (3 x 3, kbar) of the last step; None where there are none."""
        rows = self.last.find(f"varray[@name='{name}']")
        return None if rows is None else _rows(rows).reshape(-1, 3)

    def levels(self) -> np.ndarray:
        """Return eigenvalues of the last step, spin x k-point x band x (eV, occupation).

        Raises:
            ValueError: there are none, or one is no number.
        """
        spins = self.last.findall("eigenvalues/array/set/set")
        if not spins:
            raise ValueError("there are none")
        return np.array([[_rows(kpoint)[:, :2] for kpoint in spin.iterfind("set")] for spin in spins])

    def weights(self) -> np.ndarray | None:
        """Return the weights of the k-points; None where they are not there."""
        rows = self.root.find("kpoints/varray[@name='weights']")
        return None if rows is None else _rows(rows)[:, 0]

    def grid(self) -> list[int]:
        """Return the divisions of the k-point grid; empty where there are none."""
        text = self.root.findtext("kpoints/generation/v[@name='divisions']") or ""
        return [int(n) for n in text.split()]


def read_vasprun(path: Path) -> Run:
    """Read a finished run.

    Raises:
        InputError: its POTCARs are of several functionals.
        ValueError, SyntaxError, OSError, EOFError, zlib.error and pymatgen's: the file cannot be read, is
            not VASP's, breaks off, or lacks what the others depend on.
    """
    root = parse_xml(path, skip=_BULKY, last={"calculation"})
    if root.tag != "modeling":
        raise ValueError("it is no output of VASP")
    tags = Tags(root)
    symbols = [_symbol(row[0]) for row in _cells(root, "atoms")]
    kinds = _cells(root, "atomtypes")
    potcars = tuple(kind[4] for kind in kinds)
    steps = root.findall("calculation")
    if not steps or not symbols:
        raise ValueError("it has no atoms or no ionic step")
    hubbards = _hubbards(tags, [_symbol(kind[1]) for kind in kinds])
    finals = [steps[-1].find("structure"), root.find("structure[@name='finalpos']")]
    final = next(_structure(one, symbols) for one in finals if one is not None)
    initial = root.find("structure[@name='initialpos']")
    return Run(
        tags,
        potcars,
        hubbards or {},
        functional_of(tags, potcars, str(path)) + (" with unreadable U" if hubbards is None else ""),
        final if initial is None else _structure(initial, symbols),
        final,
        steps[-1],
        len(steps),
        tuple(_unconverged(tags, steps[-1], len(steps))),
        root,
    )


def functional_of(tags: Tags, potcars: Sequence[str], where: str) -> str:
    """Name the functional, without +U, by its tags; where they say too little, quote them.

    Raises:
        InputError: POTCARs of several functionals, and no tag that decides between them.
    """
    name = _semilocal(tags, potcars, where)
    if tags.is_true("LHFCALC"):
        name = _hybrid(tags, name)
    dispersion = tags.integer("IVDW", 10 if tags.is_true("LVDW") else 0)
    if dispersion:
        name += f"+{DISPERSION.get(dispersion, f'unknown dispersion (IVDW = {dispersion})')}"
    algorithm = tags.text("ALGO")
    return f"{algorithm} on {name}" if MANY_BODY.search(algorithm) else name


def _semilocal(tags: Tags, potcars: Sequence[str], where: str) -> str:
    meta, gga = tags.text("METAGGA").upper(), tags.text("GGA").upper()[:2]
    nonlocal_ = tags.is_true("LUSE_VDW")
    if meta:
        return METAGGA.get(meta, meta) + ("+rVV10" if nonlocal_ else "")
    if gga:
        name = GGA.get(gga, f"unknown (GGA = {gga})")
    else:  # the POTCARs decide
        families = sorted({title.split()[0] if title else "none" for title in potcars}) or ["none"]
        named = [POTCARS.get(family, f"unknown (POTCAR {family})") for family in families]
        name = single_scale(((one, where) for one in named), where)
    return NONLOCAL.get(gga, f"{name}+nonlocal vdW") if nonlocal_ else name


def _hybrid(tags: Tags, base: str) -> str:
    share, screening = tags.number("AEXX"), tags.number("HFSCREEN")
    if share is not None and screening is not None:
        mixed = round(share, 3), round(screening, 2)
        if mixed == (1.0, 0.0):
            return "HF"
        if mixed == (0.2, 0.0) and base == "B3LYP":
            return base
        if base in {"PBE", "PBEsol"} and mixed in HYBRIDS:
            return HYBRIDS[mixed] + (" of PBEsol" if base == "PBEsol" else "")
    shown = ("?" if one is None else f"{one:g}" for one in (share, screening))
    return "hybrid of {} (AEXX = {}, HFSCREEN = {})".format(base, *shown)


def _hubbards(tags: Tags, kinds: Sequence[str]) -> dict[str, float] | None:
    """Return U - J by element, eV, where it is not 0; None where it cannot be read."""
    if not tags.is_true("LDAU"):
        return {}
    try:
        u, j, shells = ([_finite(x) for x in tags.text(name).split()] for name in ("LDAUU", "LDAUJ", "LDAUL"))
        columns = zip(kinds, u, j or [0.0] * len(kinds), shells or [2.0] * len(kinds), strict=True)
        return {kind: one - other for kind, one, other, shell in columns if shell >= 0 and one != other}
    except ValueError:
        return None


def _unconverged(tags: Tags, last: Element, n_steps: int) -> list[str]:
    """Return why a run did not converge, as far as its steps tell, or is not at rest."""
    reasons = []
    steps, once = _cycle(last), MANY_BODY.search(tags.text("ALGO")) or tags.text("ALGO").lower() in _ONE_STEP
    energies = [step["e_fr_energy"] for step in steps if "e_fr_energy" in step]
    change = abs(energies[-1] - energies[-2]) if len(energies) > 1 else 0.0
    if not once and (
        len(steps) >= tags.integer("NELM", 60) or change > _FAR * (tags.number("EDIFF") or 1e-4)
    ):
        reasons.append("the last self-consistent cycle did not converge")
    n_allowed, mover = tags.integer("NSW", 0), tags.integer("IBRION", 0)
    if n_allowed > 1 and mover == 0:
        reasons.append("it is molecular dynamics, whose last step is not at rest")
    elif n_allowed >= 1 and mover in {5, 6} and n_steps > 1:
        reasons.append("it is a phonon run, whose last step has displaced atoms")
    elif n_allowed > 1 and mover in {1, 2, 3}:
        rows, limit = last.find("varray[@name='forces']"), tags.number("EDIFFG") or 0.0
        largest = 0.0
        if rows is not None and limit < 0 and last.find("structure/varray[@name='selective']") is None:
            largest = float(np.linalg.norm(_rows(rows, stars=True), axis=1).max())
        if n_steps >= n_allowed or largest > _FAR * abs(limit):
            reasons.append(f"still moving after {n_steps} ionic steps")
    return reasons


def _cycle(calculation: Element) -> list[dict[str, float]]:
    """Return the energies of the self-consistent steps, eV; those of a response that follows are left out."""
    steps = [_energies(step.find("energy")) for step in calculation.iterfind("scstep")]
    ends = [n for n, step in enumerate(steps) if n and "ewald" in step]  # in full at start and end
    return steps[: ends[0] + 1] if ends else steps


def _energies(element: Element | None) -> dict[str, float]:
    found = {}
    for one in element if element is not None else ():
        try:
            found[one.get("name", "")] = _finite(one.text or "")
        except ValueError:
            continue  # stars
    return found


def _cells(root: Element, name: str) -> list[list[str]]:
    rows = root.iterfind(f"atominfo/array[@name='{name}']/set/rc")
    return [[(cell.text or "").strip() for cell in row] for row in rows]


def _symbol(text: str) -> str:
    """Return an element; VASP cuts some names, and newer versions add the POTCAR's hash."""
    return {"X": "Xe", "r": "Zr"}.get(text) or re.split("[^A-Za-z]", text)[0]


def _structure(element: Element, symbols: Sequence[str]) -> Structure:
    from pymatgen.core import Structure

    basis, positions = (element.find(f".//varray[@name='{name}']") for name in ("basis", "positions"))
    if basis is None or positions is None:
        raise ValueError("a structure has no cell or positions")
    structure = Structure(_rows(basis), symbols, _rows(positions))
    volume = element.findtext("crystal/i[@name='volume']")
    if volume is not None and "*" not in volume:
        stated = _finite(volume)
        if abs(stated - structure.volume) > _SAME_VOLUME * structure.volume:
            raise ValueError(f"its cell has {structure.volume:.2f} Å³, where it says {stated:.2f}")
    return structure


def _rows(element: Element, *, stars: bool = False) -> np.ndarray:
    """Return the numbers of rows, n x m; stars, which stand for overflow, as 0 where allowed."""
    rows = [(row.text or "").split() for row in element]
    if stars:
        rows = [["0" if "*" in one else one for one in row] for row in rows]
    return np.array(rows, dtype=float)


def _finite(text: str) -> float:
    number = float(text)
    if not np.isfinite(number):
        raise ValueError(f"{text.strip()} is no finite number")
    return number
