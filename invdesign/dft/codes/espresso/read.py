"""Finished, failed and interrupted ``pw.x`` runs, from their XML and their printed output.

The XML has everything but the energy of an ``nscf`` run, which the printed output of its ``scf`` has.
Without XML the printed output is read alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import numpy as np

from invdesign.crystal.chemical_formula import formula_of
from invdesign.dft.codes.band_gap import gap_by_occupation
from invdesign.dft.codes.espresso.printed import PBE, parse_printed
from invdesign.dft.codes.gpaw.job import CalculationError, band_gap, gap_above
from invdesign.dft.codes.interface import ODD_GRID, ParsedOutput
from invdesign.dft.codes.reading import described, guarded, read_part, short, text_of
from invdesign.io.units import BOHR, HARTREE, HARTREE_PER_BOHR3
from invdesign.io.xml import parse_xml

if TYPE_CHECKING:
    from pymatgen.core import Structure

_PRINTED = (".out", ".pwo", ".log")
_PLACES = ("out/*.xml", "out/*.save/data-file-schema.xml", "*.xml", "*.save/data-file-schema.xml")
_SAME_VOLUME = 0.01
_LEVELS = ("two_fermi_energies", "fermi_energy", "highestOccupiedLevel")
_BESIDE_U = {"Hubbard_J", "Hubbard_J0", "Hubbard_V", "Hubbard_U_back", "Hubbard_alpha", "Hubbard_beta"}
EDGE = 1e-5  # eV above the highest occupied level, with fixed occupations


@guarded
def read_espresso(folder: Path) -> ParsedOutput:
    """Read the outputs of ``pw.x`` in a folder: printed text, and XML there or in ``out/``."""
    texts = {
        path.name: text_of(path)
        for path in sorted(folder.iterdir())
        if path.suffix in _PRINTED and path.is_file()
    }
    printed = {name: text for name, text in texts.items() if "Program PWSCF" in text}
    files = [path for place in _PLACES for path in sorted(folder.glob(place)) if path.is_file()]
    if not printed and not files:
        if texts:
            return ParsedOutput("unrelated", f"{', '.join(texts)}: no output of pw.x")
        return ParsedOutput("not run", "no output of pw.x (*.out) or its XML (out/pwscf.xml)")
    if (stopped := _stopped(printed)) is not None:
        return stopped
    runs = [parse_printed(text) for text in printed.values()]
    roots = _roots(files)
    if isinstance(roots, ParsedOutput):
        return roots
    if roots:
        found = [_of_xml(root, runs) for root in roots.values()]
        return _of_several(found) or found[0]
    if not runs:
        return ParsedOutput("unrelated", f"{files[0].name} is no output of pw.x")
    return _of_several(runs) or next((run for run in reversed(runs) if run.energy is not None), runs[-1])


def _roots(files: Sequence[Path]) -> dict[str, Element] | ParsedOutput:
    """Return the XML of each run by its prefix, or that there is none but a damaged one."""
    roots: dict[str, Element] = {}
    damaged = None
    for path in files:
        prefix = path.stem if path.parent.suffix != ".save" else path.parent.stem
        if prefix in roots:  # the same run once more
            continue
        try:
            root = parse_xml(path, last={"step"})
        except Exception as error:  # noqa: BLE001 - of expat
            damaged = damaged or ParsedOutput(
                "truncated", f"{path.name} is damaged ({described(error)}); copy it again"
            )
            continue
        if root.tag.endswith("espresso") and root.find("output") is not None:
            roots[prefix] = root
    return roots if roots or damaged is None else damaged


def _of_several(runs: Sequence[ParsedOutput]) -> ParsedOutput | None:
    """Return that runs are of several crystals; None where they are of one."""
    crystals = {formula_of(run.structure.composition) for run in runs if run.structure is not None}
    if len(crystals) < 2:
        return None
    reason = f"outputs of several crystals ({', '.join(sorted(crystals))}) lie in one folder"
    return ParsedOutput("unrelated", reason)


def _stopped(printed: Mapping[str, str]) -> ParsedOutput | None:
    """Return a run that has not ended or ignored its input, by the printed text."""
    for name, text in printed.items():
        if "Error in routine" in text:
            error = text.split("Error in routine", 1)[1].split("%%%", 1)[0]
            return ParsedOutput("failed", f"{name}: error in routine {short(error, 200)}")
        if re.search(r"card HUBBARD.* ignored", text):
            return ParsedOutput(
                "failed", f"{name}: +U was ignored; the card needs Quantum ESPRESSO 7.1 or newer"
            )
        if "JOB DONE." not in text.rpartition("Program PWSCF")[2]:
            return ParsedOutput("unfinished", f"{name} has no end: running or killed")
    return None


def _of_xml(root: Element, printed: Sequence[ParsedOutput]) -> ParsedOutput:
    output, given = root.find("output"), root.find("input")
    assert output is not None  # noqa: S101 - seen by the caller
    notes: list[str] = []
    final = read_part("final structure", notes, lambda: _structure(output))
    mine = [run for run in printed if _same(run.structure, final)]
    mesh = output.find("band_structure/starting_k_points/monkhorst_pack")
    grid = [int(mesh.get(name, "0")) for name in ("nk1", "nk2", "nk3")] if mesh is not None else []
    if any(n % 2 for n in grid):
        notes.append(ODD_GRID.format(grid))
    edges = read_part("band gap", notes, lambda: _gap(output)) or {"band_gap": None, "direct": None}
    calculation = _text(root, "input/control_variables/calculation")
    forces = None
    if calculation in {"nscf", "bands"}:
        scf = next((run for run in reversed(mine) if run.energy is not None), None)
        energy, force, pressure = (scf.energy, scf.max_force, scf.pressure) if scf else (None, None, None)
        reasons = [scf.reason] if scf and scf.reason else []
        if energy is None:
            notes.append("bands of an nscf run alone: its scf output is not here, so the energy is unknown")
    else:
        energy = read_part("energy", notes, lambda: float(_text(output, "total_energy/etot")) * HARTREE)
        forces = read_part("forces", notes, lambda: _forces(output))
        pressure = read_part("stress", notes, lambda: _pressure(output))
        force = None if forces is None else float(np.linalg.norm(forces, axis=1).max())
        reasons = _unconverged(root, calculation, mine)
    magnetic = _text(output, "magnetization/lsda") == "true"
    moment = (
        read_part("moment", notes, lambda: float(_text(output, "magnetization/total"))) if magnetic else None
    )
    return ParsedOutput(
        "not converged" if reasons else "done",
        " and ".join(reasons) or None,
        first=_structure(given),
        structure=final,
        energy=energy,
        **edges,
        max_force=force,
        forces=forces,
        pressure=pressure,
        moment=moment,
        functional=_functional(
            next(root.iter("dft"), None) if output.find("dft") is None else output.find("dft")
        )
        + _beside_u(given),
        hubbard_u=_hubbards(given),
        settings=_settings(given, notes) | ({"kpoints": grid} if grid else {}),
        notes=tuple(notes),
    )


def _unconverged(root: Element, calculation: str, printed: Sequence[ParsedOutput]) -> list[str]:
    """Return why a run did not converge, or is not known to have."""
    reasons = []
    says = {
        name: _text(root, f"output/convergence_info/{name}_conv/convergence_achieved")
        for name in ("scf", "opt")
    }
    status, known = _text(root, "status"), any(run.status == "done" for run in printed)
    if says["scf"] == "false":
        reasons.append("the last self-consistent cycle did not converge")
    elif says["scf"] != "true" and not known:
        reasons.append("nothing says that the self-consistent cycle converged")
    if calculation in {"md", "vc-md"}:
        reasons.append("it is molecular dynamics, whose last step is not at rest")
    elif says["opt"] == "false":
        reasons.append("the relaxation did not converge")
    elif calculation in {"relax", "vc-relax"} and says["opt"] != "true" and not known:
        reasons.append("nothing says that the relaxation converged")
    reasons += [run.reason for run in printed if run.reason]
    if status not in {"", "0"} and not reasons:
        reasons.append(f"pw.x ended with status {short(status, 20)}")
    return list(dict.fromkeys(reasons))


def _same(one: Structure | None, other: Structure | None) -> bool:
    """Return whether two cells have equal atoms and volumes, so that one run may complete the other."""
    if one is None or other is None or one.composition != other.composition:
        return False
    return abs(one.volume - other.volume) < _SAME_VOLUME * other.volume


def _functional(dft: Element | None) -> str:
    """Name the functional, without U, by its tags; what is not known is quoted."""
    name = _text(dft, "functional").upper() if dft is not None else ""
    if dft is None or not name:
        return "unknown (no functional in the XML)"
    name = "PBE" if name in PBE else name
    if (hybrid := dft.find("hybrid")) is not None:
        shares = {"PBE0": 0.25, "HSE": 0.25, "B3LYP": 0.2}
        share, screening = (_text(hybrid, tag) for tag in ("exx_fraction", "screening_parameter"))
        usual = share and abs(float(share) - shares.get(name, -1)) < 1e-3
        if not usual or (name == "HSE" and abs(float(screening or 0) - 0.106) > 2e-3):
            name += f" (exx_fraction = {share or '?'}, screening_parameter = {screening or '?'})"
        name = re.sub("^HSE$", "HSE06", name)
    elif name == "HSE":
        name += " (no hybrid parameters)"
    if (vdw := dft.find("vdW")) is not None:
        kind, term = _text(vdw, "vdw_corr"), _text(vdw, "non_local_term")
        version = _text(vdw, "dftd3_version")
        if kind and kind.lower() != "none":
            name += f"+{_DISPERSION.get(kind.lower(), kind)}" + (f" (version {version})" if version else "")
        if term and term.lower() != "none" and term.upper() not in name:
            name += f"+{term}"
    return name


_DISPERSION = {
    "grimme-d2": "D2", "dft-d": "D2", "grimme-d3": "D3", "dft-d3": "D3", "ts": "TS", "ts-vdw": "TS",
    "tkatchenko-scheffler": "TS", "mbd": "MBD", "mbd_vdw": "MBD", "many-body dispersion": "MBD", "xdm": "XDM",
}  # fmt: skip


def _hubbards(given: Element | None) -> dict[str, float] | None:
    if given is None:
        return None
    values = {
        _symbol(one.get("specie", "")): float(one.text or 0) * HARTREE
        for one in given.iterfind("dft/dftU/Hubbard_U")
    }
    return {symbol: u for symbol, u in values.items() if u}


def _beside_u(given: Element | None) -> str:
    """Return what a run has beside U, such as J or V, as a part of its functional's name."""
    parts = given.iterfind("dft/dftU/*") if given is not None else ()
    found = {one.tag for one in parts if one.tag in _BESIDE_U and _numbers(one.text).any()}
    return "".join(f" with {tag}" for tag in sorted(found))


