"""CIF text in and out; the layout that pymatgen writes without symmetry is read 20 times faster."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure


TOLERANCES = (0.1, 0.03, 0.01, 0.001)  # Å, of the symmetry written; the first that gives one
EXACT = 1e-3  # Å, of a cell whose atoms have been moved onto their positions

# what pymatgen's and our data sets' P1 files have between the cell and the atoms, word for word
_P1_SITES = """loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1  'x, y, z'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
"""
_CELL = (
    *("_cell_length_a", "_cell_length_b", "_cell_length_c"),
    *("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma"),
)
_BLOCK = re.compile(r"^[ \t]*data_", re.MULTILINE | re.IGNORECASE)
_SNAP = 1e-4  # pymatgen's tolerance for thirds
HEAVY_HYDROGEN = {"D", "T"}  # neutron studies write it as an element of its own
# what pymatgen raises on text that is not what it should be
UNREADABLE = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
)


def read_cif(text: str, where: str) -> Iterator[tuple[str, Structure]]:
    """Structures of a CIF's data blocks, as (block name, structure).

    Args:
        text: the CIF.
        where: the file or table row, for error messages.

    Raises:
        InputError: no data block with atoms, a block that cannot be read, a disordered or empty crystal.
    """
    for name, block in cif_blocks(text, where):
        yield name, read_block(block, where)


def cif_blocks(text: str, where: str) -> list[tuple[str, str]]:
    """Names and texts of a CIF's data blocks with atoms.

    Raises:
        InputError: there is none.
    """
    blocks = [block for block in _BLOCK.split(text)[1:] if "_atom_site" in block]
    if not blocks:
        raise InputError(f"{where}: no CIF data block with atoms was found; give a complete CIF.")
    return [(block.split(maxsplit=1)[0], block) for block in blocks]


def read_block(block: str, where: str) -> Structure:
    """Return the crystal of one data block.

    Raises:
        InputError: it cannot be read, is disordered or empty.
    """
    return _fast(block) or checked(_slow(block, where), where)


def _fast(block: str) -> Structure | None:
    """Return the structure of a sound block in pymatgen's P1 layout; None sends it to the full parser."""
    from pymatgen.core import Lattice, Structure

    head, found, tail = block.partition(_P1_SITES)
    if not found or "P 1'" not in head:
        return None
    words = tail.split()
    lines = tail.strip().count("\n") + 1
    symbols = words[0::7]
    if len(words) != 7 * lines or set(words[6::7]) - {"1", "1.0"} or not set(symbols) <= ATOMIC_NUMBER.keys():
        return None
    cell = dict(line.split(maxsplit=1) for line in head.splitlines() if line.startswith("_cell_"))
    try:
        parameters = [float(cell[name]) for name in _CELL]
        coordinates = np.array([words[3::7], words[4::7], words[5::7]], dtype=float).T
    except (KeyError, ValueError):
        return None
    for third in (1 / 3, 2 / 3):
        coordinates[np.abs(coordinates / third - 1) <= _SNAP] = third
    lattice = Lattice.from_parameters(*parameters)
    if not (symbols and _has_volume(lattice.matrix) and np.isfinite(coordinates).all()):
        return None
    return Structure(lattice, symbols, coordinates)


def _has_volume(matrix: np.ndarray) -> bool:
    return bool(np.isfinite(matrix).all() and abs(np.linalg.det(matrix)) > 0.1)


def _slow(block: str, where: str) -> Structure:
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser = CifParser.from_str("data_" + block)
            return parser.parse_structures(primitive=False, on_error="raise")[0]
        except UNREADABLE as error:
            reason = " ".join(str(error).split()).replace("No structure parsed for section 1 in CIF. ", "")
            raise InputError(
                f"{where}: the CIF cannot be read ({reason[:200]}); give a complete, ordered crystal."
            ) from error


def checked(structure: Structure, where: str) -> Structure:
    """Return the structure, plain elements on its sites, once it is known to be an ordered crystal.

    Raises:
        InputError: no atoms, a partly or mixedly occupied site, a site that is no element, no volume.
    """
    from pymatgen.core import Species

    if len(structure) == 0:
        raise InputError(f"{where}: the structure has no atoms; give a crystal.")
    symbols = set()
    for number, site in enumerate(structure, start=1):
        if not site.is_ordered:
            position = ", ".join(f"{x:.4g}" for x in site.frac_coords)
            raise InputError(
                f"{where}: site {number} ({site.species_string} at {position}) is disordered; "
                "give an ordered structure."
            )
        symbols.add(site.specie.symbol)
    unknown = symbols - ATOMIC_NUMBER.keys() - HEAVY_HYDROGEN
    if unknown:
        raise InputError(
            f"{where}: {', '.join(sorted(unknown))} is no element up to Lr; name each site's element."
        )
    if not _has_volume(structure.lattice.matrix):
        raise InputError(f"{where}: the unit cell has no volume; give three independent cell vectors in Å.")
    if not np.isfinite(structure.frac_coords).all():
        raise InputError(f"{where}: an atom's coordinates are not numbers; give finite ones.")
    if any(isinstance(species, Species) for species in structure.types_of_specie):
        structure.remove_oxidation_states()
    if symbols & HEAVY_HYDROGEN:
        structure.replace_species(dict.fromkeys(symbols & HEAVY_HYDROGEN, "H"))
    return structure


def write_cif(structure: Structure, path: Path, *, symmetrised: bool) -> None:
    """Write one structure as CIF.

    Args:
        structure: the crystal.
        path: the file; replaced whole, never left half written.
        symmetrised: conventional cell with its space group (tolerance 0.1 Å, finer where that fails);
            False writes the cell as it is, in P1.
    """
    from pymatgen.io.cif import CifWriter

    text = _symmetrised(structure) if symmetrised else str(CifWriter(structure))
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _symmetrised(structure: Structure) -> str:
    """CIF of the conventional cell, its atoms moved onto their positions; P1 where no symmetry is found.

    spglib alone, at 0.1 Å, gives crystals at the edge of the tolerance operations that are no group.
    """
    import moyopy
    from pymatgen.core import Lattice, Structure
    from pymatgen.io.cif import CifWriter
    from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), list(structure.atomic_numbers)
    )
    for tolerance in TOLERANCES:
        try:
            standard = moyopy.MoyoDataset(cell, symprec=tolerance, setting=moyopy.Setting.standard()).std_cell
            species = [SYMBOLS[number] for number in standard.numbers]
            exact = Structure(Lattice(standard.basis), species, standard.positions)
            return str(CifWriter(exact, symprec=EXACT))
        except (ValueError, SymmetryUndeterminedError):
            continue
    return str(CifWriter(structure))
