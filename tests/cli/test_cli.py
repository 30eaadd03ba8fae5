import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import invdesign
from invdesign.cli import app

COMMANDS = ("design", "generate", "relax", "hull", "evaluate", "predict-structure", "screen", "dft", "train")
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def run(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)


def refused(*arguments: str) -> str:
    """The sentence on stderr of a command that refuses its input."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_capitals_that_may_be_other_elements_are_reported_once():
    result = run("screen", "HFO2", "CUSO4·5H2O", "K2CO3", "--no-estimates", "--no-charges")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if line.startswith("formula")] == [
        "formula: 'HFO2' is read as H, F, O; write 'HfO2' if that is meant.",
        "formula: 'CUSO4·5H2O' is read as C, U, S, O, H; write 'CuSO4·5H2O' if that is meant.",
    ]


@pytest.fixture
def files(tmp_path):
    """Structure files, good and bad, by name."""
    (tmp_path / "folder").mkdir()
    SALT.to(filename=str(tmp_path / "salt.cif"))
    disordered = SALT.copy()
    disordered.replace_species({"Na": {"Na": 0.5, "K": 0.5}})
    disordered.to(filename=str(tmp_path / "disordered.cif"))
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "words.cif").write_text("no crystal at all\n")
    (tmp_path / "half.cif").write_text((tmp_path / "salt.cif").read_text()[:200])
    (tmp_path / "table.csv").write_text("formula\nNaCl\n")
    (tmp_path / "note.txt").write_text("NaCl")
    return tmp_path


def test_help_has_examples():
    shown = run("--help").output
    assert all(command in shown for command in COMMANDS)
    for command in (*((name,) for name in COMMANDS if name != "dft"), ("dft", "write")):
        shown = run(*command, "--help").output
        assert "Example" in shown
        assert f"invdesign {' '.join(command)}" in shown


def test_version():
    assert run("--version").output.strip() == f"invdesign {invdesign.__version__}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bandgap=1.5±0.25"], "did you mean band_gap?"),
        (["band_gap=2..1"], "impossible"),
        (["band_gap=-2..-1"], "never below 0"),
        (["band_gap=1.5"], "give a tolerance"),
        (["band_gap>3", "--elements", "Xx"], "'Xx' is not a chemical element"),
        (["band_gap>3", "--elements", "Pb", "--exclude", "Pb"], "both asked for and excluded"),
        (["band_gap>3", "--formula", "PbO", "--exclude", "Pb"], "both asked for and excluded"),
        (["band_gap>3", "--formula", "hello"], "formula: 'hello'"),
        (["band_gap>3", "--exclude", "poison"], "halogens, toxic, radioactive"),
        (["band_gap>3", "--max-hhi", "0"], "hhi: 0 is not above 0 and at most 10000"),
        (["band_gap>3", "hhi<3000", "--max-hhi", "20000"], "at most 10000"),
        (["band_gap>3", "--min-abundance", "nan"], "write abundance>1 mg/kg"),
        (["band_gap>3", "--elements", "Te", "--min-abundance", "1"], "Te must be there"),
        (["--space-group", "231"], "none of the 230"),
        (["--n-atoms", "5..100"], "between 1 and 20"),
        (["band_gap>3", "--n", "0"], "n_genes"),
        (["band_gap>3", "--seed", "-1"], "seed"),
        (["band_gap>3", "--config", "no-such.yaml"], "no-such.yaml"),
    ],
)
def test_design_refuses_a_bad_target(arguments, told, tmp_path):
    out = tmp_path / "run"
    assert told in refused("design", *arguments, "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("design", "band_gap>1", "--potential", "mace-mp"),
        ("design", "band_gap>1", "--finish", "7net-2"),
        ("design", "band_gap>1", "--generator", "gene-difusion"),
        ("relax", "salt.cif", "--potential", "mace-mp"),
        ("predict-structure", "NaCl", "--potential", "mace-mp"),
        ("evaluate", "salt.cif", "--second-opinion", "7net_9"),
    ],
)
def test_an_unknown_component_is_refused_with_the_known_ones(arguments, files):
    out = files / "run"
    arguments = [str(files / name) if name == "salt.cif" else name for name in arguments]
    assert "known: " in refused(*arguments, "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize(("target", "word"), [((), "stable"), (("--target", "band_gap>1"), "hit")])
def test_a_screening_speaks_of_hits_where_there_is_a_target(target, word):
    shown = run("screen", "CuInS2", *target).stdout
    assert f"{word} " in shown
    assert ("hit" in shown) == (word == "hit")


def test_design_refuses_a_formula_that_cannot_be_balanced(tmp_path):
    assert "cannot be balanced" in refused("design", "--formula", "Na3Cl", "--out", str(tmp_path / "run"))


def test_design_reads_the_target_of_a_campaign_file(tmp_path):
    file = tmp_path / "campaign.yaml"
    file.write_text("target: band_gap=1.5±0.25 formula=Na3Cl\nn_genes: 8\n", encoding="utf-8")
    told = refused("design", "e_above_hull<0.05", "--config", str(file), "--out", str(tmp_path / "run"))
    assert "Na3Cl cannot be balanced" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["hello"], "formula: 'hello'"),
        (["Ca10P6O26"], "21 atoms"),
        (["NaCl", "--n-atoms", "3"], "no multiple of the 2 atoms"),
        (["NaCl", "--space-group", "231"], "none of the 230"),
        (["NaCl", "--generator", "no-such"], "no-such"),
        (["--file", "no-such.txt"], "no-such.txt"),
        ([], "none was given"),
    ],
)
def test_predict_structure_refuses_what_it_cannot(arguments, told, tmp_path):
    out = tmp_path / "prediction"
    assert told in refused("predict-structure", *arguments, "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize("part", ["--hull", "--potential", "--generator"])
def test_design_refuses_missing_parts(part, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    out = str(tmp_path / "run")
    told = refused("design", "band_gap>3", part, str(tmp_path / "none"), "--out", out, "--quiet")
    assert "none" in told


def test_design_refuses_a_file_as_folder(files):
    assert "give a folder" in refused("design", "band_gap>3", "--out", str(files / "salt.cif"))


@pytest.mark.parametrize("command", ["relax", "evaluate"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none.cif", "no such file"),
        ("note.txt", "not a kind of structure file"),
        ("folder", "no structure files"),
        ("table.csv", "no cif column"),
    ],
)
def test_files_that_hold_no_structures(command, name, told, files):
    assert told in refused(command, str(files / name))


@pytest.mark.parametrize("name", ["disordered.cif", "empty.cif", "words.cif", "half.cif"])
def test_relax_refuses_what_is_no_ordered_crystal(name, files):
    assert name in refused("relax", str(files / name), "--out", str(files / "out"))
    assert not (files / "out").exists()


def test_relax_refuses_bad_settings(files):
    salt = str(files / "salt.cif")
    assert "fmax" in refused("relax", salt, "--fmax", "0", "--out", str(files / "out"))
    assert "no-such" in refused(
        "relax", salt, "--potential", str(files / "no-such"), "--out", str(files / "out")
    )


def test_relax_writes_a_table_and_cifs(files):
    result = run("relax", str(files / "salt.cif"), "--out", str(files / "out"), "--workers", "1", "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)
    assert row["converged"]
    assert row["energy_ev_per_atom"] == pytest.approx(-3.67, abs=0.03)  # CHGNet, rock salt
    relaxed = Structure.from_file(files / "out" / row["cif_file"])
    assert relaxed.composition == SALT.composition
    assert (files / "out" / "relaxed.csv").read_text().count("\n") == 2


def test_screen_from_arguments_file_and_stdin(tmp_path):
    def rows(*given):
        lines = run("screen", *given, "--no-estimates", "--json").stdout.splitlines()
        return {row["given"]: row for row in map(json.loads, lines)}

    (tmp_path / "formulas.txt").write_text("CuInS2\nNaN\n")
    assert list(rows(str(tmp_path / "formulas.txt"))) == ["CuInS2", "NaN"]
    command = [sys.executable, "-m", "invdesign", "screen", "-", "--no-estimates", "--json"]
    piped = subprocess.run(command, input="MgO\n\nfoo\nNa3Cl\n", capture_output=True, text=True, check=True)
    found = {row["given"]: row for row in map(json.loads, piped.stdout.splitlines())}
    assert "line 3" in piped.stderr
    assert found["MgO"]["verdict"] == "passed"
    assert found["MgO"]["known"] == "yes"
    assert found["Na3Cl"]["verdict"] == "charge balance"
    told = run("screen", "MgO", "Na3Cl", "--no-estimates").stdout
    assert "known: yes" in told
    assert "none: no oxidation states are neutral" in told


def test_screen_a_space_into_a_folder(tmp_path):
    out = tmp_path / "space"
    given = ("screen", "--elements", "Na,K,Cl,O", "--max-atoms", "4", "--no-estimates", "--out", str(out))
    told = json.loads(run(*given, "--json").stdout)
    assert told["tally"]["rows"] == len((out / "screened.csv").read_text().splitlines()) - 1
    assert (out / "run.json").is_file()
    assert "screened.csv" in run(*given).stdout  # once more: it is all there


def test_screen_refuses(tmp_path):
    assert "exactly one" in refused("screen")
    assert "'Foo'" in refused("screen", "Foo", "--no-estimates")
    assert "no such file" in refused("screen", str(tmp_path / "none.csv"))
    assert "2/8" in refused("screen", "--elements", "Na,Cl", "--shard", "3")
    assert "elements" in refused("screen", "--elements", "Na,Xx")
    assert "commonality" in refused("screen", "NaCl", "--commonality", "rare")


def test_dft_write(files):
    out = files / "dft"
    result = run("dft", "write", str(files / "salt.cif"), "--code", "vasp", "--out", str(out), "--json")
    assert Path(json.loads(result.stdout)["manifest"]).is_file()
    assert "code: there is no 'abinit'" in refused(
        "dft", "write", str(files / "salt.cif"), "--code", "abinit"
    )
    assert refused("dft", "write", str(files / "none.csv"), "--code", "vasp")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: propertys\n", "did you mean property?"),
        ("seed: 0\n", "there is no kind 'None'"),
        ("kind: [\n", "cannot be read as YAML"),
        ("- 1\n", "not a mapping"),
        ("kind: mp-hull\nepochs: 3\n", "there is no field 'epochs'"),
    ],
)
def test_train_refuses(text, told, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert told in refused("train", str(path))


def raising(error: BaseException):
    def command(*_arguments, **_options):
        raise error

    return command


def test_full_disk_is_one_sentence(monkeypatch):
    monkeypatch.setattr(
        "invdesign.api.design", raising(OSError(errno.ENOSPC, "No space", "run/candidates.db"))
    )
    assert "run/candidates.db" in refused("design", "band_gap>3")
    monkeypatch.setattr("invdesign.api.design", raising(PermissionError(errno.EACCES, "denied", "/root/run")))
    assert "Permission denied" in refused("design", "band_gap>3")


def test_other_errors_are_bugs_and_stay_visible(monkeypatch):
    monkeypatch.setattr("invdesign.api.design", raising(OSError(errno.EINVAL, "Invalid argument")))
    with pytest.raises(OSError, match="Invalid"):
        run("design", "band_gap>3")


def test_interruption_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr("invdesign.api.design", raising(KeyboardInterrupt()))
    result = run("design", "band_gap>3")
    assert result.exit_code == 130
    assert result.stderr.strip() == "stopped; the same command resumes."


def test_a_closed_pipe_is_no_error():
    command = [
        sys.executable,
        "-m",
        "invdesign",
        "screen",
        *[f"Na{i}Cl{j}" for i in range(1, 142) for j in range(1, 142)],
        "--no-estimates",
    ]
    read, write = os.pipe()
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True) as process:
        os.close(write)
        os.close(read)
        _, stderr = process.communicate(timeout=120)
    assert stderr == ""
    assert process.returncode == 1


def test_relax_under_pressure_in_a_fixed_cell_or_symmetry(files):
    salt = str(files / "salt.cif")

    def relaxed(name, *options):
        result = run("relax", salt, "--out", str(files / name), "--workers", "1", "--json", *options)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)[0]

    pressed = relaxed("pressed", "--pressure", "20")
    assert pressed["volume"] < relaxed("free")["volume"] - 1
    assert relaxed("fixed", "--fixed-cell")["volume"] == pytest.approx(SALT.volume, abs=1e-3)
    assert relaxed("kept", "--keep-symmetry")["symmetry_kept"] is True


def test_relax_goes_on_past_what_it_cannot_read(files):
    (files / "garbage.cif").write_text("nothing")
    given = [str(files / name) for name in ("garbage.cif", "salt.cif")]
    result = run("relax", *given, "--out", str(files / "mixed"), "--workers", "1", "--json")
    assert result.exit_code == 0, result.stderr
    bad, good = json.loads(result.stdout)
    assert not bad["converged"]
    assert "garbage.cif" in bad["reason"]
    assert good["converged"]
    assert json.loads((files / "mixed" / "run.json").read_text())["converged"] == 1
