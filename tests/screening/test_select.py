"""What of a screening, or of any table or list, goes on to structures."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invdesign.core.target import parse_target
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError
from invdesign.screening.api import screen
from invdesign.screening.select import select_likeliest

ROWS = {
    "formula": ["CsPbI3", "MgO2", "NaSrTlS3", "RbK2Sb5O14", "RbCaAsS4", "Sr2Tl2Na2S6", "KYSnSe4", "NaN3Xx"],
    "verdict": ["passed", "charge balance", *["passed"] * 6],
    "p_hit": [0.9, None, 0.5, 0.8, 0.7, 0.6, None, 0.4],
}
LIKELIEST = ["RbCaAsS4", "NaSrTlS3", "KYSnSe4"]


def chosen(path, n=10, target="", **options):
    return select_likeliest(path, parse_target(target), n, elements=frozenset(SYMBOLS[1:]), **options)


def written(folder):
    """The same rows in every kind of file."""
    table = pa.table(ROWS)
    parts = folder / "parts" / "screened.parquet"
    parts.mkdir(parents=True)
    for number, first in enumerate(range(0, len(table), 3)):
        pq.write_table(table.slice(first, 3), parts / f"part-{number:08d}.parquet")
    pq.write_table(table, folder / "all.parquet")
    lines = [
        ",".join("" if value is None else str(value) for value in row.values()) for row in table.to_pylist()
    ]
    text = "\n".join(["formula,verdict,p_hit", *lines, ""])
    (folder / "screened.csv").write_text(text)
    (folder / "semicolons.csv").write_text(text.replace(",", ";"))
    (folder / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    return [
        folder / "parts",
        parts,
        folder / "all.parquet",
        folder,
        *(folder / name for name in ("screened.csv", "semicolons.csv", "packed.csv.gz")),
    ]


def test_the_likeliest_of_any_table(tmp_path):
    for path in written(tmp_path):
        found = chosen(path)
        assert found.formulas == LIKELIEST
        assert found.rows == 8
        assert found.left_out == {
            "did not pass": 1,
            "no formula": 1,
            "known": 1,
            "no multiple within 1 to 20 atoms": 1,
        }
        assert chosen(path, 1).formulas == found.formulas[:1]
        assert chosen(path, 1, novelty="any").formulas == ["CsPbI3"]


def test_lists_keep_their_order(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# mine\nKYSnSe4\nRbCaAsS4\nnonsense!\nSe4SnYK\n")
    found = chosen(path)
    assert found.formulas == ["KYSnSe4", "RbCaAsS4"]
    assert (found.rows, found.left_out) == (4, {"no formula": 1})
    assert chosen(path, 1).formulas == ["KYSnSe4"]


def test_what_is_outside_the_target_is_left_out(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("KYSnSe4\nRbCaAsS4\n")
    outside = "elements or supply outside the target"
    for target in ("exclude=As", "elements=Y", "only=K,Y,Sn,Se"):
        found = chosen(path, target=target)
        assert (found.formulas, found.left_out) == (["KYSnSe4"], {outside: 1})
    assert chosen(path, target="abundance>1").formulas == ["RbCaAsS4"]
    assert chosen(path, target="n_atoms=8..20").left_out == {}
    assert chosen(path, target="n_atoms=8..13 space_group=62 band_gap>1").formulas == []
    known = chosen(path, target="elements=Y").formulas
    assert (
        known
        == select_likeliest(path, parse_target(""), 9, elements=frozenset({"K", "Y", "Sn", "Se"})).formulas
    )


def test_a_screening_of_ours(tmp_path):
    formulas = ["RbCaAsS4", "CsPbI3", "NaF3", "KYSnSe4"]
    for parquet in (False, True):
        out = tmp_path / str(parquet)
        screen(formulas, parquet=parquet, estimates=False, workers=1, out=out)
        found = chosen(out)
        assert found.formulas == ["RbCaAsS4", "KYSnSe4"]
        assert found.left_out == {"did not pass": 1, "known": 1}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.csv", None, "no such file"),
        ("none.parquet", None, "cannot be read"),
        ("table.csv", "name,p_hit\nA,1\n", "no column of formulas"),
        ("table.csv", "formula,p_hit\nKCl,likely\n", "p_hit in numbers"),
        ("table.csv", "formula,p_hit\nKCl,0.5,3\n", "Expected 2 columns, got 3"),
        ("table.csv.gz", "formula,p_hit\nKCl,0.5\n", "cannot be read"),
        ("broken.parquet", "PAR1", "cannot be read"),
        ("folder", "", "no screening's folder"),
    ],
)
def test_what_is_none_is_reported(tmp_path, name, content, told):
    path = tmp_path / name
    if content:
        path.write_text(content)
    elif content == "":
        path.mkdir()
    with pytest.raises(InputError, match=told):
        chosen(path)


def test_a_shard_without_header_is_read(tmp_path):
    space = {"elements": "Na,K,Cl,O", "max_atoms": 5}
    for i in (1, 2):
        screen(space=space, shard=(i, 2), estimates=False, workers=1, out=tmp_path / str(i))
    assert not (tmp_path / "2" / "screened.csv").read_text().startswith('"formula"')
    assert chosen(tmp_path / "2").formulas


def test_the_windows_of_the_campaign_decide_not_those_of_the_screening(tmp_path):
    path = tmp_path / "screened.csv"
    path.write_text("formula,verdict,p_hit\nPbTe,passed,0.9\nLiF,passed,0.1\n")
    assert chosen(path, 1, novelty="any").formulas == ["PbTe"]
    assert chosen(path, 1, novelty="known").formulas == ["PbTe"]
    assert chosen(path, 1, "band_gap>5", novelty="any").formulas == ["LiF"]
