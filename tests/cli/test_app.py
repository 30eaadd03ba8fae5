"""Every option of every command: a list adds up, one value is given once, the overlong is quoted shortly."""

import re

import pytest
import typer
from hangs import no_hang
from typer.testing import CliRunner

import invdesign.api
from invdesign.cli import app
from invdesign.core.target import parse_target

LISTED = re.compile(r"[\w-]+,[\w-]+")  # help that shows values divided by commas


def commands():
    """Every command as (words, command)."""

    def walk(group, words):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*words, name))
            else:
                yield (*words, name), command

    return list(walk(typer.main.get_command(app), ()))


def options():
    return [
        (words, one)
        for words, command in commands()
        for one in command.params
        if one.param_type_name == "option" and not one.is_flag
    ]


NAMED = [pytest.param(words, one, id=" ".join((*words, max(one.opts, key=len)))) for words, one in options()]


def test_all_commands_are_walked():
    assert {words[0] for words, _ in commands()} >= {"design", "predict", "screen", "dft", "latent", "map"}
    assert sum(one.multiple for _, one in options()) > 20


@pytest.mark.parametrize(("words", "option"), NAMED)
def test_an_option_whose_help_shows_a_list_takes_a_list(words, option):
    assert option.multiple or not LISTED.search(option.help or ""), f"{words}: {option.opts} drops values"


@pytest.mark.parametrize(("words", "option"), [p for p in NAMED if not p.values[1].multiple])
def test_an_option_for_one_value_is_refused_twice(words, option):
    name = max(option.opts, key=len)
    result = CliRunner().invoke(app, [*words, name, "1", name, "2"])
    assert result.exit_code == 2
    assert f"{name} takes one value and is given twice" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


class Called(Exception):  # noqa: N818 - not an error
    """What a command hands to its function."""


def handed_on(monkeypatch, function, *arguments):
    def called(*args, **options):
        raise Called(args, {name: value for name, value in options.items() if not callable(value)})

    monkeypatch.setattr(invdesign.api, function, called)
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, Called), result.output
    return result.exception.args


TARGET = [
    ("--elements", "Li", "O", "elements"),
    ("--only", "Li", "O", "only"),
    ("--exclude", "Pb", "toxic", "exclude"),
    ("--space-group", "225", "Pnma", "space_group"),
]


@pytest.mark.parametrize("command", ["design", "generate"])
@pytest.mark.parametrize("row", TARGET)
def test_conditions_of_a_target_add_up(monkeypatch, command, row):
    option, a, b, name = row
    targets = []
    for given in ([option, a, option, b], [option, f"{a},{b}"]):
        args, options = handed_on(monkeypatch, command, command, "band_gap>1", *given)
        targets.append(args[0] if command == "generate" else parse_target(args[0], **{name: options[name]}))
    assert targets[0] == targets[1] == parse_target("band_gap>1", **{name: f"{a},{b}"})


@pytest.mark.parametrize(
    ("function", "command", "values"),
    [
        ("predict", ["predict", "NaCl"], ("--property", "band_gap", "bulk_modulus_gpa")),
        ("design", ["design", "band_gap>1"], ("--generator", "gene-diffusion", "prototypes")),
        ("design", ["design", "band_gap>1"], ("--check", "phonons", "md")),
        ("generate", ["generate", "band_gap>1"], ("--guidance", "band_gap=2", "reported=3")),
        (
            "predict_structure",
            ["predict-structure", "NaCl"],
            ("--generator", "structure-types", "prototypes"),
        ),
        ("predict_structure", ["predict-structure", "NaCl"], ("--space-group", "225", "221")),
        ("hull", ["hull", "NaCl", "KCl"], ("--energy", "-1.5", "-2")),
        ("evaluate", ["evaluate", "x.cif"], ("--predictor", "band_gap=a", "bulk_modulus_gpa=b")),
    ],
)
def test_lists_add_up(monkeypatch, function, command, values):
    option, a, b = values
    one, other = (
        handed_on(monkeypatch, function, *command, *given)
        for given in ([option, a, option, b], [option, f"{a},{b}"])
    )
    assert one == other
    without = handed_on(monkeypatch, function, *command, option, a)
    assert one != without


