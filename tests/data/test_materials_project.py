"""The Materials Project's crystals: which gaps can be learned from, on which scale, in which cell."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from invdesign.data.materials_project import LATER_VOLUME, MaterialsProject

NAN = np.nan
# id, gap, later gap, identity only
ROWS = [
    (1, 2.0, NAN, False),
    (2, NAN, 1.5, False),
    (3, 0.0, 0.9, False),  # a metal by one, none by the other
    (4, 3.0, 3.2, True),
    (5, NAN, NAN, False),
    (6, 0.0, NAN, False),
    (7, 1.0, 1.1, False),
]


@pytest.fixture
def crystals(tmp_path: Path) -> MaterialsProject:
    """Rock salts of 2 sites, but the last of 4."""
    ids, gap, later, identity = map(np.array, zip(*ROWS, strict=True))
    sites = np.array([2] * (len(ROWS) - 1) + [4])
    np.savez(
        tmp_path / "mp.npz",
        material_id=ids,
        n_sites=sites.astype(np.uint8),
        cell=np.tile(np.float32([3.9, 3.9, 3.9, 60, 60, 60]), (len(ROWS), 1)),
        atomic_number=np.tile([11, 17], sites.sum() // 2).astype(np.uint8),
        fractional=np.tile(np.uint16([[0, 0, 0], [32768] * 3]), (sites.sum() // 2, 1)),
        band_gap=gap.astype(np.float32),
        band_gap_later=later.astype(np.float32),
        identity_only=identity,
    )
    return MaterialsProject.read(tmp_path / "mp.npz")


def test_a_row_is_a_crystal(crystals: MaterialsProject) -> None:
    salt = crystals.structure(1)
    assert salt.composition.reduced_formula == "NaCl"
    assert salt.frac_coords.tolist() == [[0, 0, 0], [0.5, 0.5, 0.5]]


def test_gaps_that_contradict_each_other_or_only_identify_are_left_out(crystals: MaterialsProject) -> None:
    entries = list(crystals.with_gaps(20, left_out=(), cells={}))
    assert {entry.id: entry.properties["band_gap"] for entry in entries} == {
        "mp-1": 2.0,
        "mp-2": 1.5,
        "mp-6": 0.0,
        "mp-7": 1.0,
    }
    assert [entry.properties["later"] for entry in entries] == [0, 1, 0, 0]


def test_small_crystals_that_no_other_file_has(crystals: MaterialsProject) -> None:
    assert [entry.id for entry in crystals.with_gaps(2, left_out={"mp-1"}, cells={})] == ["mp-2", "mp-6"]


def test_cells_are_pbe_s_or_scaled_to_its_volumes(crystals: MaterialsProject) -> None:
    known = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    found = {
        entry.id: entry.structure for entry in crystals.with_gaps(20, left_out=(), cells={"mp-1": known})
    }
    assert found["mp-1"] == known
    assert found["mp-2"].volume == pytest.approx(crystals.structure(1).volume / LATER_VOLUME)