def _settings(given: Element | None, notes: list[str]) -> dict[str, Any]:
    """Return the decisive settings as the XML repeats the input."""
    if given is None:
        return {}
    found: dict[str, Any] = {
        name: read_part(name, notes, partial(_doubled, given, tag))
        for name, tag in (("ecutwfc_ry", "basis/ecutwfc"), ("ecutrho_ry", "basis/ecutrho"))
    }
    smearing = given.find("bands/smearing")
    width = None if smearing is None else 2 * float(smearing.get("degauss", "nan"))
    found["smearing"] = "none" if smearing is None else f"{smearing.text}, {width:g} Ry"
    found["pseudopotentials"] = {
        _symbol(one.get("name", "")): _text(one, "pseudo_file")
        for one in given.iterfind("atomic_species/species")
    }
    return {name: value for name, value in found.items() if value}


def _doubled(part: Element, path: str) -> float:
    return 2 * float(_text(part, path))  # Hartree to Ry


def _symbol(species: str) -> str:
    return re.sub(r"[^A-Za-z].*", "", species)  # Fe1 is iron


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _numbers(text: str | None) -> np.ndarray:
    return np.array((text or "").split(), dtype=float)


def _gap(output: Element) -> dict[str, Any]:
    """Count electrons in the bands, by the Fermi level and by the occupations; both must say the same.

    With ``lsda`` each k-point lists the bands of spin up, then of spin down.
    """
    bands = output.find("band_structure")
    if bands is None:
        raise CalculationError("no bands in the XML, so the gap is unknown")
    points = list(bands.iter("ks_energies"))
    n_spins = 2 if _text(bands, "lsda") == "true" else 1

    def by_spin(tag: str) -> np.ndarray:
        values = np.array([_numbers(point.findtext(tag)) for point in points])
        return values.reshape(len(points), n_spins, -1).transpose(1, 0, 2)

    values = by_spin("eigenvalues") * HARTREE
    electrons = _numbers(bands.findtext("nelec"))
    whole = n_spins == 2 or _text(bands, "noncolin") == "true"
    filled = float(electrons[0]) / (1 if whole else 2) if electrons.size else None
    occupations = read_part("occupations", [], lambda: by_spin("occupations"))
    fixed = _text(bands, "occupations_kind") == "fixed"
    gap = None
    if occupations is not None and occupations.shape == values.shape:
        weights = [point.find("k_point").get("weight", "nan") for point in points]  # type: ignore[union-attr]
        gap = gap_by_occupation(values, occupations, filled, np.array(weights, dtype=float))
        if fixed or filled is None or not gap["band_gap"]:
            return gap
    if filled is None:
        raise CalculationError("the XML has no number of electrons, so the gap is unknown")
    if fixed and n_spins == 1:
        return gap_above(values, np.full(values.shape[:2], round(filled)), filled)
    tag = next((tag for tag in _LEVELS if bands.find(tag) is not None), "")
    levels = read_part("Fermi level", [], lambda: _numbers(bands.findtext(tag)) * HARTREE)
    if levels is not None and levels.size:
        return band_gap(values, levels + fixed * EDGE, filled)
    if gap is None:
        raise CalculationError("the XML has no Fermi level and no occupations, so the gap is unknown")
    return gap


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
