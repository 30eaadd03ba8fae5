"""What ``evaluate`` refuses, and how it tells what was not done."""

import csv
import json
import re

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from invdesign.analysis.inputs import read_samples
from invdesign.campaign.validate import check_names
from invdesign.cli import app
from invdesign.errors import InputError
from invdesign.io import artifacts

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def salt(tmp_path):
    SALT.to(filename=str(tmp_path / "salt.cif"))
    return str(tmp_path / "salt.cif")


@pytest.mark.parametrize(
    ("option", "given", "told"),
    [
        ("--hull", "foo", r"hull: there is no 'foo'; give mp-hull, or a CSV"),
        (
            "--hull",
            "known-materials",
            r"hull: 'known-materials' is no hull: it has no hull.npz; give mp-hull,",
        ),
        ("--hull", "foo.csv", r"hull: foo.csv is not there"),
        ("--reference", "foo", r"reference: there is no 'foo'; give known-materials, or a folder"),
        ("--reference", "mp-hull", r"reference: 'mp-hull' is no reference"),
        ("--calibration", "foo", r"calibration: there is no 'foo'; give .*chgnet-0.3.0"),
        ("--second-calibration", "foo", r"second_calibration: there is no 'foo'; give .*7net-0"),
        (
            "--second-opinion",
            "chgnett",
            r"second_opinion: potential: there is no 'chgnett'; did you mean",
        ),
        ("--limit", "0", r"limit: 0 cannot be; give 1 or more"),
        ("--workers", "0", r"workers: 0 cannot be"),
        ("--seed", "-1", r"seed: -1 cannot be"),
    ],
)
def test_a_wrong_name_is_reported_with_its_option(option, given, told, salt):
    result = run("evaluate", salt, option, given)
    assert result.exit_code == 2
    assert re.match(told, result.stderr.strip()), result.stderr
    assert "early-stopping" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_names_that_are_right_or_objects_pass(tmp_path):
    check_names(hull="mp-hull", reference="known-materials", calibration=None)
    check_names(hull="mp:Li-Fe-O", reference=object(), calibration="chgnet-0.3.0")
    check_names(hull=str(artifacts.root("validators") / "mp-hull"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match=r"hull: .*runs' is no hull"):
        check_names(hull=str(tmp_path / "runs"))
    (tmp_path / "runs" / "vasprun.xml").write_text("")
    check_names(hull=str(tmp_path / "runs"))  # the hull says what the runs lack
    with pytest.raises(InputError, match="is no reference"):
        check_names(reference=str(tmp_path / "runs"))


def test_without_relaxation_nothing_is_stated_to_converge(salt, tmp_path):
    shown = run("evaluate", salt, "--no-relax", "--workers", "1", "--out", str(tmp_path / "out"))
    assert shown.exit_code == 0
    assert "1 crystals sampled, not relaxed; chgnet-0.3.0" in shown.stdout
    assert "converged" not in shown.stdout
    assert "a relaxation" not in shown.stdout
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "converged" not in stored["rates"]
    assert not {"rmsd", "steps"} & stored["medians"].keys()
    assert stored["medians"]["e_above_hull"] < 0.2
    assert any("Nothing was relaxed" in caveat for caveat in stored["caveats"])
    with (tmp_path / "out" / "structures.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["converged"], row["n_steps"], row["relaxation"]) == ("", "", "not relaxed")


def test_tables_in_a_pipe_are_whole(salt, tmp_path):
    """Long names of compared sets: every figure of every column is there."""
    first = run("evaluate", salt, "--no-relax", "--workers", "1", "--out", str(tmp_path / "a"))
    text = (tmp_path / "a" / "evaluation.json").read_text()
    names = [f"a-set-of-crystals-with-a-long-name-{i}" for i in range(4)]
    for name in names:
        (tmp_path / f"{name}.json").write_text(text)
    compared = [word for name in names for word in ("--compare", str(tmp_path / f"{name}.json"))]
    result = run("evaluate", salt, "--no-relax", "--workers", "1", *compared)
    assert all(name in result.stdout for name in names)
    line = next(line for line in result.stdout.splitlines() if line.startswith("readable"))
    assert line.split() == ["readable", "1", "1.000", "0.207", "to", "1.000", *["1.000"] * 4]
    assert "…" not in first.stdout + result.stdout


def test_the_folder_of_generate_is_read_once(tmp_path):
    out = tmp_path / "run"
    made = run(
        "generate",
        "--formula",
        "NaCl",
        "--generator",
        "prototypes",
        "-n",
        "3",
        "--out",
        str(out),
        "--workers",
        "1",
    )
    assert made.exit_code == 0, made.stderr
    assert [sample.label for sample in read_samples(out)] == ["g000000", "g000001", "g000002"]
