"""CIF text in and out; the layout that pymatgen writes without symmetry is read 20 times faster."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import ATOMIC_NUMBER, SYMBOLS
from invdesign.crystal.readers import cif_block
from invdesign.crystal.readers.cif_content import CELL, check_content, number_of, snap_thirds
from invdesign.crystal.soundness import check_geometry
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
_P1_NAMES = {
    *(*CELL, "symmetry_space_group_name_h-m", "symmetry_int_tables_number"),
    *("chemical_formula_structural", "chemical_formula_sum", "cell_volume", "cell_formula_units_z"),
}
# a text field, which may hold anything, or the heading of a block
_BLOCK = re.compile(r"^;.*?^;|^[ \t]*data_(\S*)", re.MULTILINE | re.IGNORECASE | re.DOTALL)
_TEXT = re.compile(r"^;.*?^;", re.MULTILINE | re.DOTALL)
_ATOMS = re.compile(r"_atom_site[_.](?:label|type_symbol|fract|cartn)", re.IGNORECASE)


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
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    headings = [match for match in _BLOCK.finditer(text) if match[1] is not None]
    ends = [*(match.start() for match in headings), len(text)][1:]
    blocks = [
        (heading[1], block)
        for heading, end in zip(headings, ends, strict=True)
        if _has_atoms(block := text[heading.start(1) : end])
    ]
    if not blocks:
        raise InputError(f"{where}: no CIF data block with atoms was found; give a complete CIF.")
    return blocks


def _has_atoms(block: str) -> bool:
    return bool(_ATOMS.search(_TEXT.sub("", block) if "\n;" in block else block))


def read_block(block: str, where: str) -> Structure:
    """Return the crystal of one data block, given without its ``data_``.

    Raises:
        InputError: it cannot be read, is disordered or empty, or contradicts itself.
    """
    return _fast(block, where) or cif_block.read("data_" + block, where)


def _fast(block: str, where: str) -> Structure | None:
    """Return the structure of a block in pymatgen's P1 layout; None sends it to the full reader."""
    head, found, tail = block.partition(_P1_SITES)
    if not found:
        return None
    lines = [line.split(None, 1) for line in head.splitlines()[1:]]
    if not all(len(line) == 2 for line in lines):
        return None
    stated = {name[1:].lower(): value.strip().strip("'") for name, value in lines}
    symbol, number = (
        stated.get("symmetry_space_group_name_h-m"),
        stated.get("symmetry_int_tables_number", "1"),
    )
    if len(stated) != len(lines) or not stated.keys() <= _P1_NAMES or (symbol, number) != ("P 1", "1"):
        return None
    words = tail.split()
    rows = tail.strip().count("\n") + 1
    symbols = words[0::7]
    if len(words) != 7 * rows or set(words[6::7]) - {"1", "1.0"} or not set(symbols) <= ATOMIC_NUMBER.keys():
        return None
    parameters = [number_of(stated.get(name)) or 0 for name in CELL]
    if "_" in tail or not (min(parameters) > 0 and max(parameters[3:]) < 180):
        return None
    try:
        positions = snap_thirds(np.array([list(map(float, words[axis::7])) for axis in (3, 4, 5)]).T)
        structure = cif_block.structure_of(parameters, symbols, positions)
    except (ValueError, ArithmeticError):
        return None
    volume = check_geometry(structure.lattice.matrix, positions, where)
    check_content(stated, Counter(symbols), volume, where)
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
