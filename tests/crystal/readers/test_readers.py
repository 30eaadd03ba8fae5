"""Structure files other than CIF: read right, or refused in one sentence."""

import gzip
import json
import math
import sqlite3
import zipfile

import ase.db
import ase.io
import numpy as np
import pytest
from hangs import no_hang
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.cif import CifWriter

from invdesign.crystal import structure_files
from invdesign.crystal.readers.archive import MOST_MEMBER_BYTES
from invdesign.crystal.structure_files import Unreadable, read_entries, read_records, read_structures
from invdesign.errors import InputError
from invdesign.report.shortlist_json import optimade_attributes

CSCL = Structure(Lattice.tetragonal(4.1, 4.3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.4]])
PEROVSKITE = Structure(
    Lattice.orthorhombic(3.9, 4.0, 4.1),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def same(a: Structure, b: Structure) -> bool:
    def sites(structure):
        return sorted((site.specie.symbol, *np.round(site.frac_coords % 1, 6) % 1) for site in structure)

    return np.allclose(a.lattice.parameters, b.lattice.parameters, atol=1e-6) and sites(a) == sites(b)


def read(path, text):
    path.write_text(text)
    ((_, structure),) = read_structures(path)
    return structure


def refused(path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(InputError) as caught:
        list(read_structures(path))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert len(message) < 600
    return message


CUBE = [4, 0, 0, 0, 4, 0, 0, 0, 4]
HEAD = "1.0\n4.1 0 0\n0 4.1 0\n0 0 4.3\n"
TAIL = "Direct\n0 0 0\n0.5 0.5 0.4\n"
POSCARS = {
    "one scale": f"x\n{HEAD}Cs Cl\n1 1\n{TAIL}",
    "no comment": f"\n{HEAD}Cs Cl\n1 1\n{TAIL}",
    "scaled": f"x\n2.05\n2 0 0\n0 2 0\n0 0 {4.3 / 2.05!r}\nCs Cl\n1 1\n{TAIL}",
    "volume": f"x\n{-4.1 * 4.1 * 4.3!r}\n4.1 0 0\n0 4.1 0\n0 0 4.3\nCs Cl\n1 1\n{TAIL}",
    "three scales": f"x\n4.1 4.1 4.3\n1 0 0\n0 1 0\n0 0 1\nCs Cl\n1 1\n{TAIL}",
    "three, Cartesian": "x\n4.1 4.1 4.3 ! a\n1 0 0\n0 1 0\n0 0 1\nCs Cl\n1 1\nKartesian\n0 0 0\n.5 .5 .4\n",
    "scaled, Cartesian": "x\n4.1\n1 0 0\n0 1 0\n0 0 1.048780487804878\n"
    "Cs Cl\n1 1\nC\n0 0 0\n.5 .5 .4195121951\n",
    "Fortran": "x\n 0.1D+01\n0.41D+1 0 0\n0 41d-1 0\n0 0 4.3E0\nCs Cl\n1 1\nDirect\n0 0 0\n5.D-1 .5D0 0.4\n",
    "comments": f"x\n1.0 scale\n4.1 0 0 a\n0 4.1 0 # b\n0 0 4.3 ! c\nCs Cl ! elements\n1 1 ! counts\n{TAIL}",
    "trailing text": f"x\n{HEAD}Cs Cl\n1 1\nDirect configuration=     1\n0 0 0 caesium\n0.5 0.5 0.4 site 2\n",
    "selective": f"x\n{HEAD}Cs Cl\n1 1\nSelective dynamics\nDirect\n0 0 0 T T F\n0.5 0.5 0.4 F F F Cl\n",
    "flags alone": f"x\n{HEAD}Cs Cl\n1 1\nDirect\n0 0 0 T T T\n0.5 0.5 0.4 F F F\n",
    "POTCAR's names": f"x\n{HEAD}Cs_sv Cl/0f1e2d\n1 1\n{TAIL}",
    "labels": f"x\n{HEAD}Cs Cl\n1 1\nDirect\n0 0 0 Cs\n0.5 0.5 0.4 Cl\n",
    "VASP 4 with labels": f"x\n{HEAD}1 1\nDirect\n0 0 0 Cs\n0.5 0.5 0.4 Cl\n",
    "velocities": f"x\n{HEAD}Cs Cl\n1 1\n{TAIL}\n0 0 0\n0 0 0\n",
    "DOS": f"x\n{HEAD}Cs Cl\n1 1\n{TAIL}".replace("\n", "\r\n"),
}


@pytest.mark.parametrize("spelling", POSCARS)
@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR_2", "x.vasp", "run1.CONTCAR"])
def test_one_poscar_in_many_spellings(tmp_path, spelling, name):
    assert same(read(tmp_path / name, POSCARS[spelling]), CSCL)


def test_a_left_handed_cell_and_a_volume(tmp_path):
    text = f"x\n-64\n0 1 0\n1 0 0\n0 0 1\nCs Cl\n1 1\n{TAIL}"
    assert read(tmp_path / "POSCAR", text).volume == pytest.approx(64)


SOUND = POSCARS["one scale"]
BAD_POSCARS = {
    "no symbols": (f"x\n{HEAD}1 1\n{TAIL}", "does not name its elements"),
    "two scales": (SOUND.replace("x\n1.0", "x\n1.0 2.0"), "three positive factors"),
    "negative among three": (SOUND.replace("x\n1.0", "x\n1.0 -2.0 1"), "three positive factors"),
    "no scale": (SOUND.replace("x\n1.0", "x\n0.0"), "one scale factor"),
    "infinite scale": (SOUND.replace("x\n1.0", "x\ninf"), "one scale factor"),
    "overflowing scale": (SOUND.replace("x\n1.0", "x\n1e999"), "one scale factor"),
    "large scale": (SOUND.replace("x\n1.0", "x\n1e300"), ""),
    "NaN": (SOUND.replace("4.1 0 0", "nan 0 0"), "line 3 is 'nan 0 0'"),
    "singular": (SOUND.replace("0 4.1 0", "4.1 0 0"), "no volume"),
    "flat": (SOUND.replace("0 0 4.3", "0 0 0"), "no volume"),
    "nothing": (f"x\n1\n0 0 0\n0 0 0\n0 0 0\nCs Cl\n1 1\n{TAIL}", "no unit cell"),
    "unlike counts": (SOUND.replace("\n1 1\n", "\n1 1 1\n"), "2 numbers of atoms"),
    "fewer counts": (SOUND.replace("\n1 1\n", "\n1\n"), "2 numbers of atoms"),
    "negative count": (SOUND.replace("\n1 1\n", "\n-1 1\n"), "2 numbers of atoms"),
    "endless count": (SOUND.replace("\n1 1\n", "\n1 999999999\n"), "counts 1000000000 atoms, but 2"),
    "many digits": (SOUND.replace("\n1 1\n", f"\n1 {'9' * 20_000}\n"), "2 numbers of atoms"),
    "cut": (SOUND.replace("0.5 0.5 0.4\n", ""), "counts 2 atoms, but 1"),
    "no mode": (SOUND.replace("Direct\n", ""), "write Direct or Cartesian"),
    "no element": (SOUND.replace("Cs Cl", "Cs Qq"), "the sixth line is 'Cs Qq'"),
    "half a hydrogen": (SOUND.replace("Cs Cl", "Cs H.5"), "the sixth line is 'Cs H.5'"),
    "label against list": (SOUND.replace("0 0 0\n0.5", "0 0 0 Cl\n0.5"), "line 9 says Cl, but"),
    "text": (SOUND.replace("0.5 0.5 0.4", "a half"), "give a position of 3 finite numbers"),
}


@pytest.mark.parametrize("case", BAD_POSCARS)
def test_no_poscar(tmp_path, case):
    text, told = BAD_POSCARS[case]
    (tmp_path / "POSCAR").write_text(text)
    assert told in refused(tmp_path / "POSCAR")


def xyz(
    lattice='Lattice="4.1 0 0 0 4.1 0 0 0 4.3"', rest="", count="2", rows="Cs 0 0 0\nCl 2.05 2.05 1.72\n"
):
    return f"{count}\n{lattice} Properties=species:S:1:pos:R:3 {rest}\n{rows}"


@pytest.mark.parametrize("rest", ["", 'pbc="T T T"', 'pbc="1 1 1"', 'pbc="True True True" energy=-1.5'])
def test_periodic_frames_are_read(tmp_path, rest):
    assert same(read(tmp_path / "a.extxyz", xyz(rest=rest)), CSCL)


@pytest.mark.parametrize(
    ("pbc", "axes"), [("T T F", "a, b"), ("F F T", "c"), ("F F F", "no axis"), ("0 1 1", "b, c")]
)
def test_slabs_wires_and_molecules_are_refused(tmp_path, pbc, axes):
    (tmp_path / "a.xyz").write_text(xyz(rest=f'pbc="{pbc}"'))
    assert f"is periodic along {axes} alone (pbc)" in refused(tmp_path / "a.xyz")
    atoms = CSCL.to_ase_atoms()
    atoms.pbc = [one in "T1" for one in pbc.split()]
    ase.io.write(tmp_path / "a.traj", atoms)
    ase.db.connect(tmp_path / "a.db").write(atoms)
    ase.db.connect(tmp_path / "a.json").write(atoms)
    for kind in ("traj", "db", "json"):
        assert f"is periodic along {axes} alone (pbc)" in refused(tmp_path / f"a.{kind}")


BAD_XYZ = {
    "many atoms": (xyz(count="999999999"), "999999999 atoms are announced, 2 follow"),
    "more atoms": (xyz(count="9" * 30), "is no number of atoms"),
    "digits": (xyz(count="9" * 10_000), "is no number of atoms"),
    "negative": (xyz(count="-2"), "is no number of atoms"),
    "none": (xyz(count="0", rows=""), "has no atoms"),
    "columns": (xyz().replace("R:3", "R:999999999"), "1000000000 columns are announced, 4 are there"),
    "no columns": (xyz().replace("R:3", "R:three"), "name:type:columns"),
    "NaN cell": (xyz('Lattice="nan 0 0 0 4.1 0 0 0 4.3"'), "not a finite number"),
    "endless cell": (xyz('Lattice="inf 0 0 0 4.1 0 0 0 4.3"'), "not a finite number"),
    "overflow": (xyz('Lattice="1e999 0 0 0 4.1 0 0 0 4.3"'), "not a finite number"),
    "singular": (xyz('Lattice="4 0 0 4 0 0 0 0 4.3"'), "no volume"),
    "nowhere": (xyz(rows="Cs 0 0 nan\nCl 2 2 2\n"), "not a finite number"),
    "no element": (xyz(rows="Qq 0 0 0\nCl 2 2 2\n"), "Qq"),
    "eight numbers": (xyz('Lattice="4 0 0 4 0 0 0 0"'), "a.xyz"),
    "molecule": ("2\n\nCs 0 0 0\nCl 2 2 2\n", "no unit cell"),
}


@pytest.mark.parametrize("case", BAD_XYZ)
def test_no_xyz(tmp_path, case):
    text, told = BAD_XYZ[case]
    (tmp_path / "a.xyz").write_text(text)
    with no_hang():
        assert told in refused(tmp_path / "a.xyz")


def test_a_bad_frame_costs_no_other(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(xyz(rest='id="one"') + xyz(rest='pbc="T T F"') + xyz(rest='id="three"'))
    one, slab, three = read_entries(path)
    assert (one.label, three.label) == ("one", "three")
    assert isinstance(slab, Unreadable)


def test_ase_trajectory(tmp_path):
    frames = [CSCL.to_ase_atoms(), PEROVSKITE.to_ase_atoms()]
    frames[1].info["label"] = "perovskite"
    path = tmp_path / "a.traj"
    ase.io.write(path, frames)
    (first, second) = read_records(path)
    assert same(first.structure, CSCL)
    assert same(second.structure, PEROVSKITE)
    assert (first.label, second.label) == ("a:1", "perovskite")
    ase.io.write(path, [frames[0]] * 3)  # what stays is written once
    assert all(same(structure, CSCL) for _, structure in read_structures(path))


def test_nothing_is_unpickled(tmp_path):
    (tmp_path / "old.traj").write_bytes(b"PickleTrajectory" + b"\x80\x04.")
    (tmp_path / "p.traj").write_bytes(b"\x80\x04cos\nsystem\n")
    for name in ("old.traj", "p.traj"):
        assert "pickle" in refused(tmp_path / name)
    # what pymatgen's and ASE's decoders would import
    bomb = {"@module": "os", "@class": "system", "data": [1]}
    content = CSCL.as_dict()
    content["sites"][0]["properties"] = {"x": bomb}
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert [label for label, _ in read_structures(tmp_path / "s.json")] == ["s"]


@pytest.mark.parametrize("shape", [[10**15, 3], [-1, 3], ["a", 3], [2, 3, 4]])
def test_a_trajectory_allocates_no_more_than_the_file(tmp_path, shape):
    path = tmp_path / "a.traj"
    ase.io.write(path, CSCL.to_ase_atoms())
    data = path.read_bytes()
    old = b'"ndarray": [[2, 3]'
    assert old in data
    new = f'"ndarray": [{json.dumps(shape)}'.encode()
    at = data.index(b"{", data.index(b"positions") - 200)
    start = data.rindex(b"{", 0, data.index(b'"version"') + 1) if b'"version"' in data else at
    size = int.from_bytes(data[start - 8 : start], "little")
    frame = data[start : start + size].replace(old, new)
    path.write_bytes(data[: start - 8] + len(frame).to_bytes(8, "little") + frame + data[start + size :])
    assert "a.traj" in refused(path)


@pytest.fixture(scope="module")
def binaries(tmp_path_factory):
    """A trajectory and a database, to be broken, and their bytes."""
    folder = tmp_path_factory.mktemp("binaries")
    ase.io.write(folder / "a.traj", CSCL.to_ase_atoms())
    ase.db.connect(folder / "a.db").write(CSCL.to_ase_atoms(), gap=1.0)
    return {folder / name: (folder / name).read_bytes() for name in ("a.traj", "a.db")}


@settings(max_examples=60)
@given(at=st.integers(0, 100_000), byte=st.integers(0, 255), cut=st.booleans())
def test_any_byte_of_a_trajectory_or_database(binaries, at, byte, cut):
    for path, whole in binaries.items():
        data = bytearray(whole)
        data[at % len(data)] = byte
        path.write_bytes(data[: at % len(data)] if cut else data)
        try:
            for entry in read_entries(path):
                assert isinstance(entry, Unreadable) or np.isfinite(entry.structure.lattice.matrix).all()
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


CELL_OF_4 = "4 0 0\n0 4 0\n0 0 4\n"
MORE_ATOMS_THAN_COUNTED = {
    "POSCAR": f"CsCl\n1.0\n{CELL_OF_4}Cs\n1\nDirect\n0 0 0\n.5 .5 .5\n",
    "x.xyz": '1\nLattice="4 0 0 0 4 0 0 0 4"\nCs 0 0 0\nCl 2 2 2\n',
    "x.xsf": f"CRYSTAL\nPRIMVEC\n{CELL_OF_4}PRIMCOORD\n1 1\n55 0 0 0\n17 2 2 2\n",
}


@pytest.mark.parametrize("name", MORE_ATOMS_THAN_COUNTED)
def test_no_atom_is_dropped_where_more_follow_than_are_counted(tmp_path, name):
    (tmp_path / name).write_text(MORE_ATOMS_THAN_COUNTED[name])
    with pytest.raises(InputError, match="follow"):
        list(read_structures(tmp_path / name))


def test_velocities_are_no_positions(tmp_path):
    text = f"Cs\n1.0\n{CELL_OF_4}Cs\n1\nDirect\n0 0 0\n"
    for velocities in ("\n0.1 0.1 0.1\n", " \n0.1 0.1 0.1\n", "Cartesian\n0.1 0.1 0.1\n", ""):
        (tmp_path / "POSCAR").write_text(text + velocities)
        ((_, structure),) = read_structures(tmp_path / "POSCAR")
        assert len(structure) == 1


def test_truth_is_read_as_it_is_written(tmp_path):
    """ "F" and "False" are texts that Python takes for true."""
    ase_json = {"cell": np.eye(3).tolist(), "numbers": [1], "positions": [[0, 0, 0]], "pbc": "TTF"}
    jarvis = {
        "lattice_mat": (4 * np.eye(3)).tolist(),
        "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
        "elements": ["Cs", "Cl"],
        "cartesian": "False",
    }
    (tmp_path / "a.json").write_text(json.dumps(ase_json))
    with pytest.raises(InputError, match="incomplete"):
        list(read_structures(tmp_path / "a.json"))
    (tmp_path / "j.json").write_text(json.dumps({"atoms": jarvis}))
    ((_, structure),) = read_structures(tmp_path / "j.json")
    assert structure.distance_matrix[0, 1] == pytest.approx(2 * math.sqrt(3))
    (tmp_path / "x.xyz").write_text('1\nLattice="4 0 0 0 4 0 0 0 4" PBC="T T F"\nCs 0 0 0\n')
    with pytest.raises(InputError, match="PBC is not known"):
        list(read_structures(tmp_path / "x.xyz"))


def test_two_charges_of_one_element_fill_a_site(tmp_path):
    mixed = Structure(CSCL.lattice, [{"Fe2+": 0.5, "Fe3+": 0.5}, "O2-"], CSCL.frac_coords)
    (tmp_path / "mixed.json").write_text(json.dumps(mixed.as_dict()))
    ((_, structure),) = read_structures(tmp_path / "mixed.json")
    assert structure.composition.reduced_formula == "FeO"


def test_json_of_many_kinds(tmp_path):
    entry = ComputedStructureEntry(CSCL, -6.0, entry_id="mp-1")
    ions = CSCL.copy()
    ions.add_oxidation_state_by_element({"Cs": 1, "Cl": -1})
    ase.db.connect(tmp_path / "ase.json").write(CSCL.to_ase_atoms(), gap=5.0)
    ase.io.write(tmp_path / "ase2.json", CSCL.to_ase_atoms())
    contents = {
        "one": CSCL.as_dict(),
        "ions": ions.as_dict(),
        "several": [CSCL.as_dict(), CSCL.as_dict()],
        "entry": entry.as_dict(),
        "documents": [{"material_id": "mp-1", "band_gap": 5.0, "structure": CSCL.as_dict()}],
        "named": {"a": CSCL.as_dict(), "b": {"structure": CSCL.as_dict()}},
        "optimade": {
            "data": [{"type": "structures", "id": "c1", "attributes": optimade_attributes(CSCL, 99)}],
            "meta": {},
        },
        "jarvis": [
            {
                "jid": "JVASP-1",
                "atoms": {
                    "lattice_mat": CSCL.lattice.matrix.tolist(),
                    "coords": CSCL.frac_coords.tolist(),
                    "elements": ["Cs", "Cl "],
                    "cartesian": False,
                },
            }
        ],
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "packed.json.gz").write_bytes(gzip.compress(json.dumps(CSCL.as_dict()).encode()))
    found = {path.name: list(read_records(path)) for path in sorted(tmp_path.iterdir())}
    assert all(same(record.structure, CSCL) for records in found.values() for record in records)
    assert [record.label for record in found["several.json"]] == ["several:1", "several:2"]
    assert [record.label for record in found["named.json"]] == ["a", "b"]
    assert found["optimade.json"][0].label == "c1"
    (document,) = found["documents.json"]
    assert (document.label, document.columns) == ("mp-1", {"material_id": "mp-1", "band_gap": 5.0})
    assert found["ase.json"][0].columns["gap"] == 5.0
    assert len(list(read_structures(tmp_path))) == sum(map(len, found.values()))


def broken(**changes):
    return CSCL.as_dict() | changes


BAD_JSON = {
    "prose": ("no json", "cannot be read as JSON"),
    "cut": (json.dumps(CSCL.as_dict())[:-9], "cannot be read as JSON"),
    "nested": ("[" * 100_000, "cannot be read as JSON"),
    "digits": (f'{{"n": {"9" * 10_000}}}', "cannot be read as JSON"),
    "other": ('{"target": "band_gap>3"}', "holds no structures"),
    "list": ("[1, 2, 3]", "holds no structures"),
    "number": ("7", "holds no structures"),
    "no cell": (json.dumps(broken(lattice={})), "incomplete"),
    "NaN": (json.dumps(broken(lattice={"matrix": [[math.nan] * 3] * 3})), "not a finite number"),
    "infinite": (json.dumps(broken(lattice={"matrix": [[math.inf, 0, 0], [0, 1, 0], [0, 0, 1]]})), "finite"),
    "singular": (json.dumps(broken(lattice={"matrix": [[1, 2, 3]] * 3})), "no volume"),
    "text": (json.dumps(broken(lattice={"matrix": "x"})), "rows of three numbers"),
    "slab": (
        json.dumps(broken(lattice={"matrix": CSCL.lattice.matrix.tolist(), "pbc": [True, True, False]})),
        "periodic along a, b alone",
    ),
    "sites": (json.dumps(broken(sites=[{"abc": [0, 0, 0]}])), "incomplete"),
    "vacancy": (
        json.dumps(broken(sites=[{"species": [{"element": "Cs", "occu": 0.5}], "abc": [0, 0, 0]}])),
        "disordered",
    ),
    "no element": (
        json.dumps(broken(sites=[{"species": [{"element": "Qq", "occu": 1}], "abc": [0, 0, 0]}])),
        "Qq",
    ),
    "array": (
        json.dumps(
            {
                "numbers": {"__ndarray__": [[10**12], "int64", [1]]},
                "positions": [[0, 0, 0]],
                "cell": CUBE,
            }
        ),
        "alone (pbc)",
    ),
    "atomic number": (
        json.dumps(
            {
                "numbers": [999],
                "positions": [[0, 0, 0]],
                "cell": CUBE,
                "pbc": [1, 1, 1],
            }
        ),
        "999",
    ),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_no_json(tmp_path, case):
    text, told = BAD_JSON[case]
    (tmp_path / "a.json").write_text(text)
    assert told in refused(tmp_path / "a.json")


def test_xsf(tmp_path):
    atoms = CSCL.to_ase_atoms()
    path = tmp_path / "a.xsf"
    ase.io.write(path, atoms)
    ((label, structure),) = read_structures(path)
    assert label == "a"
    assert same(structure, CSCL)
    slab = path.read_text().replace("CRYSTAL", "SLAB")
    path.write_text(slab)
    assert "periodic along a, b alone" in refused(path)
    for text in ("", "CRYSTAL\n", "CRYSTAL\nPRIMVEC\n4 0 0\n", slab[:80], "ANIMSTEPS 999999999\nCRYSTAL\n"):
        path.write_text(text)
        assert "not XSF" in refused(path)


def test_broken_databases(tmp_path):
    path = tmp_path / "a.db"
    with ase.db.connect(path) as database:
        for _ in range(3):
            database.write(CSCL.to_ase_atoms(), gap=5.0)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE systems SET positions = x'0011' WHERE id = 1")
        connection.execute("UPDATE systems SET numbers = NULL, cell = 'x' WHERE id = 2")
        connection.execute("UPDATE systems SET key_value_pairs = '{' WHERE id = 3")
    before = path.read_bytes()
    first, second, third = read_entries(path)
    assert isinstance(first, Unreadable)
    assert isinstance(second, Unreadable)
    assert same(third.structure, CSCL)
    assert path.read_bytes() == before
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE systems")
    assert "no table systems" in refused(path)


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


def test_an_archive_of_cifs(tmp_path):
    cif = str(CifWriter(CSCL))
    path = archive(
        tmp_path / "generated_crystals_cif.zip",
        **{
            "gen_0.cif": cif,
            "gen_1.cif": "data_x\n",
            "more/gen_0.cif": cif,
            "POSCAR_2": SOUND,
            "log.txt": "x",
        },
        **{"__MACOSX/._gen_0.cif": "x", "../../evil.cif": cif},
    )
    entries = list(read_entries(path))
    assert [entry.label for entry in entries] == ["gen_0", "gen_1.cif", "gen_0", "POSCAR_2", "evil"]
    assert entries[1].reason.startswith(f"{path}/gen_1.cif")
    assert not (tmp_path.parent / "evil.cif").exists()


def test_archives_that_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 no zip")
    assert "cannot be unpacked" in refused(path)
    assert "holds no structure files" in refused(archive(path, **{"a.txt": "x", "b.zip": "x"}))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("0.cif", bytes(MOST_MEMBER_BYTES + 1))
    assert path.stat().st_size < 2**21
    with no_hang():
        assert "at most 200000 files, 1024 MiB together and 128 MiB each" in refused(path)


def test_what_a_small_gzipped_file_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(structure_files, "MOST_UNPACKED", 1000)
    monkeypatch.setattr(structure_files, "MOST_LINE", 1000)
    for name in ("a.cif.gz", "POSCAR.gz", "a.json.gz", "a.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"x" * 1001))
        assert "MiB; give" in refused(tmp_path / name)


def test_of_a_folder_with_structures_json_and_archives_are_left_out(tmp_path):
    (tmp_path / "metadata.json").write_text('{"seed": 0}')
    archive(tmp_path / "trajectories.zip", **{"a.cif": "x"})
    (tmp_path / "a.cif").write_text(str(CifWriter(CSCL)))
    assert [label for label, _ in read_structures(tmp_path)] == ["a"]


def test_tables(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,cif,cif\n1,"x","y"\n')
    assert "two columns are named cif" in refused(path)
    path.write_text('id,cif\n"1\0","x"\n1,"x')
    assert "a.csv" in refused(path)
