"""The prose: no page drowns in numbers, every link leads somewhere, every quoted command exists."""

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from invdesign.campaign.config import CampaignConfig
from invdesign.cli.app import app
from invdesign.training.registry import RECIPES

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
LINKED = [
    *PAGES,
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("models/*/README.md")),
    *sorted(ROOT.glob("validators/*/README.md")),
    *sorted(ROOT.glob("benchmarks/*/README.md")),
]
MOST_NUMBERS = 5.5  # in a hundred words


def name_of(page):
    return str(page.relative_to(ROOT))


def prose(text):
    """The words of a page: no tables, code, formulas in backticks, or targets of links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("|"))
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`\n]*`", "code", text))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=name_of)
def test_numbers_stand_in_tables(page):
    text = prose(page.read_text(encoding="utf-8"))
    numbers = re.findall(r"(?<![\w.,])\d+(?:[.,]\d+)*", text)
    words = max(len(text.split()), 100)
    assert 100 * len(numbers) / words <= MOST_NUMBERS, numbers


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        where = (page.parent / path).resolve() if path else page
        headings = (
            re.findall(r"^#+ (.*)$", where.read_text(encoding="utf-8"), re.MULTILINE) if fragment else []
        )
        if not where.exists() or (fragment and fragment not in map(anchor, headings)):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [
        name_of(page)
        for page in PAGES
        if page.parent.name != "decisions" and page.parent != ROOT / "docs"
        if f"({page.relative_to(ROOT / 'docs').as_posix()})" not in index
    ]
    assert missing == []
    decisions = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    pages = [page.name for page in PAGES if page.parent.name == "decisions"]
    assert [name for name in pages if name not in decisions] == ["README.md"]


def quoted_commands():
    for page in LINKED:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```(?:\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;|\|", line):
                    if part.strip().startswith("invdesign "):
                        yield name_of(page), part.strip()


def command_of(words):
    """The click command that a line calls, and the words after its name."""
    command = typer.main.get_command(app)
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("page", "line"), sorted(set(quoted_commands())))
def test_quoted_commands_exist(page, line):
    command, words = command_of(shlex.split(line, comments=True)[1:])
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "-h"}
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given <= known, f"{page}: {line}"


def every_command(command, name=""):
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from every_command(inner, f"{name} {word}".strip())
    else:
        yield name, {option for param in command.params for option in param.opts if option.startswith("--")}


def test_reference_lists_every_option():
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z -]+)` \| (.*--json.*) \|$", text, re.MULTILINE))
    listed = {name: set(re.findall(r"`(--[a-z0-9-]+)`", options)) for name, options in rows.items()}
    assert listed == dict(every_command(typer.main.get_command(app)))


def test_code_names_pages_that_exist():
    named = [
        (name_of(file), page)
        for file in [*sorted((ROOT / "invdesign").rglob("*.py")), ROOT / "pyproject.toml"]
        for page in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))
    ]
    assert [(file, page) for file, page in named if not (ROOT / page).is_file()] == []


def excerpts():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```\w+\n# (tests/plugins/\S+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield pytest.param(*block, id=block[0])


@pytest.mark.parametrize(("file", "excerpt"), list(excerpts()))
def test_excerpts_are_those_of_the_examples(file, excerpt):
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if line.strip()]
    for line in excerpt.splitlines():
        if line.strip() and line.strip() != "...":
            assert line in lines  # in their order
            lines = lines[lines.index(line) + 1 :]


def named_objects():
    for page in LINKED[: len(PAGES) + 2]:  # not the changelog, which names what is gone
        text = page.read_text(encoding="utf-8")
        for module, names in re.findall(r"^from (invdesign[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
            for name in names.split(", "):
                yield name_of(page), f"{module}.{name}"
        for dotted in re.findall(r"`(invdesign(?:\.\w+)+)", text):
            if not re.search(r"`[^`]*\.(?:potentials|properties|generators|dft_codes)`", f"`{dotted}`"):
                yield name_of(page), dotted


@pytest.mark.parametrize(("page", "dotted"), sorted(set(named_objects())))
def test_named_objects_exist(page, dotted):
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            found = getattr(found, name)
        return


def test_reference_lists_every_field_and_recipe():
    text = (ROOT / "docs" / "reference" / "configs.md").read_text(encoding="utf-8")
    campaign, recipes = text.split("## Recipes")
    assert set(CampaignConfig.model_fields) <= set(re.findall(r"`(\w+)`", campaign))
    assert set(RECIPES) <= set(re.findall(r"`([\w-]+)`", recipes))
