from __future__ import annotations

import csv
import gzip
import io
import os
import random
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invdesign.errors import InputError
from invdesign.screening.readers import given_formulas, read_formulas


def read(path, column=None, size=8192):
    """Formulas by line, faults by line, lines skipped."""
    blocks = list(read_formulas(path, column, size))
    formulas = {
        line: text for block in blocks for line, text in zip(block.lines, block.formulas, strict=True)
    }
    faults = {line: told for block in blocks for line, told in block.faults.items()}
    assert len(formulas) == sum(len(block.lines) for block in blocks)
    return formulas, faults, sum(block.skipped for block in blocks)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text(write, pack):
    content = "\ufeffCsPbI3\r\n\n  NaN \n# mine\nLi0.5CoO2\nFe₂O₃".encode()
    formulas, faults, skipped = read(write("list.txt", pack(content)))
    assert formulas == {1: "CsPbI3", 3: "NaN", 5: "Li0.5CoO2", 6: "Fe₂O₃"}
    assert (faults, skipped) == ({}, 2)


def test_junk_lines_are_reported_and_the_rest_goes_on(write):
    content = b"NaCl\n\xff\xfe\x00junk\nK\x00Cl\n" + b"C" * 2_000 + b"\n" + b"\x80" * 3_000_000 + b"\nKCl\n"
    formulas, faults, _ = read(write("list.txt", content))
    assert formulas == {1: "NaCl", 6: "KCl"}
    assert faults.keys() == {2, 3, 4, 5}
    assert "UTF-8" in faults[2]
    assert "longer than 1000" in faults[4]
    assert all(len(told) < 300 for told in faults.values())


def test_csv(write):
    content = 'id,formula,note\n1,CsPbI3,a\n\n2,NaN,"two\nlines, one ""row"""\n3,KCl,\n4,,b\n5,LiF\n'
    formulas, faults, skipped = read(write("list.csv", content))
    assert formulas == {2: "CsPbI3", 4: "NaN", 6: "KCl"}
    assert faults == {7: "no formula", 8: "2 fields, where the header has 3"}
    assert skipped == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(b"formula,gap\nNaCl,5\n", mtime=0)),
        ("a.tsv", b"gap\tformula\n5\tNaCl\n"),
        ("a.csv", b"\xef\xbb\xbfformula;gap\r\nNaCl;5,0\r\n"),
        ("no-suffix", b"gap,composition\n5,NaCl\n"),
        ("a.txt", b"formula\nNaCl\n"),
        ("quoted.csv", b'"formula","gap"\n"NaCl","5"\n'),
    ],
)
def test_tables_of_many_kinds(write, name, content):
    assert read(write(name, content)) == ({2: "NaCl"}, {}, 0)


def test_column_by_name(write):
    path = write("a.csv", "formula,mine\nNaCl,KCl\n")
    assert read(path, "mine")[0] == {2: "KCl"}
    assert read(write("a.txt", "x,mine\n1,KCl\n"), "mine")[0] == {2: "KCl"}
    with pytest.raises(InputError, match=r"'other' among \(formula, mine\)"):
        read(path, "other")


def test_a_quote_never_closed_takes_no_row_with_it(write):
    rows = "".join(f"NaCl,{i}\n" for i in range(40_000))
    formulas, faults, _ = read(write("a.csv", f'formula,note\nKCl,"open\n{rows}LiF,x\n'))
    assert faults.keys() == {2}
    assert "CSV" in faults[2]
    assert len(formulas) == 40_001
    assert formulas[40_003] == "LiF"
    formulas, faults, _ = read(write("b.csv", 'formula,note\nKCl,1\nLiF,"open\nNaF,2\n'))
    assert (formulas, faults.keys()) == ({2: "KCl", 4: "NaF"}, {3})


def test_a_cell_beyond_utf8_elsewhere_costs_no_formula(write):
    content = b"formula,note\nNaCl,5 \xc5\nK\xc5Cl,x\nLiF," + b"z" * 1000 + b"\n"
    formulas, faults, _ = read(write("a.csv", content))
    assert (formulas, faults.keys()) == ({2: "NaCl", 4: "LiF"}, {3})


