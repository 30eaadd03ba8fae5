"""The shape of the house: who may import whom, how long a file may be, what must be declared."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import invdesign

PACKAGE = Path(invdesign.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
FILES = sorted(PACKAGE.rglob("*.py"))

# a part imports from tiers above its own; parts of one tier do not know each other
TIERS = (
    {"errors"},
    {"artifacts", "configs"},
    {"properties"},
    {"crystal"},
    {"words"},  # target_text, targets, candidate: one thing in three files
    {"data"},
    {"validators"},
    {"generators", "predictors"},
    {"ranking", "report"},
    {"provenance"},
    {"campaign"},
    {"embeddings"},
    {"dft", "screening", "relaxing", "generating", "predicting", "hulls", "latents", "recipes"}
    | {"mapping", "explaining"},
    {"api"},
    {"cli"},
    {"__main__"},
)
ONE_THING = {"target_text": "words", "targets": "words", "candidate": "words"}
TIER = {part: number for number, parts in enumerate(TIERS) for part in parts}

# imported name → distribution, where they differ
DISTRIBUTION = {
    "yaml": "pyyaml",
    "tensorboardX": "tensorboardx",
    "huggingface_hub": "diffusers",
    "torch_geometric": "matgl",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "lightning": "matgl",
}


def part_of(module: str) -> str:
    name = module.split(".")[1] if "." in module else "__init__"
    return ONE_THING.get(name, name)


def imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def own_part(file: Path) -> str:
    return part_of(".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts))


def test_every_part_has_its_tier():
    parts = {own_part(file) for file in FILES}
    assert parts - {"__init__"} == TIER.keys()


def test_imports_go_one_way():
    wrong = []
    for file in FILES:
        own = own_part(file)
        for module in imports(file):
            part = part_of(module)
            if module.split(".")[0] != "invdesign" or part in {own, "__init__"}:
                continue
            # the root names what lies below, and imports it when asked
            if own != "__init__" and TIER[part] >= TIER[own]:
                wrong.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert wrong == []


def test_files_and_functions_are_short():
    long = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > 400:
            long.append(str(file))
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        long += [f"{file}: {node.name}" for node in functions if lines_of_code(node) > 80]
    assert long == []


def lines_of_code(node: ast.FunctionDef) -> int:
    """Lines of the body, without the docstring."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return node.end_lineno - first.lineno + 1


def test_what_is_imported_is_declared():
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = [entry for group in project["optional-dependencies"].values() for entry in group]
    declared = {re.match(r"[\w-]+", entry)[0].lower() for entry in (*project["dependencies"], *extras)}
    used = {module.split(".")[0] for file in FILES for module in imports(file)}
    ours = used - sys.stdlib_module_names - {"invdesign", ""}
    assert {DISTRIBUTION.get(name, name) for name in ours} <= declared
