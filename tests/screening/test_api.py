"""A screening as a user runs it; without estimates, whose models have tests of their own."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from invdesign.composition.oxidation_states import ChargeRules
from invdesign.errors import InputError
from invdesign.screening import run
from invdesign.screening import work_units as units
from invdesign.screening.api import screen
from invdesign.screening.deduplicate import SeenKeys

SPACE = {"elements": "Cu,Zn,Sn,S,Na", "n_elements": "2..3", "max_atoms": 8}
PLAIN = {"estimates": False, "workers": 1}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_say_what_the_gates_found() -> None:
    salt, odd, alloy, magnetite = screen(["Na2Cl2", "NaCl2", "Cu5Zn8", "Fe3O4"], **PLAIN)
    assert (salt["formula"], salt["verdict"], salt["states"], salt["known"]) == (
        "NaCl",
        "passed",
        "Na1+ Cl1-",
        "yes",
    )
    assert (odd["verdict"], odd["charge"]) == ("charge balance", "none")
    assert (alloy["charge"], alloy["states"]) == ("usual", None)
    assert (magnetite["charge"], magnetite["states"]) == ("usual", "1 Fe2+ 2 Fe3+ O2-")
    assert 0 < magnetite["state_likelihood"] < salt["state_likelihood"] <= 1


def test_smacts_rules_have_their_own_words() -> None:
    odd, alloy, magnetite = screen(["NaCl2", "Cu5Zn8", "Fe3O4"], rules=ChargeRules(), **PLAIN)
    assert (odd["verdict"], odd["charge"]) == ("charge balance", "not neutral")
    assert alloy["charge"] == "intermetallic"
    assert magnetite["states"] == "1 Fe2+ 2 Fe3+ O2-, mixed valence"
    with pytest.raises(InputError, match="states: all"):
        screen(["NaCl"], states="all", rules=ChargeRules(), **PLAIN)


def test_gates_can_be_turned_off_and_on() -> None:
    def verdicts(**options: object) -> list[str]:
        return [row["verdict"] for row in screen(["NaCl", "NaCl2", "PbS", "K3LuF9"], **PLAIN, **options)]

    assert verdicts() == ["passed", "charge balance", "passed", "charge balance"]
    assert verdicts(rules=None) == ["passed"] * 4
    assert verdicts(novelty="new", rules=None) == ["novelty", "passed", "novelty", "passed"]
    assert verdicts(novelty="known", rules=None) == ["passed", "novelty", "passed", "novelty"]
    assert verdicts(target="exclude=toxic")[2] == "target"
    assert verdicts(target="elements=Na")[2] == "target"
    assert verdicts(target="anonymous=AB2", rules=None) == ["target", "passed", "target", "target"]
    assert verdicts(rules=ChargeRules(use_pauling_test=False, mixed_valence=False))[0] == "passed"


def test_what_design_leaves_out_by_default_is_evaluated_unless_excluded_by_name() -> None:
    assert next(iter(screen(["UO2"], **PLAIN)))["verdict"] == "passed"
    assert next(iter(screen(["UO2"], target="exclude=radioactive", **PLAIN)))["verdict"] == "target"


def test_all_assignments_the_likeliest_first() -> None:
    (row,) = screen(["CuInS2"], states="all", **PLAIN)
    every = row["all_states"].split("; ")
    assert len(every) > 1
    assert set(every[0].split()) == set(row["states"].split())


def test_a_space_is_a_table_of_what_passed() -> None:
    table = screen(space=SPACE, **PLAIN).table()
    assert set(table["verdict"].to_pylist()) == {"passed"}
    assert "Na3S" not in table["formula"].to_pylist()
    whole = screen(space=SPACE, rejected=True, **PLAIN).table()
    assert len(whole) > len(table)
    assert "Na3S" in whole["formula"].to_pylist()
    assert {"charge balance", "passed"} == set(whole["verdict"].to_pylist())


def test_similar_compounds_come_with_their_probability() -> None:
    rows = list(screen(like="CsPbI3", like_n=50, **PLAIN))
    chances = [row["p_exchange"] for row in rows]
    assert chances == sorted(chances, reverse=True)
    assert all(row["charge"] in ("usual", "unusual") for row in rows if row["verdict"] == "passed")


def test_shards_follow_one_another_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "PLACES", 100)
    screen(space=SPACE, **PLAIN, out=tmp_path / "whole")
    parts = []
    for i in (1, 2, 3):
        screen(space=SPACE, shard=(i, 3), **PLAIN, out=tmp_path / str(i))
        parts.append((tmp_path / str(i) / "screened.csv").read_bytes())
    assert b"".join(parts) == (tmp_path / "whole" / "screened.csv").read_bytes()


def test_shards_of_a_list_know_what_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "LINES", 4)
    given = tmp_path / "given.txt"
    lines = ["NaCl", "foo", "", "KCl", "Na2Cl2", "LiF", "LiF", "MgO", "# no", "CaO", "KCl", "ZnS", "bar2"]
    given.write_text("\n".join(lines))
    screen(given, **PLAIN, out=tmp_path / "whole")
    for name in ("screened.csv", "faults.csv"):
        parts = []
        for i in (1, 2, 3):
            out = tmp_path / f"{i}"
            screen(given, shard=(i, 3), **PLAIN, out=out)
            parts += (out / name).read_text().splitlines() if (out / name).exists() else []
        if name == "faults.csv":
            parts = [parts[0], *(line for line in parts if line != parts[0])]
        assert parts == (tmp_path / "whole" / name).read_text().splitlines()
    rows = rows_of(tmp_path / "whole" / "screened.csv")
    assert [row["line"] for row in rows] == ["1", "4", "6", "8", "10", "12"]
    assert [row["line"] for row in rows_of(tmp_path / "whole" / "faults.csv")] == ["2", "13"]


@pytest.mark.parametrize("parquet", [False, True])
def test_a_killed_screening_goes_on_to_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet: bool
) -> None:
    monkeypatch.setattr(units, "PLACES", 64)

    def files(folder: str) -> dict[str, bytes]:
        found = (tmp_path / folder).rglob("*")
        return {
            p.relative_to(tmp_path / folder).as_posix(): p.read_bytes()
            for p in found
            if p.is_file() and "screened" in p.as_posix()
        }

    screen(space=SPACE, parquet=parquet, **PLAIN, out=tmp_path / "whole")
    calls, whole = [], run.table_of

    def failing(*given: object, **named: object) -> object:
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*given, **named)

    monkeypatch.setattr(run, "table_of", failing)
    with pytest.raises(KeyboardInterrupt):
        screen(space=SPACE, parquet=parquet, **PLAIN, out=tmp_path / "killed")
    kept = files("killed")
    assert kept
    assert files("whole") != kept
    if not parquet:  # half a row, as a kill leaves it
        with (tmp_path / "killed" / "screened.csv").open("ab") as file:
            file.write(b'"Cu2')
    again = screen(space=SPACE, parquet=parquet, **PLAIN, out=tmp_path / "killed")
    assert files("killed") == files("whole")
    assert again.tally.as_json()["entered"]["target"] == screen(space=SPACE, **PLAIN).formulas.total
    with pytest.raises(InputError, match="another screening"):
        screen(space={**SPACE, "max_atoms": 9}, parquet=parquet, **PLAIN, out=tmp_path / "killed")


def test_other_formulas_in_a_begun_folder_are_refused(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("NaCl\nKCl\n")
    screen(given, **PLAIN, out=tmp_path / "out")
    given.write_text("NaCl\nLiCl\n")
    with pytest.raises(InputError, match="other formulas"):
        screen(given, **PLAIN, out=tmp_path / "out")


def test_nonsense_is_reported_and_the_rest_goes_on() -> None:
    rows = screen(["NaCl", "Xq2", "", "Li0.5CoO2", "H0.0031O"], **PLAIN)
    assert [row["formula"] for row in rows] == ["NaCl", "LiCo2O4"]
    assert rows.tally.faults == 3
    assert "Xq" in rows.tally.fault_lines[2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "space_group=225"}, "space_group"),
        ({"target": "n_atoms=5"}, "n_atoms"),
        ({"target": "shear_modulus_gpa>10", "estimates": True}, "shear_modulus_gpa"),
        ({"target": "band_gap>1"}, "estimates"),
        ({"space": SPACE}, "exactly one"),
        ({"shard": (3, 2)}, "shard"),
        ({"predictors": {"band_gap": "nobody"}, "estimates": True}, "nobody"),
        ({"predictors": {"band_gap": "bulk-modulus-composition"}, "estimates": True}, "no model of band_gap"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_options_are_one_sentence(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        list(screen(["NaCl", "KCl"], **{**PLAIN, **options}))


def test_nothing_is_an_empty_table() -> None:
    table = screen([], **PLAIN).table()
    assert len(table) == 0
    assert table.column_names[:4] == ["line", "given", "formula", "verdict"]


def test_what_is_no_text_is_a_fault() -> None:
    rows = screen(["NaCl", None, 7], **PLAIN)
    assert [row["formula"] for row in rows] == ["NaCl"]
    assert rows.tally.fault_lines.keys() == {2, 3}


def test_rows_read_twice_are_counted_once() -> None:
    rows = screen(["NaCl", "foo", "KCl"], **PLAIN)
    assert list(rows) == list(rows)
    assert (rows.tally.formulas, rows.tally.faults, len(rows.tally.fault_lines)) == (2, 1, 1)


def test_another_shard_does_not_resume_in_the_folder(tmp_path: Path) -> None:
    given = ["NaCl", "KCl", "LiCl", "RbCl"]
    for i, source in enumerate(({"formulas": given}, {"space": SPACE}, {"like": "CsPbI3", "like_n": 30})):
        screen(shard=(2, 3), **source, **PLAIN, out=tmp_path / str(i))
        with pytest.raises(InputError, match="shard"):
            screen(shard=(3, 3), **source, **PLAIN, out=tmp_path / str(i))
    screen(given, shard=(2, 3), **PLAIN, out=tmp_path / "0")
    with pytest.raises(InputError, match="list"):
        screen([*given[:3], "CsCl"], shard=(2, 3), **PLAIN, out=tmp_path / "0")


@pytest.mark.parametrize(("before", "after"), [("NaCl\nfoo\n", "NaCl\nbar\n"), ("NaCl\n", "\nNaCl\n")])
def test_other_lines_or_faults_are_other_formulas(tmp_path: Path, before: str, after: str) -> None:
    given = tmp_path / "given.csv"
    given.write_text("formula,x\n" + before.replace("\n", ",1\n").replace("foo,1", "foo"))
    screen(given, **PLAIN, out=tmp_path / "out")
    given.write_text("formula,x\n" + after.replace("\n", ",1\n").replace("bar,1", "bar,1,1"))
    with pytest.raises(InputError, match="other formulas"):
        screen(given, **PLAIN, out=tmp_path / "out")


@pytest.mark.parametrize("name", ["screened.csv", "screened.parquet/part-00001-00000000.parquet"])
def test_rows_that_are_lost_are_reported(tmp_path: Path, name: str) -> None:
    given = ["NaCl", "KCl"]
    screen(given, parquet="parquet" in name, **PLAIN, out=tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match="lost rows"):
        screen(given, parquet="parquet" in name, **PLAIN, out=tmp_path)


def test_more_shards_than_formulas(tmp_path: Path) -> None:
    screen(["NaCl", "KCl"], **PLAIN, out=tmp_path / "whole")
    parts = []
    for i in range(1, 6):
        screen(["NaCl", "KCl"], shard=(i, 5), **PLAIN, out=tmp_path / str(i))
        parts.append((tmp_path / str(i) / "screened.csv").read_bytes())
    assert b"".join(parts) == (tmp_path / "whole" / "screened.csv").read_bytes()
    assert b"formula" in parts[0]
    screen([], **PLAIN, out=tmp_path / "none")
    assert b"formula" in (tmp_path / "none" / "screened.csv").read_bytes()


def test_shards_count_what_the_whole_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "LINES", 4)
    given = tmp_path / "given.txt"
    given.write_text("NaCl\n\nKCl\nfoo\n# no\n\nLiF\nNaCl\nMgO\n\nCaO\nZnS\n\n\n")

    def counts(**options: object) -> tuple[int, int, int, int]:
        rows = screen(given, **PLAIN, **options)
        tally = [rows.table(), rows.tally][1]
        return tally.formulas, tally.faults, tally.repeats, tally.skipped

    parts = [counts(shard=(i, 3)) for i in (1, 2, 3)]
    assert tuple(map(sum, zip(*parts, strict=True))) == counts() == (6, 1, 1, 6)


def test_a_shard_of_a_list_reads_no_further_than_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "LINES", 2)
    source = units.OfList([f"Na{i}Cl" for i in range(1, 21)], shard=(1, 5))
    read, blocks = [], units.given_formulas

    def told(*given: object) -> object:
        for block in blocks(*given):
            read.append(block)
            yield block

    monkeypatch.setattr(units, "given_formulas", told)
    assert len(list(source.units())) == 2
    assert len(read) == 10 + 2  # counted, then read


def test_long_shards_follow_one_another_too(tmp_path: Path) -> None:
    space = {"elements": "Cu,Zn,Sn,S,Na,Se,O,K,Mg", "n_elements": "3", "max_atoms": 9}
    whole = screen(space=space, **PLAIN, out=tmp_path / "whole")
    assert whole.tally.formulas > 5_000
    parts = []
    for i in (1, 2, 3):
        screen(space=space, shard=(i, 3), **PLAIN, out=tmp_path / str(i))
        parts.append((tmp_path / str(i) / "screened.csv").read_bytes())
    assert b"".join(parts) == (tmp_path / "whole" / "screened.csv").read_bytes()


def test_units_of_a_shard_begin_where_those_of_the_whole_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "PLACES", 100)
    source = screen(space=SPACE, shard=(2, 3), **PLAIN).formulas
    found = [unit.batch[1:] for unit in source.units()]
    assert found[0][0] == source.places.start
    assert all(start % 100 == 0 for start, _ in found[1:])
    assert len({unit.digest for unit in source.units()}) == len(found)


def test_two_workers_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "PLACES", 100)
    screen(space=SPACE, **PLAIN, out=tmp_path / "one")
    screen(space=SPACE, **{**PLAIN, "workers": 2}, out=tmp_path / "two")
    assert (tmp_path / "two" / "screened.csv").read_bytes() == (
        tmp_path / "one" / "screened.csv"
    ).read_bytes()


def test_standard_input_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "LINES", 2)
    found = []
    for text in (b"NaCl\nKCl\nLiF\n", b"NaCl\nKCl\nLiF\n", b"NaCl\nRbCl\n"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(text))))
        if b"Rb" in text:
            with pytest.raises(InputError, match="other formulas"):
                screen("-", **PLAIN, out=tmp_path)
        else:
            screen("-", **PLAIN, out=tmp_path)
            found.append((tmp_path / "screened.csv").read_bytes())
    assert found[0] == found[1]


def test_what_was_too_much_to_remember_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    few = SeenKeys
    monkeypatch.setattr(units, "SeenKeys", lambda: few(4))
    rows = screen(["NaCl", "KCl", "LiCl", "RbCl", "RbCl"], **PLAIN)
    list(rows)
    assert rows.tally.deduplication_incomplete
    rows = screen(["NaCl", "KCl"], **PLAIN)
    list(rows)
    assert not rows.tally.deduplication_incomplete


@pytest.mark.parametrize(
    ("options", "told"),
    [({"top": 0}, "top"), ({"rules": ChargeRules(oxidation_states_set="no-such-file")}, "no-such-file")],
)
def test_what_cannot_run_claims_no_folder(tmp_path: Path, options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        screen(["NaCl"], **PLAIN, **options, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