@pytest.mark.parametrize("name", ["a.txt.gz", "a.csv.gz"])
def test_cut_gzip_gives_what_is_whole(write, name):
    count = 50_000
    whole = "formula\n" * name.startswith("a.csv") + "".join(
        f"Na{i + 1}Cl{os.urandom(3).hex()}\n" for i in range(count)
    )
    packed = gzip.compress(whole.encode())
    formulas, faults, _ = read(write(name, packed[: len(packed) // 2]))
    lines = whole.splitlines()
    assert 1_000 < len(formulas) < count
    assert all(formulas[line] == lines[line - 1] for line in formulas)  # none is half a formula
    assert faults.keys() == {max(formulas) + 1}
    assert "cut short or broken" in next(iter(faults.values()))


def test_broken_gzip_is_reported(write):
    packed = bytearray(gzip.compress(random.Random(0).randbytes(200_000).hex().encode()))
    packed[len(packed) // 2 : len(packed) // 2 + 50] = bytes(50)
    _, faults, _ = read(write("a.gz", bytes(packed)))
    assert any("broken" in told for told in faults.values())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "NaCl\n".encode("utf-16"), "UTF-16"),
        ("a.xlsx", b"PK\x03\x04rest", "zip or Excel"),
        ("a.csv", b"", "no column 'formula'"),
        ("a.csv", b"a,b\n1,2\n", "no column 'formula'"),
        ("a.parquet", b"NaCl\n", "cannot be read as Parquet"),
        ("a.parquet", b"PAR1 and no end", "cannot be read as Parquet"),
    ],
)
def test_files_of_other_kinds_are_reported(write, name, content, told):
    with pytest.raises(InputError, match=told):
        read(write(name, content))


def test_no_file_and_a_folder_are_reported(tmp_path):
    for path in [tmp_path / "none.txt", tmp_path]:
        with pytest.raises(InputError, match=r"cannot be opened|no such file"):
            read(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path, kind):
    texts = ["CsPbI3", None, "NaN", "", " KCl "] * 5_000
    path = tmp_path / "a.parquet"
    table = pa.table({"gap": range(len(texts)), "formula": pa.array(texts).cast(kind)})
    pq.write_table(table, path, row_group_size=777)
    formulas, faults, _ = read(path, size=100)
    assert len(formulas) == 15_000
    assert [formulas[line] for line in (1, 3, 5, 25_000)] == ["CsPbI3", "NaN", "KCl", "KCl"]
    assert set(faults.values()) == {"no formula"}
    with pytest.raises(InputError, match="holds int64"):
        read(path, "gap")


def test_a_table_with_two_columns_of_formulas_is_refused(tmp_path):
    table = pa.table([pa.array(["NaCl"]), pa.array(["KCl"])], names=["formula", "formula"])
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("formula,formula\nNaCl,KCl\n")
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(InputError, match="two columns are named 'formula'"):
            list(read_formulas(tmp_path / name))


def test_parquet_text_that_is_not_utf8(tmp_path):
    offsets = pa.py_buffer(np.array([0, 4, 7, 10], dtype=np.int32))
    column = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"NaClK\xffFLiF")])
    pq.write_table(pa.table({"formula": column}), tmp_path / "a.parquet")
    formulas, faults, _ = read(tmp_path / "a.parquet")
    assert (formulas, faults.keys()) == ({1: "NaCl", 3: "LiF"}, {2})


def test_parquet_broken_in_the_middle(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"formula": [f"Na{i}Cl" for i in range(1, 100_000)]}), path, row_group_size=10_000
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 5_000] = bytes(5_000)
    path.write_bytes(content)
    formulas, faults, _ = read(path)
    assert formulas[1] == "Na1Cl"
    assert any("broken" in told for told in faults.values())


def test_standard_input(monkeypatch):
    for content, expected in [(b"NaCl\nKCl", {1: "NaCl", 2: "KCl"}), (b"x,formula\n1,NaN\n", {2: "NaN"})]:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content))))
        assert read("-")[0] == expected


@settings(max_examples=200)
@given(content=st.binary(max_size=300), size=st.integers(1, 5))
def test_no_bytes_are_fatal(tmp_path_factory, content, size):
    path = tmp_path_factory.mktemp("any") / "a.txt"
    path.write_bytes(b"NaCl\n" + content + b"\nKCl\n")
    formulas, faults, skipped = read(path, size=size)
    assert formulas[1] == "NaCl"
    assert formulas[max(formulas)] == "KCl"
    assert len(formulas) + len(faults) + skipped == content.count(b"\n") + 3


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)


@settings(max_examples=200)
@given(rows=st.lists(st.tuples(cells, st.sampled_from(["NaCl", "CsPbI3", "NaN"]), cells), max_size=30))
def test_every_row_of_a_table_on_its_line(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "a.csv"
    expected, line = {}, 2
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["id", "formula", "note"])
        for before, formula, after in rows:
            writer.writerow([before, formula, after])
            expected[line] = formula
            line += 1 + before.count("\n") + after.count("\n")
    assert read(path, size=7) == (expected, {}, 0)


@settings(max_examples=200)
@given(content=st.text(st.sampled_from('",\n\rNaCl')), size=st.integers(1, 5))
def test_no_table_is_fatal(tmp_path_factory, content, size):
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(b"formula,x\nNaCl,1\n" + content.encode() + b"\n")
    formulas, _, _ = read(path, size=size)
    assert formulas[2] == "NaCl"


def test_memory_is_flat(tmp_path):
    program = """
import resource, sys
from invdesign.screening.readers import read_formulas
next(read_formulas(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(len(block.lines) for block in read_formulas("-")))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    (tmp_path / "a.txt").write_text("NaCl\n" * 100_000)
    content = b"CsPbI3\n" * 1_000_000 + b"\xff" * 60_000_000
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.txt"], input=content, capture_output=True, check=True
    )
    count, grown = done.stdout.split()[0], float(done.stdout.split()[-1])
    assert int(count) == 1_000_000
    assert grown < 20  # MiB


def test_formulas_at_hand_are_faulted_as_those_of_a_file():
    blocks = list(given_formulas(["NaCl", None, " KCl ", 3.5, "", "C" * 2_000, "K\x00Cl"], size=3))
    assert [block.formulas for block in blocks] == [["NaCl", "KCl"], [], []]
    told = {line: fault for block in blocks for line, fault in block.faults.items()}
    assert told.keys() == {2, 4, 5, 6, 7}
    assert "None" in told[2]
    assert told[5] == "no formula"
    assert "longer" in told[6]
