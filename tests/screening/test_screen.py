"""A screening as a user runs it; without estimates, whose models have tests of their own."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from invdesign.data.oxidation import ChargeRules
from invdesign.errors import InputError
from invdesign.screening import run, screen, screen_to, units

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
    assert (odd["verdict"], odd["charge"], odd["known"]) == ("charge balance", "not neutral", None)
    assert alloy["charge"] == "intermetallic"
    assert magnetite["states"] == "1 Fe2+ 2 Fe3+ O2-, mixed valence"


def test_gates_can_be_turned_off_and_on() -> None:
    def verdicts(**options: object) -> list[str]:
        return [row["verdict"] for row in screen(["NaCl", "NaCl2", "PbS", "NaLu7Te9"], **PLAIN, **options)]

    assert verdicts() == ["passed", "charge balance", "passed", "charge balance"]
    assert verdicts(rules=None) == ["passed"] * 4
    assert verdicts(novel=True, rules=None) == ["novelty", "passed", "novelty", "passed"]
    assert verdicts(target="exclude=toxic")[2] == "target"
    assert verdicts(target="elements=Na")[2] == "target"
    assert verdicts(target="anonymous=AB2", rules=None) == ["target", "passed", "target", "target"]
    assert verdicts(rules=ChargeRules(use_pauling_test=False, mixed_valence=False))[0] == "passed"


def test_what_design_leaves_out_by_default_is_judged_unless_excluded_by_name() -> None:
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
    assert "Cu2ZnS2" not in table["formula"].to_pylist()
    whole = screen(space=SPACE, rejected=True, **PLAIN).table()
    assert len(whole) > len(table)
    assert {"charge balance", "passed"} == set(whole["verdict"].to_pylist())


def test_likenesses_come_with_their_probability() -> None:
    rows = list(screen(like="CsPbI3", like_n=50, **PLAIN))
    chances = [row["p_exchange"] for row in rows]
    assert chances == sorted(chances, reverse=True)
    assert all(row["charge"] == "neutral" for row in rows)


def test_shards_follow_one_another_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "PLACES", 100)
    screen_to(tmp_path / "whole", space=SPACE, **PLAIN)
    parts = []
    for i in (1, 2, 3):
        screen_to(tmp_path / str(i), space=SPACE, shard=(i, 3), **PLAIN)
        parts.append((tmp_path / str(i) / "screened.csv").read_bytes())
    assert b"".join(parts) == (tmp_path / "whole" / "screened.csv").read_bytes()


def test_shards_of_a_list_know_what_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "LINES", 4)
    given = tmp_path / "given.txt"
    lines = ["NaCl", "foo", "", "KCl", "Na2Cl2", "LiF", "LiF", "MgO", "# no", "CaO", "KCl", "ZnS", "bar2"]
    given.write_text("\n".join(lines))
    screen_to(tmp_path / "whole", given, **PLAIN)
    for name in ("screened.csv", "faults.csv"):
        parts = []
        for i in (1, 2, 3):
            out = tmp_path / f"{i}"
            screen_to(out, given, shard=(i, 3), **PLAIN)
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

    screen_to(tmp_path / "whole", space=SPACE, parquet=parquet, **PLAIN)
    calls, whole = [], run.table_of

    def failing(*given: object, **named: object) -> object:
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*given, **named)

    monkeypatch.setattr(run, "table_of", failing)
    with pytest.raises(KeyboardInterrupt):
        screen_to(tmp_path / "killed", space=SPACE, parquet=parquet, **PLAIN)
    kept = files("killed")
    assert kept
    assert files("whole") != kept
    if not parquet:  # half a row, as a kill leaves it
        with (tmp_path / "killed" / "screened.csv").open("ab") as file:
            file.write(b'"Cu2')
    again = screen_to(tmp_path / "killed", space=SPACE, parquet=parquet, **PLAIN)
    assert files("killed") == files("whole")
    assert again.tally.as_json()["entered"]["target"] == screen(space=SPACE, **PLAIN).formulas.total
    with pytest.raises(InputError, match="another screening"):
        screen_to(tmp_path / "killed", space={**SPACE, "max_atoms": 9}, parquet=parquet, **PLAIN)


def test_other_formulas_in_a_begun_folder_are_refused(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("NaCl\nKCl\n")
    screen_to(tmp_path / "out", given, **PLAIN)
    given.write_text("NaCl\nLiCl\n")
    with pytest.raises(InputError, match="other formulas"):
        screen_to(tmp_path / "out", given, **PLAIN)


def test_nonsense_is_told_and_the_rest_goes_on() -> None:
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
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_bad_options_are_one_sentence(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        list(screen(["NaCl", "KCl"], **{**PLAIN, **options}))
