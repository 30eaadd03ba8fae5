"""A generator from another distribution is found by its name."""

import json

import pytest
from typer.testing import CliRunner

from invdesign.api import generate
from invdesign.cli import app
from invdesign.errors import InputError
from invdesign.generators.registry import find_generator, generator_digest, load_generator


@pytest.fixture(autouse=True)
def _plugin(install_plugin):
    install_plugin("known_crystals")


def test_it_is_loaded_by_name_with_its_options():
    assert load_generator("known-crystals", largest=2).largest == 2
    assert find_generator("known-crystals") == "known-crystals"
    assert generator_digest("known-crystals") == "known-crystals 1.0"
    with pytest.raises(InputError, match="guidance: the generator known-crystals has no such option"):
        load_generator("known-crystals", guidance=1.0)


def test_it_generates_what_a_target_asks_for():
    proposed = generate(n=2, generator="known-crystals", elements="O,Mg", draws=1, novelty="any", workers=1)
    assert [candidate.gene.formula for candidate in proposed] == ["MgO", "MgO"]
    assert [len(candidate.structure) for candidate in proposed] == [2, 2]


def test_what_it_does_not_know_is_reported_in_a_sentence():
    with pytest.raises(InputError, match="known-crystals knows no crystal as asked"):
        generate(n=1, generator="known-crystals", elements="Xe", workers=1)


def test_it_is_found_from_the_command_line(tmp_path):
    arguments = ["--generator", "known-crystals", "-n", "1", "--out", str(tmp_path / "out"), "--workers", "1"]
    result = CliRunner().invoke(app, ["generate", "--elements", "Si", *arguments])
    assert result.exit_code == 0, result.output
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["generate"]["generator"] == "known-crystals"
    assert "known-crystals 1.0" in json.dumps(run)
