from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from invdesign.crystal import cif
from invdesign.crystal.structure_files import (
    Record,
    Unreadable,
    file_formula,
    read_entries,
    read_records,
    read_structures,
    write_cif,
)
from invdesign.errors import InputError

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TIO2 = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
WURTZITE = Structure(
    Lattice.hexagonal(3.25, 5.2),
    ["Zn", "Zn", "O", "O"],
    [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.382], [2 / 3, 1 / 3, 0.882]],
)


def only(path: Path) -> Structure:
    ((_, structure),) = read_structures(path)
    return structure


def same(a: Structure, b: Structure) -> bool:
    def sites(structure: Structure) -> list[tuple[object, ...]]:
        return sorted((site.specie.symbol, *np.round(site.frac_coords % 1, 6) % 1) for site in structure)

    return np.allclose(a.lattice.matrix, b.lattice.matrix, atol=1e-6) and sites(a) == sites(b)


@pytest.mark.parametrize("structure", [NACL, TIO2, WURTZITE], ids=["NaCl", "TiO2", "ZnO"])
def test_p1_layout_is_read_as_pymatgen_reads_it(
    structure: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = str(CifWriter(structure)).replace("0.33333333", "0.333330")
    monkeypatch.setattr(cif.cif_block, "read", None)  # the fast path must be the one taken
    ((_, fast),) = cif.read_cif(text, "text")
    assert same(fast, Structure.from_str(text, fmt="cif"))


@pytest.mark.parametrize("symmetrised", [True, False])
@pytest.mark.parametrize("structure", [NACL, TIO2, WURTZITE], ids=["NaCl", "TiO2", "ZnO"])
def test_cif_round_trip(tmp_path: Path, structure: Structure, symmetrised: bool) -> None:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    path = tmp_path / "a.cif"
    write_cif(structure, path, symmetrised=symmetrised)
    assert StructureMatcher().fit(only(path), structure)
    assert ("'P 1'" not in path.read_text()) == symmetrised
    assert [file.name for file in tmp_path.iterdir()] == ["a.cif"]


def test_every_kind_of_file_gives_the_same_crystal(tmp_path: Path) -> None:
    import ase.db
    import ase.io

    atoms = NACL.to_ase_atoms()
    NACL.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    NACL.to(filename=str(tmp_path / "CONTCAR.vasp"), fmt="poscar")
    ase.io.write(tmp_path / "a.extxyz", atoms)
    ase.db.connect(tmp_path / "a.db").write(atoms, gap=5.0)
    write_cif(NACL, tmp_path / "a.cif", symmetrised=False)
    (tmp_path / "a.csv").write_text('material_id,cif\nmp-1,"' + (tmp_path / "a.cif").read_text() + '"\n')
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    (tmp_path / "notes.txt").write_text("not a structure, and not read")
    found = list(read_structures(tmp_path))
    assert sorted(label for label, _ in found) == ["CONTCAR", "POSCAR", "a", "a:1", "a:1", "mp-1", "mp-1"]
    assert all(same(structure, NACL) for _, structure in found)


def test_blocks_and_columns_are_labelled(tmp_path: Path) -> None:
    path = tmp_path / "two.cif"
    path.write_text(
        "data_global\n_publ_author 'x'\n" + str(CifWriter(NACL)) + str(CifWriter(TIO2, symprec=0.1))
    )
    assert [label for label, _ in read_structures(path)] == ["two:NaCl", "two:TiO2"]
    table = tmp_path / "t.csv"
    table.write_text('formula,gap,cif\nNaN,1.5,"' + str(CifWriter(NACL)) + '"\n')
    (record,) = read_records(table)
    assert (record.label, record.columns) == ("t-1", {"formula": "NaN", "gap": "1.5"})


def test_charged_and_heavy_hydrogen_sites_become_plain_elements(tmp_path: Path) -> None:
    charged = NACL.copy()
    charged.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    (tmp_path / "ions.cif").write_text(str(CifWriter(charged)))
    assert same(only(tmp_path / "ions.cif"), NACL)
    deuteride = Structure(NACL.lattice, ["Li"] * 4 + ["D"] * 4, NACL.frac_coords)
    (tmp_path / "d.cif").write_text(str(CifWriter(deuteride)))
    assert only(tmp_path / "d.cif").composition.reduced_formula == "LiH"


DISORDERED = Structure(Lattice.cubic(3.6), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]])
VACANT = Structure(Lattice.cubic(3.6), ["Ni", {"O": 0.9}], [[0, 0, 0], [0.5, 0.5, 0.5]])
POSCAR = NACL.to(fmt="poscar")
BAD = {
    "prose.cif": ("this is a letter to my aunt", "no CIF data block"),
    "empty.cif": ("", "no CIF data block"),
    "head.cif": ("data_x\n_cell_length_a 4\n", "no CIF data block"),
    "none.cif": (str(CifWriter(NACL)).split("  Na  Na0")[0], "cannot be read|no atoms"),
    "cut.cif": (str(CifWriter(NACL))[:-20], "cannot be read"),
    "flat.cif": (str(CifWriter(NACL)).replace("_cell_length_a   5.64", "_cell_length_a   0.00"), "flat.cif"),
    "text.cif": (
        str(CifWriter(NACL)).replace("_cell_length_a   5.64", "_cell_length_a   x"),
        "cannot be read",
    ),
    "disordered.cif": (str(CifWriter(DISORDERED)), "site 1 .*Fe.*is disordered"),
    "vacant.cif": (str(CifWriter(VACANT)), "site 2 .*O.*is disordered"),
    "POSCAR_prose": ("nothing\nlike\na POSCAR", "not a POSCAR"),
    "POSCAR_empty": ("", "not a POSCAR"),
    "POSCAR_four": (
        re.sub(r" (Na|Cl)$", "", POSCAR.replace("\nNa Cl\n", "\n"), flags=re.MULTILINE),
        "does not name its",
    ),
    "molecule.xyz": ("2\n\nO 0 0 0\nH 0 0 1\n", "no unit cell"),
    "cut.xyz": ('3\nLattice="4 0 0 0 4 0 0 0 4"\nO 0 0 0\n', "not extended XYZ"),
    "empty.xyz": ("", "no frames|not extended"),
    "nocif.csv": ("formula,gap\nNaCl,5\n", "no cif column among formula, gap"),
    "empty.csv": ("", "no cif column"),
    "norows.csv": ("cif\n", "no rows"),
    "row.csv": ('id,cif\n7,"data_x"\n', r"row 1 \(7\)"),
    "bad.db": ("SQLite it is not" * 100, "not an ASE database"),
    "zip.csv.gz": ("not gzip", "cannot be read to its end"),
    "report.pdf": ("x", "not a kind of structure file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_input_errors(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        list(read_structures(path))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_truncated_gzip_missing_file_and_empty_folder(tmp_path: Path) -> None:
    whole = gzip.compress(
        b'cif\n"' + str(CifWriter(NACL)).encode() + b'"\n' + bytes(range(256)).hex().encode() * 99
    )
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-30])
    with pytest.raises(InputError, match="cannot be read to its end"):
        list(read_structures(tmp_path / "cut.csv.gz"))
    with pytest.raises(InputError, match="no such file"):
        list(read_structures(tmp_path / "absent.cif"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no structure files"):
        list(read_structures(tmp_path / "empty"))


def test_symmetrised_at_the_edge_of_the_tolerance(tmp_path):
    # relaxed out of I-42d by a little less than the tolerance: spglib's operations of it are no group
    relaxed = Structure.from_file(Path(__file__).parent / "at_the_edge_of_the_tolerance.cif")
    write_cif(relaxed, tmp_path / "x.cif", symmetrised=True)
    again = Structure.from_file(tmp_path / "x.cif")
    assert again.reduced_formula == relaxed.reduced_formula
    assert StructureMatcher().fit(again, relaxed)
    assert "_symmetry_Int_Tables_number   122" in (tmp_path / "x.cif").read_text()


@pytest.mark.parametrize("name", ["shortlist.csv", "relaxed.csv"])
def test_a_folder_of_ours_is_read_by_its_results(tmp_path: Path, name: str) -> None:
    write_cif(NACL, tmp_path / "one.cif", symmetrised=False)
    (tmp_path / name).write_text("candidate,cif_file\nc1,one.cif\n")
    assert [label for label, _ in read_structures(tmp_path)] == ["c1"]


@pytest.mark.parametrize(
    ("formula", "name"),
    [("KCd(AsO3)2", "KCdAs2O6"), ("Nd(BO2)3", "NdB3O6"), ("NaN", "NaN"), ("NaCl", "NaCl")],
)
def test_formulas_lose_brackets_but_no_atoms_in_file_names(formula: str, name: str) -> None:
    assert file_formula(formula) == name


def two(first: str, second: str, distance: float) -> Structure:
    return Structure(
        Lattice.cubic(9), [first, second], [[0, 0, 0], [distance, 0, 0]], coords_are_cartesian=True
    )


@pytest.mark.parametrize(
    ("pair", "distance"),
    [("H H", 0.74), ("O H", 0.96), ("C C", 1.2), ("N N", 1.10), ("U O", 1.7), ("Na Na", 1.9)],
)
def test_the_shortest_bonds_are_read(tmp_path: Path, pair: str, distance: float) -> None:
    two(*pair.split(), distance).to(str(tmp_path / "a.cif"))
    assert len(only(tmp_path / "a.cif")) == 2


def test_atoms_that_overlap_are_read_where_they_are_counted(tmp_path: Path) -> None:
    crystals = {"apart": two("Na", "Na", 3.0), "overlap": two("Na", "Na", 0.3), "squeezed": NACL.copy()}
    crystals["squeezed"].scale_lattice(NACL.volume / 1000)
    rows = "\n".join(f'{name},"{CifWriter(crystal)}"' for name, crystal in crystals.items())
    (tmp_path / "a.csv").write_text(f"id,cif\n{rows}\n")
    for path in (tmp_path, tmp_path / "a.csv"):
        apart, overlap, squeezed = read_entries(path)
        assert isinstance(apart, Record)
        assert isinstance(overlap, Unreadable)
        assert "overlap: Na and Na are 0.30 Å apart, and less than 1.66 Å" in overlap.reason
        assert isinstance(squeezed, Unreadable)
        assert all(isinstance(one, Record) for one in read_entries(path, overlaps=True))


def test_folders_of_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        NACL.to(str(tmp_path / name / "CONTCAR"), fmt="poscar")
        (tmp_path / name / "._CONTCAR.cif").write_bytes(b"\0\5\26\7")
    assert [label for label, _ in read_structures(tmp_path)] == ["a:CONTCAR", "b:CONTCAR"]
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(InputError, match="the folder and the 1 in it hold no structure files"):
        list(read_structures(tmp_path / "x"))


def test_tables_of_other_separators_and_of_paths(tmp_path: Path) -> None:
    text = str(CifWriter(NACL))
    (tmp_path / "na.cif").write_text(text)
    for name, separator in (("a.csv", ";"), ("b.csv", "\t"), ("c.tsv", "\t"), ("d.csv", ",")):
        for cell in (f'"{text}"', "na.cif"):
            (tmp_path / name).write_text(f"id{separator}cif\nx{separator}{cell}\n")
            ((label, structure),) = read_structures(tmp_path / name)
            assert label == "x"
            assert same(structure, NACL)


def test_other_suffixes_and_gzip_without_one(tmp_path: Path) -> None:
    (tmp_path / "a.mcif").write_text(str(CifWriter(NACL)))
    (tmp_path / "a.cif").write_bytes(gzip.compress(str(CifWriter(NACL)).encode()))
    line = NACL.to_json()
    (tmp_path / "a.jsonl").write_text(f"{line}\n\n{line}\n")
    for name, n in (("a.mcif", 1), ("a.cif", 1), ("a.jsonl", 2)):
        crystals = [structure for _, structure in read_structures(tmp_path / name)]
        assert len(crystals) == n
        assert all(same(structure, NACL) for structure in crystals)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("data_NaCl", "data_sodium chloride", "'sodium chloride' has a blank"),
        ("_cell_length_b   5.64000000", "_cell_length_b   5.64 Å", "5.64 .' is more than a number"),
        ("_cell_volume", "_x \0\n_cell_volume", "NUL bytes"),
        ("_cell_volume", '_x """a\n_b """\n_cell_volume', "CIF 2"),
        ("_cell_volume", "_x [1 [2]]\n_cell_volume", "CIF 2"),
    ],
)
def test_what_cannot_be_parsed_says_what_is_wrong(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = str(CifWriter(NACL, symprec=0.01))
    assert old in text
    (tmp_path / "a.cif").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=told):
        only(tmp_path / "a.cif")
