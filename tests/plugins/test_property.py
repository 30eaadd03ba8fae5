"""A property from another distribution: its row, its recipe and its model are all that it needs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from invdesign.cli import app
from invdesign.core.properties import PROPERTIES, models_from_composition
from invdesign.core.target import Window, parse_target
from invdesign.crystal.elements import ATOMIC_NUMBER
from invdesign.errors import InputError
from invdesign.predictors.registry import models_of

HERE = Path(__file__).parent
METALS = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Pb")
NON_METALS = ("O", "S", "Se", "Te", "F", "Cl", "Br", "I", "N", "P")


@pytest.fixture
def density(install_plugin):
    return install_plugin("density")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The plug-in's recipe, trained."""
    from invdesign.training.registry import train

    folder = tmp_path_factory.mktemp("density")
    plugin = HERE / "density"
    rows = (
        f"{m}{x},{0.5 + (ATOMIC_NUMBER[m] + ATOMIC_NUMBER[x]) / 15}\n" for m in METALS for x in NON_METALS
    )
    (folder / "densities.csv").write_text("formula,density_g_cm3\n" + "".join(rows))
    recipe = yaml.safe_load((plugin / "density.yaml").read_text())
    recipe |= {"data": str(folder / "densities.csv"), "out": str(folder / "model")}
    (folder / "density.yaml").write_text(yaml.safe_dump(recipe))
    return train(folder / "density.yaml", progress=lambda *_: None)


def test_a_target_can_ask_for_it(density):
    assert parse_target(["density_g_cm3>5"]).windows == {"density_g_cm3": Window(low=5.0)}
    assert "density above 5 g/cm³" in parse_target(["density_g_cm3>5"]).describe()
    with pytest.raises(InputError, match="density"):
        parse_target(["density_g_cm3=40..50"])  # no crystal is so dense


def test_its_model_is_the_one_that_its_row_names(density):
    assert models_from_composition()["density_g_cm3"].endswith("model")
    assert models_of(["density_g_cm3"]) == {"density_g_cm3": PROPERTIES["density_g_cm3"].from_composition}


def test_its_recipe_trains_and_formulas_are_predicted_by_name(density, model, monkeypatch):
    import invdesign_density

    row = replace(invdesign_density.DENSITY, from_composition=str(model))
    monkeypatch.setattr(invdesign_density, "DENSITY", row)
    result = CliRunner().invoke(app, ["predict", "NaCl", "CsI", "--property", "density_g_cm3", "--json"])
    assert result.exit_code == 0, result.output
    light, heavy = json.loads(result.stdout)
    assert light["density_g_cm3"] < heavy["density_g_cm3"]
    assert "density" in (model / "README.md").read_text()


def test_without_it_nothing_knows_the_property():
    assert "density_g_cm3" not in PROPERTIES
    with pytest.raises(InputError, match="no property or condition 'density_g_cm3'"):
        parse_target(["density_g_cm3>5"])


def test_what_is_no_property_is_refused(density, monkeypatch):
    import invdesign_density

    monkeypatch.setattr(invdesign_density, "DENSITY", "g/cm³")
    with pytest.raises(InputError, match="'density_g_cm3' gives a str, no Property"):
        parse_target(["density_g_cm3>5"])
