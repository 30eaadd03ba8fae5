"""Elk inputs: all electrons, no pseudopotential or setup at all; an independent check of a gap.

Not spin-polarised and without +U, so crystals that need either are refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.gpaw.job import PATH_DENSITY
from invdesign.dft.codes.hubbard import hubbard_u
from invdesign.dft.codes.kpoints import Task, k_grid
from invdesign.dft.codes.magmoms import starting_moments

if TYPE_CHECKING:
    from pymatgen.core import Structure

SPECIES = "/usr/share/elk-lapw/species/"  # of Debian's elk-lapw
COMMAND, INPUT = "elk-lapw", "elk.in"
RGKMAX = 7.0  # smallest muffin-tin radius times the largest plane wave; 8 with highq moves MgO's gap by 4 meV
EMPTY = 8  # bands per atom
SMEARING = 0.001  # Hartree, Fermi-Dirac
PBE = 20
GROUND_STATE, BANDS = 0, 20  # Elk's numbers of its tasks
_TEMPLATE = """! written by invdesign; sppath is where this machine's Elk keeps its species
tasks
{tasks}

xctype
  {xc}

rgkmax
  {rgkmax}

nempty
  {empty}

stype
  3

swidth
  {width}

scale
  1.8897261246

avec
{cell}

sppath
  '{species}'

atoms
{atoms}

ngridk
  {grid}
"""


def unsupported_reason(structure: Structure) -> str | None:
    """Return why Elk cannot compute a crystal, as a clause; None where it can."""
    if values := hubbard_u(structure):
        return f"it needs +U on {', '.join(values)}, which is not written for Elk; use vasp, espresso or gpaw"
    if starting_moments(structure):
        return "it needs spin, which is not written for Elk; use vasp, espresso or gpaw"
    return None


def write_elk(structure: Structure, folder: Path, task: Task) -> dict[str, Any]:
    """Write ``elk.in`` and, for whoever reads the results, ``structure.vasp``.

    Args:
        structure: primitive cell that needs neither spin nor +U.
        folder: made if not there.
        task: ``static``, or ``gap`` (also along the path between special points).

    Returns:
        What belongs in the manifest: ``kpoints``, ``path`` (special points).
    """
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.io.vasp import Poscar

    grid = k_grid(structure, task)
    tasks, path = [GROUND_STATE], None
    if task == "gap":
        path = AseAtomsAdaptor.get_atoms(structure, msonable=False).cell.bandpath(density=PATH_DENSITY)
        tasks.append(BANDS)
    text = _TEMPLATE.format(
        tasks="\n".join(f"  {number}" for number in tasks),
        xc=PBE,
        rgkmax=RGKMAX,
        empty=EMPTY,
        width=SMEARING,
        cell="\n".join("  " + "  ".join(f"{x:.12f}" for x in axis) for axis in structure.lattice.matrix),
        species=SPECIES,
        atoms=_atoms(structure),
        grid="  ".join(map(str, grid)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INPUT).write_text(text + (_plot(path) if path else ""), encoding="utf-8")
    Poscar(structure).write_file(folder / "structure.vasp", significant_figures=16)
    return {"kpoints": list(grid), "path": path.path if path else None, "hubbard_u": {}}


def _atoms(structure: Structure) -> str:
    symbols = list(dict.fromkeys(site.specie.symbol for site in structure))
    lines = [f"  {len(symbols)}"]
    for symbol in symbols:
        sites = [site for site in structure if site.specie.symbol == symbol]
        lines += [f"  '{symbol}.in'", f"  {len(sites)}"]
        lines += [f"  {site.a:.12f} {site.b:.12f} {site.c:.12f}  0.0 0.0 0.0" for site in sites]
    return "\n".join(lines)


def _plot(path: Any) -> str:  # noqa: ANN401 - ASE's BandPath
    """Return the path through the special points, continuous even where ASE's jumps."""
    points = [path.special_points[name] for name in _names(path.path)]
    vertices = "\n".join("  " + "  ".join(f"{x:.9f}" for x in point) for point in points)
    return f"\nplot1d\n  {len(points)} {len(path.kpts)}\n{vertices}\n"


def _names(path: str) -> list[str]:
    from ase.dft.kpoints import parse_path_string

    return [name for part in parse_path_string(path) for name in part]


def settings() -> dict[str, Any]:
    """Return the settings common to all folders."""
    return {
        "functional": "PBE, no +U",
        "rgkmax": RGKMAX,
        "smearing": f"Fermi-Dirac, {SMEARING} Hartree",
        "species": SPECIES,
        "energy_scale": "its own: compare only at the same muffin-tin radii",
    }
