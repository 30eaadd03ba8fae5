"""From Python: every command is a function of its name, takes pymatgen structures, and gives tables."""

import inspect

import pytest
import typer
from pymatgen.core import Composition, Lattice, Structure

import invdesign
from invdesign.cli import app

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
OTHER_NAMES = {"map": "materials_map"}  # `map` is a built-in function


def commands(group=None, prefix=()):
    """Names of all commands, those of groups with the group's name."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name)


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_is_a_documented_function(command):
    found = invdesign
    for name in command:
        found = getattr(found, OTHER_NAMES.get(name, name.replace("-", "_")))
    assert callable(found)
    text = inspect.getdoc(found)
    assert ">>>" in text
    for section in ("Args:", "Returns:", "Raises:"):
        assert section in text


def shown(result, n_rows):
    assert len(repr(result)) < 300
    assert len(result.to_pandas()) == n_rows
    return result


def test_structures_in_and_out():
    relaxed = shown(invdesign.relax([SALT, SALT * (2, 1, 1)], workers=1, max_steps=2), 2)
    assert isinstance(relaxed[0].structure, Structure)
    assert relaxed[1].n_atoms == 16
    assert len(repr(relaxed[0])) < 300


def test_formulas_and_structures_are_placed_on_the_hull():
    report = shown(invdesign.hull(["NaCl", Composition("MgO")]), 2)
    assert report.places[1].formula == "MgO"


def test_properties_of_formulas():
    assert shown(invdesign.predict(["NaCl", "GaN"], ["band_gap"]), 2)[1].estimates["band_gap"].value > 0


def test_a_single_structure_is_evaluated():
    result = shown(invdesign.evaluate(SALT, relax=False, workers=1), 1)
    assert result.rates["valid"].value == 1


def test_screening():
    assert shown(invdesign.screen(["CuInS2", SALT], estimates=False), 2).tally.formulas == 2


def test_screening_into_a_folder(tmp_path):
    screened = shown(invdesign.screen(["MgO", "Na3Cl"], estimates=False, workers=1, out=tmp_path / "s"), 2)
    assert screened.tally.rows == 2


def test_genes():
    proposals = shown(invdesign.generate(n=2, generator="prototypes", structures=False, workers=1), 2)
    assert proposals[0].structure is None


def test_dft_inputs_of_a_structure(tmp_path):
    written = shown(invdesign.dft.write(SALT, code="vasp", out=tmp_path / "dft"), 1)
    assert written.manifest.is_file()


def test_bad_input_is_an_input_error(tmp_path):
    for call in (
        lambda: invdesign.relax(tmp_path / "none.cif"),
        lambda: invdesign.hull([]),
        lambda: invdesign.predict(["NaCl"], []),
        lambda: invdesign.evaluate([]),
        invdesign.screen,
        lambda: invdesign.generate(n=0),
        invdesign.train,
        lambda: invdesign.design("bandgap=1"),
        lambda: invdesign.predict_structure("hello", out=tmp_path / "p"),
        lambda: invdesign.dft.write(tmp_path / "none.csv", code="vasp", out=tmp_path / "dft"),
    ):
        with pytest.raises(invdesign.InputError):
            call()


def test_what_is_no_crystal_is_refused():
    with pytest.raises(invdesign.InputError, match="structure-1: a int is no crystal"):
        invdesign.relax([3])
    with pytest.raises(invdesign.InputError, match="did you mean chgnet"):
        invdesign.relax(SALT, potential="chgnett")
