import csv
import json
import shutil

import pytest
from typer.testing import CliRunner

from invdesign.analysis import generate as generating
from invdesign.analysis.generate import JOURNAL
from invdesign.analysis.inputs import read_samples
from invdesign.api import generate
from invdesign.cli import app
from invdesign.core.target import parse_target
from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.structure_files import read_structures
from invdesign.errors import InputError
from invdesign.io.lock import locked_folder
from invdesign.io.provenance import folder_digest


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Proposals of a baseline, in files, and as objects."""
    out = tmp_path_factory.mktemp("generate") / "out"
    return out, generate(n=300, generator="ion-exchange", out=out, workers=1, elements="O")


def test_all_files_hold_every_proposal(written):
    out, candidates = written
    assert [candidate.id for candidate in candidates[:2]] == ["g000000", "g000001"]
    with (out / "proposals.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [candidate.id for candidate in candidates]
    assert rows[0]["gene"] == str(candidates[0].gene)
    assert rows[0]["parent"] == candidates[0].origin.parent
    assert all((out / row["cif_file"]).is_file() for row in rows)
    run = json.loads((out / "run.json").read_text())
    assert run["generate"]["generator"] == "ion-exchange"
    assert parse_target(run["generate"]["target"]) == parse_target(elements="O")


def test_evaluate_reads_the_folder_once(written):
    out, candidates = written
    samples = read_samples(out)
    assert [sample.label for sample in samples] == [candidate.id for candidate in candidates]
    for sample, candidate in zip(samples, candidates, strict=True):
        assert formula_of(sample.structure.composition) == candidate.gene.formula
    ((_, first),) = read_structures(min((out / "cifs").iterdir()))
    assert first.volume == pytest.approx(candidates[0].structure.volume, rel=1e-3)


def test_what_is_asked_for_is_kept(written):
    _, candidates = written
    target = parse_target(elements="O")
    assert len(candidates) == 300
    assert all(target.allows(candidate.gene).passed for candidate in candidates)


def test_a_killed_run_goes_on(written, tmp_path):
    out, candidates = written
    first, *rest = (out / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text(first + rest[1] + rest[0][:50])  # the last line half written
    again = generate(n=300, generator="ion-exchange", out=tmp_path, workers=1, elements="O")
    assert [(c.id, c.gene, c.geometry) for c in again] == [(c.id, c.gene, c.geometry) for c in candidates]
    assert (tmp_path / "proposals.csv").read_bytes() == (out / "proposals.csv").read_bytes()
    assert (tmp_path / "proposals.extxyz").read_bytes() == (out / "proposals.extxyz").read_bytes()


def test_another_run_and_other_files_are_refused(written, tmp_path):
    out, _ = written
    with pytest.raises(InputError, match="another generation"):
        generate(n=300, generator="ion-exchange", out=out, seed=1, elements="O")
    (tmp_path / "precious.cif").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        generate(n=3, generator="ion-exchange", out=tmp_path)


def test_a_finished_run_is_only_read_and_a_retrained_model_is_another(written, tmp_path, monkeypatch):
    shutil.copytree(written[0], tmp_path / "out")
    arguments = {
        "n": 300,
        "generator": "ion-exchange",
        "out": tmp_path / "out",
        "workers": 1,
        "elements": "O",
    }
    record = (tmp_path / "out" / "run.json").read_bytes()
    generate(**arguments)
    assert (tmp_path / "out" / "run.json").read_bytes() == record
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"old")
    monkeypatch.setattr(generating, "generator_digest", lambda _name: folder_digest(model))
    with pytest.raises(InputError, match=r"another generation \(weights\)"):
        generate(**arguments)
    before = generating._weights("mine", parse_target([]), ranked=False)
    (model / "README.md").write_text("a card is no weight")
    assert generating._weights("mine", parse_target([]), ranked=False) == before
    (model / "model.safetensors").write_bytes(b"new")
    assert generating._weights("mine", parse_target([]), ranked=False) != before


def test_two_runs_in_one_folder_are_refused(tmp_path):
    with locked_folder(tmp_path, "proposals.jsonl"):
        result = CliRunner().invoke(
            app, ["generate", "--generator", "ion-exchange", "-n", "1", "--out", str(tmp_path)]
        )
    assert result.exit_code == 2
    assert "another run is at work" in result.stderr


def test_the_folder_is_read_by_its_results_alone(written, tmp_path):
    out, candidates = written
    shutil.copytree(out, tmp_path / "out")
    shutil.copy(min((out / "cifs").iterdir()), tmp_path / "out" / "mine.cif")
    labels = [sample.label for sample in read_samples(tmp_path / "out")]
    assert labels == [candidate.id for candidate in candidates]


def test_what_cannot_be_claims_no_folder(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="finds no known crystal"):
        generate(n=3, generator="ion-exchange", out=out, only="Li,Na")
    with pytest.raises(InputError, match="guidance: the generator ion-exchange"):
        generate(n=3, generator="ion-exchange", out=out, options={"guidance": 2.0})
    assert not out.exists()


def test_genes_alone_and_with_structures():
    assert generate(n=2, generator="prototypes", structures=False)[0].structure is None
    structure = generate(n=2, generator="prototypes", workers=1, formula="Na3N")[1].structure
    assert structure.composition.reduced_formula == "Na3N"


@pytest.mark.parametrize("guidance", [["a", "b"], ["band_gap=x"]])
def test_guidance_that_cannot_be_read(guidance):
    options = [word for text in guidance for word in ("--guidance", text)]
    result = CliRunner().invoke(app, ["generate", *options])
    assert result.exit_code == 2
    assert "no number nor CONDITION=NUMBER" in result.output


@pytest.mark.parametrize("guidance", ["nan", "inf", "band_gap=nan", "-1"])
def test_guidance_is_finite(guidance):
    result = CliRunner().invoke(app, ["generate", "band_gap>3", "--guidance", guidance])
    assert result.exit_code == 2
    assert result.stderr.startswith("guidance:")


def test_json_says_what_was_asked():
    arguments = ["generate", "band_gap>3", "--generator", "ion-exchange", "-n", "2", "--json"]
    rows = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert len(rows) == 2
    assert {"gene", "formula", "parent", "substitution", "conditions"} <= rows[0].keys()


def test_a_window_that_the_generator_does_not_know_is_reported(tmp_path):
    arguments = [
        "generate",
        "band_gap>3",
        "--generator",
        "ion-exchange",
        "-n",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "Target: PBE gap" in result.stderr
    assert "ion-exchange is not guided by band_gap" in result.stderr


def test_a_folder_may_be_named_as_text(tmp_path):
    assert len(generate(n=1, generator="ion-exchange", out=str(tmp_path / "out"), workers=1)) == 1
    assert (tmp_path / "out" / "proposals.csv").is_file()
