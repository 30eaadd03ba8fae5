"""Read back what a design run left: ``python .ci/check_run.py FOLDER``."""

import csv
import json
import sqlite3
import sys
from pathlib import Path

from pymatgen.core import Structure

COLUMNS = {"rank", "candidate", "formula", "space_group", "p_hit", "novelty", "charge_states", "cif_file"}
INTERVALS = ("band_gap", "e_above_hull")
KEYS = {"campaign", "target", "funnel", "shortlisted", "invdesign", "packages", "artifacts", "hardware"}
PNG = b"\x89PNG\r\n\x1a\n"


def check(folder: Path) -> str:
    """Assert that a run's files are whole and agree; says what is there."""
    with (folder / "shortlist.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run.keys() >= KEYS, KEYS - run.keys()
    assert run["shortlisted"] == len(rows)
    assert rows, "the shortlist is empty"
    for row in rows:
        assert row.keys() >= COLUMNS, COLUMNS - row.keys()
        for name in INTERVALS:
            low, value, high = (float(row[name + end]) for end in ("_low", "", "_high"))
            assert low <= value <= high, row
        symmetrised = Structure.from_file(folder / row["cif_file"])
        plain = Structure.from_file(folder / row["cif_file"].replace("cifs/", "cifs/P1/"))
        assert {symmetrised.reduced_formula, plain.reduced_formula} == {row["formula"]}
    assert (folder / "funnel.png").read_bytes().startswith(PNG)
    with sqlite3.connect(folder / "candidates.db") as database:
        (stored,) = database.execute("select count(*) from systems").fetchone()
    generated = run["funnel"][0]["entered"]
    assert stored == generated, (stored, generated)
    return f"{len(rows)} shortlisted of {stored} candidates; every file is whole"


print(check(Path(sys.argv[1])))
