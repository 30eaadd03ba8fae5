"""CIFs as people have them: spelled in many ways, and refused where they contradict themselves."""

from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import numpy as np
import pytest
from hangs import no_hang
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from invdesign.crystal.cif import read_cif
from invdesign.crystal.readers.cif_content import element_of_label, element_of_type, names_two_elements
from invdesign.crystal.structure_files import read_entries, read_structures
from invdesign.errors import InputError

SITE = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")


def cif(
    cell: str,
    symmetry: str,
    rows: str,
    columns: tuple[str, ...] = SITE,
    more: str = "",
) -> str:
    """A CIF: cell as ``a b c alpha beta gamma``, symmetry as a symbol or as whole lines, rows by ``;``."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    parameters = "\n".join(f"_cell_{n} {x}" for n, x in zip(names, cell.split(), strict=True))
    group = symmetry if "_" in symmetry else f"_symmetry_space_group_name_H-M '{symmetry}'"
    loop = "\n".join(["loop_", *(f"_atom_site_{name}" for name in columns)])
    sites = "\n".join(row.strip() for row in rows.split(";"))
    return f"data_x\n{more}\n{parameters}\n{group if symmetry else ''}\n{loop}\n{sites}\n"


def only(text: str) -> Structure:
    ((_, structure),) = read_cif(text, "x.cif")
    return structure


def shortest(structure: Structure) -> float:
    return float(structure.get_neighbor_list(4.0, exclude_self=True)[3].min())


CUBIC = "4.2 4.2 4.2 90 90 90"
HEXAGONAL = "3.25 3.25 5.207 90 90 120"
MGO_ROWS = "Mg1 Mg 0 0 0 1; O1 O 0.5 0.5 0.5 1"
MGO = cif(CUBIC, "F m -3 m", MGO_ROWS)
ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5] * 3])


def is_mgo(structure: Structure) -> bool:
    return structure.composition.formula == "Mg4 O4" and shortest(structure) == pytest.approx(2.1)


@pytest.mark.parametrize(
    "text",
    [
        MGO,
        MGO.replace("data_x\n", "data_x\n_publ_text\n; we tell\ndata_of and _atom_site_label\nloop_\n;\n"),
        MGO.replace("\n", "\r\n"),
        MGO.replace("\n", "\r"),
        MGO.replace("4.2 ", "4.200(3) ").replace("_length_a 4.2", "_length_a 4.2(1)"),
        MGO.replace("_cell_length_a", "_CELL_LENGTH_A").replace("data_x", "DATA_x"),
        MGO.replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site."),
        "global_\n_audit 'x'\n" + MGO,
        "# a comment\n" + MGO + "# another, by Müller − 2020\n",
        MGO.replace("data_x", "data_x\n_author Müller"),
        MGO.replace("_cell_angle_beta 90\n", ""),
        MGO.replace("F m -3 m", "F m 3 m"),
        MGO.replace("F m -3 m", "FM-3M"),
        MGO.replace("F m -3 m", "F 4/m -3 2/m"),
        MGO.replace("_symmetry_space_group_name_H-M 'F m -3 m'", "_space_group_name_Hall '-F 4 2 3'"),
        MGO.replace("_symmetry_space_group_name_H-M 'F m -3 m'", "_space_group_IT_number 225"),
        cif(CUBIC, "F m -3 m", "Mg1 Mg2+ 0 0 0 .; O1 O-2 1/2 0.50(1) 5E-1 ?"),
        cif(CUBIC, "F m -3 m", "MG1 MG 0 0 0 0.9999; O1 O 0.5 0.5 0.5 1.0(0)"),
        cif(CUBIC, "F m -3 m", "X1 Mg 0 0 0 1; X2 O 0.5 0.5 0.5 1; X3 Va 0.25 0.25 0.25 0"),
        cif(CUBIC, "F m -3 m", "O1 0.5 0.5 0.5; Mg1 0 0 0", ("label", "fract_x", "fract_y", "fract_z")),
        cif(CUBIC, "F m -3 m", "0 0 0 MG; 0.5 0.5 0.5 O2A", ("fract_x", "fract_y", "fract_z", "label")),
        cif(
            CUBIC,
            "F m -3 m",
            "Mg1 Mg 0 0 0 1 .; O1 O 0.5 0.5 0.5 1 d; Cg1 Cg 0.1 0.2 0.3 1 dum",
            (*SITE, "calc_flag"),
        ),
    ],
    ids=range(22),
)
def test_spellings_of_one_crystal(text: str) -> None:
    assert is_mgo(only(text))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_encodings(tmp_path: Path, encoding: str, zipped: bool) -> None:
    data = MGO.replace("data_x", "data_x\n_publ_author_name 'Müller, K.'").encode(encoding)
    path = tmp_path / ("a.cif.gz" if zipped else "a.cif")
    path.write_bytes(gzip.compress(data) if zipped else data)
    ((_, structure),) = read_structures(path)
    assert is_mgo(structure)


def test_several_blocks_each_for_itself(tmp_path: Path) -> None:
    broken = MGO.replace("data_x", "data_broken").replace("_cell_length_a 4.2", "_cell_length_a 'four")
    other = MGO.replace("data_x", "data_other")
    (tmp_path / "a.cif").write_text("data_global\n_journal_name 'x'\n" + MGO + broken + other)
    first, second, third = read_entries(tmp_path / "a.cif")
    assert (first.label, second.label, third.label) == ("a:x", "a:broken", "a:other")
    assert is_mgo(first.structure)
    assert is_mgo(third.structure)
    assert "cannot be read" in second.reason


@pytest.mark.parametrize("digits", [2, 3, 4, 5, 8])
def test_rounded_coordinates_lie_on_their_special_positions(digits: int) -> None:
    third, two_thirds = f"{1 / 3:.{digits}f}", f"{2 / 3:.{digits}f}"
    rows = f"Zn1 Zn {third} {two_thirds} 0 1; O1 O {third} {two_thirds} 0.382 1"
    structure = only(cif(HEXAGONAL, "P 63 m c", rows))
    assert structure.composition.formula == "Zn2 O2"
    assert shortest(structure) == pytest.approx(1.974, abs=2e-3)
    assert structure.get_space_group_info(symprec=1e-4)[1] == 186


def test_sixths_and_truncated_digits_too() -> None:
    kagome = cif(
        "7 7 7 90 90 120", "P 6/m m m", "Fe1 Fe 0.166 0.333 0.5 1", more="_chemical_formula_sum 'Fe6'"
    )
    assert len(only(kagome)) == 6


@pytest.mark.parametrize(
    ("off", "images"), [("0.005", 1), ("0.0031", 1), ("0.3333", 6), ("0.02", None), ("0.018", None)]
)
def test_images_are_merged_as_far_as_rounding_explains(off: str, images: int | None) -> None:
    text = cif("5.6 5.6 5.6 90 90 90", "F m -3 m", f"Na1 Na {off} 0 0 1; Cl1 Cl 0.5 0.5 0.5 1")
    if images:
        assert only(text).composition["Na"] == 4 * images
    else:
        with pytest.raises(InputError, match="Å apart"):
            only(text)


@pytest.mark.parametrize("digits", [3, 5])
def test_all_atoms_of_the_cell_listed_with_the_symmetry(digits: int) -> None:
    zinc, oxygen = ((1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0.5)), ((1 / 3, 2 / 3, 0.382), (2 / 3, 1 / 3, 0.882))
    rows = [
        f"{element}{i} {element} " + " ".join(f"{x:.{digits}f}" for x in place) + " 1"
        for element, places in (("Zn", zinc), ("O", oxygen))
        for i, place in enumerate(places)
    ]
    assert only(cif(HEXAGONAL, "P 63 m c", ";".join(rows))).composition.formula == "Zn2 O2"
    for wrong in ([*rows[:3]], [*rows, rows[0]], [rows[0], rows[0], *rows[2:]]):
        with pytest.raises(InputError, match=r"0.00\d Å apart"):
            only(cif(HEXAGONAL, "P 63 m c", ";".join(wrong)))


@pytest.mark.parametrize("symbol", ["R -3 m :R", "R-3m:R", "R -3 m R", "R -3 2/m", "R -3 m"])
def test_rhombohedral_axes_by_suffix_or_cell(symbol: str) -> None:
    structure = only(cif("4.746 4.746 4.746 57.23 57.23 57.23", symbol, "Bi1 Bi 0.234 0.234 0.234 1"))
    assert len(structure) == 2
    assert shortest(structure) == pytest.approx(3.07, abs=0.01)
    hexagonal = only(
        cif(
            "4.546 4.546 11.862 90 90 120",
            symbol.split(":", maxsplit=1)[0].removesuffix(" R"),
            "Bi1 Bi 0 0 0.234 1",
        )
    )
    assert len(hexagonal) == 6


@pytest.mark.parametrize("symbol", ["F d -3 m Z", "Fd-3m:2", "F d -3 m", "F 41/d -3 2/m", "F d 3 m O2"])
def test_origin_choice_by_suffix_or_by_what_the_crystal_can_be(symbol: str) -> None:
    silicon = only(cif("5.43 5.43 5.43 90 90 90", symbol, "Si1 Si 0.125 0.125 0.125 1"))
    assert len(silicon) == 8
    assert shortest(silicon) == pytest.approx(2.351, abs=1e-3)


@pytest.mark.parametrize(
    "more",
    [
        "_chemical_formula_sum 'Mg2 Ge O4'",
        "_chemical_formula_structural 'Mg2 (Ge O4)'",
        "_exptl_crystal_density_diffrn 4.38\n_chemical_formula_sum 'Ge Mg2 O4'\n_cell_formula_units_Z 8",
    ],
)
def test_origin_choice_by_what_the_cif_says(more: str) -> None:
    spinel = "Mg1 Mg 0.5 0.5 0.5 1; Ge1 Ge 0.125 0.125 0.125 1; O1 O 0.2509 0.2509 0.2509 1"
    structure = only(cif("8.25 8.25 8.25 90 90 90", "F d -3 m", spinel, more=more))
    assert structure.composition.formula == "Mg16 Ge8 O32"
    assert shortest(structure) == pytest.approx(1.799, abs=1e-3)
    with pytest.raises(InputError, match="can be F d -3 m:1 and F d -3 m:2"):
        only(cif("8.25 8.25 8.25 90 90 90", "F d -3 m", spinel))


def test_origin_choice_by_the_multiplicities() -> None:
    spinel = "Mg1 Mg 0.5 0.5 0.5 1 16; Ge1 Ge 0.125 0.125 0.125 1 8; O1 O 0.2509 0.2509 0.2509 1 32"
    text = cif("8.25 8.25 8.25 90 90 90", "F d -3 m", spinel, (*SITE, "symmetry_multiplicity"))
    assert only(text).composition.formula == "Mg16 Ge8 O32"


def test_unique_axis_by_the_cell() -> None:
    sites = "Li1 Li 0.1 0.2 0.3 1; F1 F 0.4 0.3 0.7 1"
    for cell, kept in (("5 6 7 90 100 90", 1), ("5 6 7 90 90 100", 2), ("5 6 7 100 90 90", 0)):
        structure = only(cif(cell, "P 21", sites))
        moved = (structure[1].frac_coords - structure[0].frac_coords) % 1
        assert len(structure) == 4
        assert moved[kept] == pytest.approx(0.5)


MAGNETIC = """loop_
_space_group_symop_magn_operation.id
_space_group_symop_magn_operation.xyz
1 x,y,z,+1
2 -x,-y,-z,-1
loop_
_space_group_symop_magn_centering.id
_space_group_symop_magn_centering.xyz
1 x,y,z,+1
2 x+1/2,y+1/2,z+1/2,-1
_parent_space_group.name_H-M_alt 'I m -3 m'"""


def test_magnetic_cifs_give_their_atoms() -> None:
    text = cif("4 5 6 90 90 90", MAGNETIC, "Mn1 Mn 0 0 0 1; O1 O 0.1 0.2 0.3 1")
    assert only(text).composition.formula == "Mn2 O4"
    modulated = text.replace("data_x", "data_x\n_cell_modulation_dimension 1")
    with pytest.raises(InputError, match="modulated"):
        only(modulated)


def test_isotopes_and_valences_that_share_a_site_are_one_element() -> None:
    rows = "Li1 Li 0 0 0 1; D1 D 0.5 0.5 0.5 0.97; H1 H 0.5 0.5 0.5 0.03"
    assert only(cif(CUBIC, "F m -3 m", rows)).composition.formula == "Li4 H4"
    rows = "Fe1 Fe2+ 0 0 0 0.333; Fe2 Fe3+ 0 0 0 0.667; O1 O2- 0.5 0.5 0.5 1"
    assert only(cif(CUBIC, "F m -3 m", rows)).composition.formula == "Fe4 O4"


@pytest.mark.parametrize(
    "symbol", ["F m -3 m (225)", "Fm-3m (No. 225)", "Fm-3m #225", "F m -3 m no. 225", "Fm3m(225)"]
)
def test_symbols_with_their_number(symbol: str) -> None:
    assert is_mgo(only(cif(CUBIC, symbol, MGO_ROWS)))


@pytest.mark.parametrize("symbol", ["H -3 m", "R -3 m HR", "R -3 m HS", "H-3m"])
def test_hexagonal_axes_by_older_marks(symbol: str) -> None:
    assert len(only(cif("4.546 4.546 11.862 90 90 120", symbol, "Bi1 Bi 0 0 0.234 1"))) == 6


@pytest.mark.parametrize("multiplicities", ["4 4", "1 1", "48 48", ". ."])
def test_multiplicities_of_several_kinds(multiplicities: str) -> None:
    one, other = multiplicities.split()
    rows = f"Mg1 Mg 0 0 0 1 {one}; O1 O .5 .5 .5 1 {other}"
    assert is_mgo(only(cif(CUBIC, "F m -3 m", rows, (*SITE, "symmetry_multiplicity"))))


def test_operators_with_two_digits() -> None:
    operators = "x,y,z; -y,x-y,0.67+z; -x+y,-x,z+.33; y,x,-z; x-y,-y,0.33-z; -x,-x+y,-z+0.67"
    loop = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "\n".join(
        f"'{one.strip()}'" for one in operators.split(";")
    )
    sites = "Si1 Si 0.4697 0 0.66667 1; O2 O 0.4135 0.2669 0.78577 1"
    quartz = only(cif("4.914 4.914 5.405 90 90 120", loop, sites))
    assert quartz.composition.formula == "Si3 O6"


def test_density_of_a_deuteride_counts_deuterium() -> None:
    rows = "Li1 Li 0 0 0 1; D1 D 0.5 0.5 0.5 1"
    deuteride = only(
        cif("4.07 4.07 4.07 90 90 90", "F m -3 m", rows, more="_exptl_crystal_density_diffrn 0.884")
    )
    assert deuteride.composition.formula == "Li4 H4"


P1 = str(CifWriter(ROCK_SALT))
REFUSED = {
    "formula": (MGO.replace("data_x", "data_x\n_chemical_formula_sum 'Mg O2'"), "Mg4 O4.*'Mg O2'"),
    "element": (
        cif(
            CUBIC,
            "F m -3 m",
            "Mg1 0 0 0; Os .5 .5 .5",
            ("label", "fract_x", "fract_y", "fract_z"),
            "_chemical_formula_sum 'Mg O'",
        ),
        "Mg4 Os4.*'Mg O'",
    ),
    "hydrogen": (
        cif(
            "3.142 3.142 4.766 90 90 120",
            "P -3 m 1",
            "Mg 0 0 0; OH 0.3333 0.6667 0.2203",
            ("label", "fract_x", "fract_y", "fract_z"),
            "_chemical_formula_sum 'H2 Mg O2'",
        ),
        "Mg1 O2.*'H2 Mg O2'",
    ),
    "brackets": (
        MGO.replace("data_x", "data_x\n_chemical_formula_structural 'Mg (O H)2'"),
        r"Mg4 O4.*\(O H\)",
    ),
    "units": (MGO.replace("data_x", "data_x\n_chemical_formula_sum MgO\n_cell_formula_units_Z 8"), "Z is 8"),
    "units alone": (MGO.replace("data_x", "data_x\n_cell_formula_units_Z 8"), "Z is 8"),
    "p1 formula": (P1.replace("'Mg4 O4'", "'Mg4 O5'"), "Mg4 O4.*'Mg4 O5'"),
    "p1 volume": (P1.replace("_cell_volume   74.088", "_cell_volume   70.1"), "74.09 Å³.*70.1"),
    "p1 twice": (P1.replace("_cell_length_b", "_cell_length_a   5\n_cell_length_b"), "duplicate tag"),
    "p1 number": (P1.replace("Tables_number   1", "Tables_number   225"), "the number 225"),
    "p1 digits": (P1.replace("0.50000000", "0.5_000000"), "0.5_000000"),
    "p1 units": (P1.replace("_cell_formula_units_Z   4", "_cell_formula_units_Z   3"), "Z is 3"),
    "volume": (MGO.replace("data_x", "data_x\n_cell_volume 70.1(2)"), "74.09 Å³.*70.1"),
    "density": (MGO.replace("data_x", "data_x\n_exptl_crystal_density_diffrn 1.79"), "3.61 g/cm³.*1.79"),
    "cubic": (MGO.replace("_cell_length_b 4.2", "_cell_length_b 4.3"), r"4.2, 4.3, 4.2 Å.*F m -3 m \(225\)"),
    "hexagonal": (cif(CUBIC, "P 63 m c", "Zn1 Zn 0.33333 0.66667 0 1"), r"P 63 m c \(186\)"),
    "primitive": (cif("2.97 2.97 2.97 60 60 60", "F m -3 m", MGO_ROWS), "60, 60, 60°.*F m -3 m"),
    "number": (MGO.replace("data_x", "data_x\n_symmetry_Int_Tables_number 221"), "F m -3 m.*221"),
    "operators": (
        MGO.replace("loop_", "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z\nloop_"),
        r"operators \(2\).*P -1 \(2\).*'F m -3 m'",
    ),
    "origin": (
        cif(CUBIC, "P 4/n m m :1", "Mg1 Mg 0 0 0 1", more="_space_group_name_Hall '-P 4a 2a'"),
        "Hall.*P 4/n m m",
    ),
    "not closed": (
        cif(CUBIC, "loop_\n_space_group_symop_operation_xyz\nx,y,z\n-y,x,z", MGO_ROWS),
        "not the whole",
    ),
    "infinite": (
        cif(CUBIC, "loop_\n_space_group_symop_operation_xyz\nx,y,z\nx+y,y,z", MGO_ROWS),
        "not the whole",
    ),
    "operator": (
        cif(CUBIC, "loop_\n_space_group_symop_operation_xyz\nx,y,z\nx,y,w", MGO_ROWS),
        "'x,y,w' is no symm",
    ),
    "symbol": (MGO.replace("F m -3 m", "F q -3 m"), "'F q -3 m' is not known"),
    "hall": (cif(CUBIC, "_space_group_name_Hall 'xx'", MGO_ROWS), "Hall symbol 'xx' is not known"),
    "number in words": (cif(CUBIC, "_space_group_IT_number 'No. 225'", MGO_ROWS), "it_number is 'No. 225'"),
    "schoenflies": (cif(CUBIC, "_space_group_name_Schoenflies Oh^5", MGO_ROWS), "'Oh.5', but no space group"),
    "magnetic symbol": (cif(CUBIC, '_space_group_magn.name_BNS "F m\' -3 m"', MGO_ROWS), "name_bns is"),
    "multiplicity": (
        cif(CUBIC, "", "Mg1 Mg 0 0 0 1 4; O1 O .5 .5 .5 1 4", (*SITE, "symmetry_multiplicity")),
        "multiplicity is '4', but no space group",
    ),
    "two symbols": (
        MGO.replace("data_x", "data_x\n_space_group_name_H-M_alt 'P 1'"),
        "is 'F m -3 m' and 'P 1', which are two",
    ),
    "two settings": (
        cif("5 6 7 90 90 90", "P n m a", MGO_ROWS, more="_space_group_name_H-M_alt 'P b n m'"),
        "is 'P b n m' and 'P n m a', which are two",
    ),
    "hall's setting": (
        cif("5 6 7 90 90 90", "P n m a", MGO_ROWS, more="_space_group_name_Hall '-P 2c 2ab'"),
        r"'-P 2c 2ab' is P b n m \(62\), the symbol is 'P n m a'",
    ),
    "two lists": (
        cif(
            CUBIC,
            "loop_\n_space_group_symop_operation_xyz\nx,y,z\n-x,-y,-z\n"
            "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,z",
            MGO_ROWS,
        ),
        r"\(2\) is that of P 1 1 2 \(3\), the other \(2\) that of P -1 \(2\)",
    ),
    "multiplicities": (
        cif(CUBIC, "F m -3 m", "Mg1 Mg 0 0 0 1 4; O1 O .5 .5 .5 1 8", (*SITE, "symmetry_multiplicity")),
        r"site 2 \(O\) has the multiplicity 8, but 4 positions in F m -3 m",
    ),
    "wyckoff": (
        cif(CUBIC, "F m -3 m", "Mg1 Mg 0 0 0 1 4a; O1 O .5 .5 .5 1 8c", (*SITE, "Wyckoff_symbol")),
        "multiplicity 8, but 4",
    ),
    "stated number": (MGO.replace("F m -3 m", "F m -3 m (221)"), "not known"),
    "two numbers": (
        cif(CUBIC, "_space_group_IT_number 225\n_symmetry_Int_Tables_number 1", MGO_ROWS),
        "is '1' and '225'",
    ),
    "two cells": (MGO.replace("data_x", "data_x\n_cell.length_a 4.3"), "given twice, differently"),
    "p1 mirrored": (P1.replace("_cell_length_a   4.2", "_cell_length_a   -4.2"), "_cell_length_a is '-4.2"),
    "system": (cif(CUBIC, "_symmetry_cell_setting cubic", MGO_ROWS), "cubic, but has no space group"),
    "cartesian": (MGO.replace("fract_", "Cartn_"), "Cartesian"),
    "twice": (cif(CUBIC, "P 1", "Mg1 Mg 0 0 0 1; Mg2 Mg 0 0 0.001 1"), "0.004 Å apart"),
    "by symmetry twice": (cif(CUBIC, "F m -3 m", "Mg1 Mg 0 0 0 1; Mg2 Mg 0.5 0.5 0 1"), "0.000 Å apart"),
    "vast": (cif("400 400 400 90 90 90", "P 1", MGO_ROWS), "Å³ an atom"),
    "infinite cell": (MGO.replace("_cell_length_a 4.2", "_cell_length_a inf"), "_cell_length_a is 'inf'"),
    "overflow": (MGO.replace("_cell_length_a 4.2", "_cell_length_a 1e400"), "_cell_length_a is '1e400'"),
    "nan site": (MGO.replace("Mg1 Mg 0", "Mg1 Mg nan"), r"site 1 \(Mg1\).*nan"),
    "far site": (MGO.replace("Mg1 Mg 0", "Mg1 Mg 1e9"), r"site 1 \(Mg1\).*1e9"),
    "flat": (MGO.replace("_cell_angle_alpha 90", "_cell_angle_alpha 0"), "_cell_angle_alpha is '0'"),
    "no cell like it": (cif("4 5 6 30 40 120", "P 1", MGO_ROWS), "no volume"),
    "half": (cif(CUBIC, "F m -3 m", "Mg1 Mg 0 0 0 0.5; O1 O 0.5 0.5 0.5 1"), r"site 1 \(Mg:0.5 at 0, 0, 0\)"),
    "mixed": (cif(CUBIC, "F m -3 m", "Mg1 Mg 0 0 0 0.5; Ca1 Ca 0 0 0 0.5"), "Mg:0.5, Ca:0.5"),
    "split": (cif(CUBIC, "P 1", "Fe1 Fe 0 0 0 0.5; Fe2 Fe 0.02 0 0 0.5"), "site 1 .Fe:0.5"),
    "over": (
        cif(CUBIC, "F m -3 m", "Mg1 Mg 0 0 0 1.3; O1 O 0.5 0.5 0.5 1"),
        r"site 1 \(Mg1\) has occupancy '1.3'",
    ),
    "groups": (
        cif(CUBIC, "P 1", "Mg1 Mg 0 0 0 1 1; O1 O 0.5 0.5 0.5 1 2", (*SITE, "disorder_group")),
        "disorder groups",
    ),
    "attached": (
        cif(CUBIC, "P 1", "O1 O 0 0 0 1 2", (*SITE, "attached_hydrogens")),
        "hydrogen atoms attached",
    ),
    "no place": (cif(CUBIC, "P 1", "Mg1 Mg 0 0 0 1; H1 H ? ? ? 1"), r"site 2 \(H1\)"),
    "wat": (cif(CUBIC, "P 1", "Wat1 0 0 0", ("label", "fract_x", "fract_y", "fract_z")), "'Wat1' of site 1"),
    "group": (cif(CUBIC, "P 1", "x OH 0 0 0 1"), "type symbol 'OH'"),
    "cell text": (MGO.replace("_cell_length_a 4.2", "_cell_length_a ?"), "_cell_length_a is ''"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_contradictions_are_refused_with_both_values(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        only(text)
    assert str(caught.value).startswith("x.cif: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        cif(CUBIC, "loop_\n_space_group_symop_operation_xyz\n" + "x,y,z\n" * 5000, MGO_ROWS),
        cif(CUBIC, "F m -3 m", ";".join(f"H{i} H 0.1{i} 0.2 0.3 1" for i in range(20_000))),
        cif(CUBIC, "F m -3 m", ";".join(f"H{i} H 0 0 0 0.5" for i in range(2_000))),
        cif("9999 9999 0.0001 90 90 90", "P 1", MGO_ROWS),
        cif("100 100 0.05 90 90 90", "P 1", MGO_ROWS),
        MGO.replace("Mg1 Mg 0", "Mg1 Mg " + "9" * 100_000),
        MGO.replace("data_x", "data_x\n_chemical_formula_sum '" + "(" * 10_000 + "Mg" + ")" * 10_000 + "'"),
        MGO.replace("data_x", "data_x\n_a " + "[" * 100_000),
        "data_x\n" * 20_000 + MGO.replace("4.2", "?"),
        ";" * 100 + "\n;\n" * 20_001 + MGO.replace("4.2", "?"),
    ],
    ids=range(10),
)
def test_beyond_any_sense_ends_at_once(text: str) -> None:
    with no_hang(), contextlib.suppress(InputError):
        assert is_mgo(only(text))


@pytest.mark.parametrize("symprec", [None, 0.01])
def test_written_by_pymatgen_and_read_the_same(symprec: float | None) -> None:
    quartz = Structure.from_spacegroup(
        "P3_221", Lattice.hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 0], [0.4135, 0.2669, 0.1191]]
    )
    for structure in (ROCK_SALT, quartz):
        text = str(CifWriter(structure, symprec=symprec))
        mine, theirs = only(text), Structure.from_str(text, fmt="cif")
        assert np.array_equal(mine.lattice.matrix, theirs.lattice.matrix)
        if symprec is None:
            mine = mine.get_sorted_structure()
        assert mine.species == theirs.species
        assert np.allclose(mine.frac_coords, theirs.frac_coords, atol=1e-12)
        assert StructureMatcher().fit(mine, structure)


@pytest.mark.parametrize(
    ("symbol", "element"),
    [
        *(("Fe", "Fe"), ("FE", "Fe"), ("fe", "Fe"), ("Fe3+", "Fe"), ("Fe+3", "Fe"), ("Fe(III)", "Fe")),
        *(("Fe_3+", "Fe"), ("Fe1", "Fe"), ("O2-", "O"), ("O-2", "O"), ("2H", "H"), ("D", "D"), ("T", "T")),
        *(
            ("D1", "D"),
            ("Cval", "C"),
            ("Siva", "Si"),
            ("Va", None),
            ("OH", None),
            ("Wat", None),
            ("H2O", None),
            ("M1", None),
            ("Fe/Mn", None),
        ),
    ],
)
def test_type_symbols(symbol: str, element: str | None) -> None:
    assert element_of_type(symbol) == element


@pytest.mark.parametrize(
    ("label", "formula", "element"),
    [
        *(("Fe1", "", "Fe"), ("FE1", "", "Fe"), ("Na(1)", "", "Na"), ("O2A", "", "O"), ("D1", "", "D")),
        *(("CA1", "", "Ca"), ("CA1", "C H", "C"), ("NA1", "N C", "N"), ("Os", "Mg O", "Os")),
        *(
            ("OW1", "", None),
            ("OW1", "O H", "O"),
            ("SiT1", "Si O", "Si"),
            ("OH", "", None),
            ("O-H", "", None),
        ),
        *(("Wat", "", None), ("H2O", "", None), ("T1", "", None), ("M1", "Fe O", None), ("", "", None)),
    ],
)
def test_labels(label: str, formula: str, element: str | None) -> None:
    assert element_of_label(label, dict.fromkeys(formula.split(), 1.0)) == element


MIXED = """Si/Al1 Al,Si1 Fe|Ni1 Fe:Ni Ca(Sr)1 Mg.5Fe.5 Na(K) Si1Al Al&Si Al+Si1 Al_Si Al1-Si1 Mg0.5Fe0.5
K/Na FE/NI1 Na1K1 O/F1 N/O Na_K Fe1/Ni1 K0.5Na0.5 O.5F.5"""
PLAIN = """Fe1 FE1A O2A O(1) C1' H1N Ow HO1 CA O1_2 Al1_a O1B Fe(B) O(W) Fe2+ Fe3+1 O2- C1A H12 H1O1 Fe1N
Al1_B CA1 NA Fe_tet Cu_in O_w O1- Si-1 O-H SiT1 C10A Mo1 Fe1.2 Fe(1)A Fe_oct1"""


@pytest.mark.parametrize(("labels", "mixed"), [(MIXED, True), (PLAIN, False)])
def test_labels_of_mixed_sites(labels: str, mixed: bool) -> None:
    assert {label: names_two_elements(label) for label in labels.split()} == dict.fromkeys(
        labels.split(), mixed
    )


def test_a_mixed_label_is_disorder() -> None:
    columns = ("label", "fract_x", "fract_y", "fract_z")
    with pytest.raises(InputError, match=r"site 1 \(Si/Al1 at 0, 0, 0\) is disordered"):
        only(cif(CUBIC, "F m -3 m", "Si/Al1 0 0 0; O1 .5 .5 .5", columns))
