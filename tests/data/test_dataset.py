from __future__ import annotations

from typing import TYPE_CHECKING

from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from invdesign.data.dataset import numbers, read_dataset

if TYPE_CHECKING:
    from pathlib import Path

CELL = Structure(Lattice.cubic(3.3), ["Na", "N"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_numeric_columns_are_properties(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text(
        f'material_id,pretty_formula,band_gap,year,note,cif\nmp-1,NaN,1.25,1997,,"{CifWriter(CELL)}"\n'
    )
    (entry,) = read_dataset(path)
    assert entry.id == "mp-1"
    assert entry.properties == {"band_gap": 1.25, "year": 1997.0}
    assert entry.structure.composition.reduced_formula == "NaN"


def test_compounds_that_look_like_numbers_are_not() -> None:
    assert numbers({"a": "NaN", "b": "InF", "c": "", "d": None, "e": "1e3", "f": 2}) == {
        "e": 1000.0,
        "f": 2.0,
    }
