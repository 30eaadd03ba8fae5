"""Relaxed genes: what is written is read; only what passed teaches a generator; damage is told."""

import csv
import gzip

import numpy as np
import pytest

from invdesign.crystal.gene import Gene
from invdesign.crystal.geometry import Geometry
from invdesign.data.relaxed_genes import COLUMNS, CRYSTALS, OUTCOMES, read_relaxed
from invdesign.data.tokens import tokens_of
from invdesign.errors import InputError
from invdesign.io.artifacts import root

SALT, SULFIDE = Gene.parse("225 Na@a Cl@b"), Gene.parse("216 Zn@a S@c")
CUBE = Geometry((5.6, 5.6, 5.6, 90.0, 90.0, 90.0), ((), ()))


@pytest.fixture
def folder(tmp_path):
    """Three candidates: one found no geometry, one lies too high, one is kept."""
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"campaign": 7, "proposed_gene": str(SALT), "novelty": 2, "place": 0, "steps": 9}
        for _ in range(3)
    ]
    rows[0] |= {"id": "7:c0", "rejected_by": "geometry"}
    rows[1] |= {"id": "7:c1", "e_above_hull": 0.3, "band_gap": 4.0, "rejected_by": "hull", "formula": "NaN"}
    rows[2] |= {"id": "7:c2", "e_above_hull": 0.01, "band_gap": 2.1, "proposed_gene": "1 Zn@a S@a"}
    with gzip.open(tmp_path / OUTCOMES, "wt", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    tokens_of([("7:c1", 1, SALT, CUBE), ("7:c2", 2, SULFIDE, CUBE)]).save(tmp_path / CRYSTALS)
    return tmp_path


def test_only_what_relaxed_is_read(folder):
    found = read_relaxed(folder)
    assert found.e_above_hull.tolist() == [0.3, 0.01]
    assert found.band_gap.tolist() == [4.0, 2.1]
    assert found.proposed == (SALT, Gene.parse("1 Zn@a S@a"))
    assert [found.tokens.gene(i) for i in range(2)] == [SALT, SULFIDE]
    assert found.kept.tolist() == [False, True]


def test_only_what_was_kept_is_stable(folder):
    stable = read_relaxed(folder).stable()
    assert stable.tokens.gene(0) == SULFIDE
    assert (len(stable.tokens), len(stable.proposed), stable.kept.tolist()) == (1, 1, [True])


@pytest.mark.parametrize(
    "damage", [b"", b"not gzip", gzip.compress(b"id\n7:c0\n", mtime=0)], ids=["empty", "not packed", "short"]
)
def test_a_damaged_table_is_reported(folder, damage):
    (folder / OUTCOMES).write_bytes(damage)
    with pytest.raises(InputError, match="outcomes"):
        read_relaxed(folder)


def test_the_released_crystals():
    found = read_relaxed()
    assert found.kept.sum() > 2000
    assert found.e_above_hull[found.kept].max() <= 0.1
    assert found.tokens.n_atoms.max() <= 20
    assert 0.2 < (found.band_gap > 0).mean() < 0.9
    formulas = [gene.elements for gene in found.proposed]
    assert all(
        set(found.tokens.gene(i).elements) == set(formulas[i]) for i in range(0, len(found.tokens), 97)
    )
    assert len(np.unique(found.campaign)) > 1
    folder = root("models") / "relaxed-genes"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