@pytest.mark.parametrize(
    ("option", "a", "b"),
    [
        ("--elements", "Na", "Cl"),
        ("--anonymous", "AB", "AB2"),
        ("--cations", "Na", "Mg"),
        ("--anions", "Cl", "O"),
        ("--require", "Na", "Cl"),
    ],
)
def test_spaces_of_a_screening_add_up(option, a, b):
    base = ["screen", "--no-estimates", "--max-atoms", "3", "--n-elements", "2"]
    base += [] if option in {"--elements", "--cations"} else ["--elements", "Na,O,Cl"]
    base += ["--anions", "Br"] if option == "--cations" else []
    one, other, alone = (
        CliRunner().invoke(app, [*base, *given], catch_exceptions=False).stdout
        for given in ([option, a, option, b], [option, f"{a},{b}"], [option, a])
    )
    assert one == other != alone
    assert one


LONG = "9" * 10_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["design", LONG],
        ["design", f"band_gap={LONG}"],
        ["design", f"band_gap={LONG}..{LONG}"],
        ["design", f"band_gap=1.5±{LONG}"],
        ["design", f"band_gap>{LONG}"],
        ["design", f"hhi<{LONG}"],
        ["design", "band_gap>1" + " " * 10_000 + "x"],
        ["design", "a" * 10_000 + "=1"],
        ["design", "band_gap>1", "--n", LONG],
        ["design", "band_gap>1", "--n-atoms", LONG],
        ["design", "band_gap>1", "--space-group", LONG],
        ["design", "band_gap>1", "--elements", LONG],
        ["design", "band_gap>1", "--formula", LONG],
        ["design", "band_gap>1", "--anonymous", "A" + LONG],
        ["design", "band_gap>1", "--check", LONG],
        ["design", "band_gap>1", "--config", LONG],
        ["design", "band_gap>1", f"--{LONG}"],
        ["design", "band_gap>1", "--generator", LONG],
        ["design", "band_gap>1", "--out", LONG],
        ["predict", LONG],
        ["predict", "NaCl", "--property", LONG],
        ["predict-structure", LONG],
        ["hull", LONG],
        ["hull", "NaCl", "--energy", LONG],
        ["hull", "NaCl", "--hull", LONG],
        ["relax", LONG],
        ["relax", "x.cif", "--potential", LONG],
        ["evaluate", LONG],
        ["evaluate", "x.cif", "--predictor", LONG],
        ["explain", LONG],
        ["explain", "x.cif", "--property", LONG],
        ["map", LONG],
        ["map", "x.csv", "--method", LONG],
        ["screen", "--elements", LONG],
        ["screen", "--n-elements", LONG],
        ["screen", "--like", LONG],
        ["screen", "NaCl", "--target", LONG],
        ["screen", "NaCl", "--shard", LONG],
        ["screen", "NaCl", "--commonality", LONG],
        ["screen", "NaCl", "--column", LONG],
        ["generate", "band_gap>1", "--guidance", LONG],
        ["generate", "band_gap>1", "--generator", LONG],
        ["train", LONG],
        ["dft", "write", LONG, "--code", "vasp"],
        ["dft", "write", "x.cif", "--code", LONG],
        [LONG],
    ],
    ids=lambda arguments: " ".join(one[:20] for one in arguments),
)
def test_what_is_overlong_is_quoted_shortly_and_at_once(arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = CliRunner().invoke(app, arguments)
    with no_hang():
        CliRunner().invoke(app, arguments)  # once more, without the time that imports take
    assert result.exit_code == 2, repr(result.exception)[:500]
    assert isinstance(result.exception, SystemExit)
    assert 0 < len(result.stderr) < 2_500
