"""Quantum ESPRESSO inputs for pw.x, by ASE's writer.

Occupations are smeared, always: it is right for metals, harmless for insulators at this width, and the
output then states a Fermi energy, without which ASE reads every gap as zero (fixed occupations).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.espresso.printed import PBE
from invdesign.dft.codes.hubbard import FUNCTIONAL, PROJECTORS, hubbard_u, orbital
from invdesign.dft.codes.kpoints import Task, k_grid
from invdesign.dft.codes.magmoms import starting_moments
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Generous for the common libraries, and one pair for all candidates, so that their energies compare and
# that a relaxed cell is free of Pulay stress; lower it only after a convergence test.
CUTOFFS = {"norm-conserving": (100.0, 400.0), "other": (90.0, 1080.0)}  # Ry: ecutwfc, ecutrho
DEGAUSS = 0.005  # Ry, 0.07 eV
NEEDS_7_1 = "+U by the HUBBARD card: needs Quantum ESPRESSO 7.1 or newer"
PER_MOMENT = 0.1  # starting magnetisation (fraction of the valence electrons) per μB
INPUTS: dict[Task, tuple[str, str]] = {
    "relax": ("relax.in", "vc-relax"),
    "static": ("scf.in", "scf"),
    "phonon-check": ("scf.in", "scf"),
}
"""Name of the input file, and ``calculation``."""


@dataclass(frozen=True, slots=True)
class Pseudopotentials:
    """File by element, and what is known of the files.

    Attributes:
        files: file name by element symbol.
        folder: ``pseudo_dir`` of the inputs.
        checked: whether the files were there and looked into.
        norm_conserving: whether all of them say that they are.
    """

    files: dict[str, str]
    folder: str
    checked: bool
    norm_conserving: bool

    @property
    def cutoffs(self) -> tuple[float, float]:
        """Wave function and density cutoffs, Ry."""
        return CUTOFFS["norm-conserving" if self.norm_conserving else "other"]


def find_pseudopotentials(elements: Iterable[str], folder: Path | None) -> Pseudopotentials:
    """Pseudopotential files of elements; without a folder, names to be filled in (``Fe.UPF``).

    Raises:
        InputError: no such folder, no file or several for an element, or one that is for another element
            or another functional than PBE.
    """
    elements = sorted(elements)
    if folder is None:
        return Pseudopotentials(
            {el: f"{el}.UPF" for el in elements}, "./pseudo", checked=False, norm_conserving=False
        )
    if not folder.is_dir():
        raise InputError(
            f"pseudos: {folder} is no folder; give the one that holds your PBE pseudopotentials (*.UPF)."
        )
    available = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".upf")
    files, kinds = {}, set()
    missing = []
    for element in elements:
        pattern = re.compile(rf"{element}(?![a-z])", re.IGNORECASE)
        found = [path for path in available if pattern.match(path.name)]
        if len(found) > 1:  # libraries have a file for each functional
            found = [path for path in found if _fits(path, element)] or found
        if not found:
            missing.append(element)
        elif len(found) > 1:
            raise InputError(
                f"pseudos: {folder} has several files for {element} ({_names(found)}); leave one."
            )
        else:
            files[element] = found[0].name
            kinds.add(_check(found[0], element))
    if missing:
        raise InputError(
            f"pseudos: {folder} has no file for {', '.join(missing)}; add them or give another folder."
        )
    return Pseudopotentials(files, str(folder.resolve()), checked=True, norm_conserving=kinds == {"NC"})


def _fits(path: Path, element: str) -> bool:
    try:
        _check(path, element)
    except InputError:
        return False
    return True


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _check(path: Path, element: str) -> str:
    """Return the type (NC, US, PAW, or unknown) of a checked PBE pseudopotential of an element."""
    head = path.read_text(encoding="utf-8", errors="replace")[:200_000]
    if "<PP_HEADER" not in head:
        raise InputError(f"pseudos: {path} is no UPF file (it has no PP_HEADER); restore it.")
    header = head.split("<PP_HEADER", 1)[1].split("</PP_HEADER>", 1)[0].split("/>", 1)[0]
    attributes = dict(re.findall(r'(\w+)\s*=\s*"\s*([^"]*?)\s*"', header))
    if not attributes:  # UPF version 1 has lines instead
        attributes = {
            "element": next(iter(re.findall(r"(\w+)\s+Element", header)), element),
            "functional": next(iter(re.findall(r"^(.*?)\s+Exchange-Correlation", header, re.MULTILINE)), ""),
            "pseudo_type": next(iter(re.findall(r"(\w+)\s+(?:Ultrasoft|Norm)", header)), ""),
        }
    if attributes.get("element", element).strip().capitalize() != element:
        raise InputError(
            f"pseudos: {path} is for {attributes['element']}, not for {element}; rename or replace it."
        )
    functional = " ".join(attributes.get("functional", "").upper().replace("-", " ").split())
    if functional and functional not in PBE:
        raise InputError(f"pseudos: {path} is for the functional {functional}; give one for PBE.")
    return str(attributes.get("pseudo_type", ""))


def write_espresso(
    structure: Structure, folder: Path, task: Task, pseudos: Pseudopotentials
) -> dict[str, Any]:
    """Write ``relax.in`` (vc-relax), or ``scf.in``, whose own bands on the denser grid give the gap.

    Returns:
        What belongs in the manifest: ``kpoints``, ``pseudopotentials``, ``hubbard_u`` (eV by element),
        ``starting_magnetization``.
    """
    from ase.io.espresso import write_espresso_in
    from pymatgen.io.ase import AseAtomsAdaptor

    grid = k_grid(structure, task)
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    magnetisation = [min(1.0, round(PER_MOMENT * moment, 3)) for moment in starting_moments(structure)]
    if magnetisation:
        atoms.set_initial_magnetic_moments(magnetisation)
    values = hubbard_u(structure)
    folder.mkdir(parents=True, exist_ok=True)
    name, calculation = INPUTS[task]
    with (folder / name).open("w", encoding="utf-8") as file:
        write_espresso_in(
            file,
            atoms,
            input_data=_namelists(calculation, len(atoms), pseudos, polarised=bool(magnetisation)),
            pseudopotentials=pseudos.files,
            kpts=grid,
            crystal_coordinates=True,
            additional_cards=_hubbard(values),
        )
    symbols = list(atoms.symbols)
    return {
        "kpoints": list(grid),
        "pseudopotentials": {symbol: pseudos.files[symbol] for symbol in sorted(set(symbols))},
        "hubbard_u": values,
        "starting_magnetization": dict(zip(symbols, magnetisation, strict=True)) if magnetisation else {},
        "notes": [NEEDS_7_1] if values else [],
    }


def _hubbard(values: dict[str, float]) -> list[str]:
    """Return the card of +U."""
    lines = [f"U {orbital(symbol)} {value:g}" for symbol, value in values.items()]
    return ["HUBBARD {ortho-atomic}", *lines] if lines else []


def _namelists(
    calculation: str, n_atoms: int, pseudos: Pseudopotentials, *, polarised: bool
) -> dict[str, Any]:
    wavefunctions, density = pseudos.cutoffs
    control: dict[str, Any] = {
        "calculation": calculation,
        "prefix": "pwscf",
        "outdir": "./out",
        "pseudo_dir": pseudos.folder,
        "verbosity": "high",  # prints all eigenvalues, from which the gap is read
        "tprnfor": True,
        "tstress": True,
    }
    if calculation == "vc-relax":
        control |= {"etot_conv_thr": 1e-5 * n_atoms, "forc_conv_thr": 1e-4, "nstep": 100}
    lists: dict[str, dict[str, Any]] = {
        "control": control,
        "system": {
            "ecutwfc": wavefunctions,
            "ecutrho": density,
            "occupations": "smearing",
            "smearing": "gaussian",
            "degauss": DEGAUSS,
            **({"nspin": 2} if polarised else {}),
        },
        "electrons": {"conv_thr": 1e-10 * n_atoms, "mixing_beta": 0.4, "electron_maxstep": 200},
    }
    if calculation == "vc-relax":
        lists |= {"ions": {"ion_dynamics": "bfgs"}, "cell": {"cell_dynamics": "bfgs", "press_conv_thr": 0.1}}
    return lists


def settings(pseudos: Pseudopotentials) -> dict[str, Any]:
    """Return the settings common to all folders."""
    wavefunctions, density = pseudos.cutoffs
    note = (
        "found and checked: element and functional"
        if pseudos.checked
        else "names to be filled in: not checked"
    )
    return {
        "functional": FUNCTIONAL,
        "projectors": PROJECTORS,
        "ecutwfc_ry": wavefunctions,
        "ecutrho_ry": density,
        "cutoff_note": "generous, for all candidates alike; test convergence before lowering",
        "smearing": f"gaussian, {DEGAUSS} Ry",
        "pseudopotentials": note,
        "pseudo_dir": pseudos.folder,
        "energy_scale": "its own: compare only with elements computed with the same files and settings",
    }
