"""Files, frames and rows that are read as samples, and what becomes of those that cannot be."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from invdesign.analysis.inputs import read_samples
from invdesign.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MGO = str(
    CifWriter(
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    )
)


def test_folder_with_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "good.cif").write_text(MGO)
    (tmp_path / "bad.cif").write_text("data_nothing\n")
    (tmp_path / "notes.txt").write_text("not a structure")
    samples = {sample.label: sample for sample in read_samples(tmp_path)}
    assert set(samples) == {"good", "bad.cif"}
    assert samples["bad.cif"].structure is None
    assert "bad.cif" in samples["bad.cif"].fault


@pytest.mark.parametrize("name", ["nowhere.cif", "bad.cif", "empty.csv"])
def test_nothing_readable_is_an_input_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "bad.cif").write_text("data_nothing\n")
    (tmp_path / "empty.csv").write_text("material_id,cif\n")
    with pytest.raises(InputError):
        read_samples(tmp_path / name)


def test_a_table_without_cifs(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula\nNaCl\n")
    with pytest.raises(InputError, match="no cif column"):
        read_samples(tmp_path / "t.csv")


def test_every_frame_and_row_is_read_for_itself(tmp_path: Path) -> None:
    salt = 'Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T"'
    frames = [
        "2\n" + salt + "\nCs 0 0 0\nCl 2 2 2\n",
        "1\n\nH 0 0 0\n",
        "2\n" + salt + "\nLi 0 0 0\nD 2 2 2\n",
    ]
    (tmp_path / "a.extxyz").write_text("".join([*frames, "2\n" + salt + "\nCs 0 0\nCl 2 2 2\n", frames[0]]))
    samples = read_samples(tmp_path / "a.extxyz")
    assert [sample.structure is not None for sample in samples] == [True, False, True, False, True]
    assert "no unit cell" in samples[1].fault
    assert samples[2].structure.composition.reduced_formula == "LiH"
    assert "frame 4" in samples[3].fault
    other = tmp_path / "other.csv"
    with other.open("w", newline="") as file:
        csv.writer(file).writerows([["name", "gap", "Structure"], ["x", 1, MGO], ["x", 2, ""]])
    samples = read_samples(other)
    assert [(s.label, s.structure is not None) for s in samples] == [("x", True), ("x", False)]
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "a.cif").write_text(MGO)
    (tmp_path / "list.csv").write_text("candidate,cif_file\nc1,cifs/a.cif\nc2,cifs/none.cif\n")
    samples = read_samples(tmp_path / "list.csv")
    assert [(s.label, s.structure is not None) for s in samples] == [("c1", True), ("c2", False)]
    assert "none.cif" in samples[1].fault
