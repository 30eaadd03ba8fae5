"""The shape of the house: who may import whom, no circles, no crowded folders, what must be declared.

Every import counts: at the top of a module, inside a function, for types alone, and by a string that names a
module.
"""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import invdesign

PACKAGE = Path(invdesign.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

# from low to high: a folder imports from those before it in this list
LAYERS = (
    *("errors", "version", "verdict", "io", "crystal", "composition", "core", "data"),
    *("potentials", "relaxation", "stability", "filters", "generators", "predictors"),
    *("report", "campaign", "screening", "dft", "analysis", "training", "api", "cli", "__main__"),
)
TESTS = Path(__file__).parent
OUTSIDE = ("benchmarks", "fuzz", "plugins")  # folders of tests of what is not in the package
TRAINS = ("invdesign.api", "invdesign.cli.train", "invdesign.training")
"""Who may import ``invdesign.training``."""
CROWDED = 16  # files in a folder
LONG_FILE, LONG_FUNCTION = 600, 80  # lines

# imported name → distribution, where they differ
DISTRIBUTION = {
    "yaml": "pyyaml",
    "tensorboardX": "tensorboardx",
    "huggingface_hub": "diffusers",
    "torch_geometric": "matgl",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
}


NAMED = re.compile(r"invdesign(\.\w+)+(:\w+)*")
"""A string that names a module, or something in one as entry points do."""


class Module(NamedTuple):
    """A parsed file and what it imports: (module, line)."""

    path: Path
    tree: ast.Module
    lines: int
    imports: list[tuple[str, int]]


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(tree):
    """Yield the modules, with the line, that are imported or named by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            # what is imported may itself be a module
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAMED.fullmatch(node.value):
            module = node.value.split(":")[0]
            # a package alone is a group of entry points
            if PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py").is_file():
                yield module, node.lineno


def parsed():
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        modules[module_name(path)] = Module(path, tree, text.count("\n"), list(imports(tree)))
    return modules


MODULES = parsed()


def home(name):
    """The module of the package that an imported name is, or lies in."""
    return name if name in MODULES else name.rpartition(".")[0]


EDGES = {
    name: {home(target): line for target, line in module.imports if home(target) in MODULES}
    for name, module in MODULES.items()
}
"""Line of the import, by importing and imported module; the root names what lies below and is left out."""
EDGES.pop("invdesign")


def layer(name):
    return name.split(".")[1]


def where(name, target):
    return f"{MODULES[name].path.relative_to(PACKAGE.parent)}:{EDGES[name][target]} imports {target}"


def test_every_folder_has_its_layer():
    assert {layer(name) for name in EDGES} == set(LAYERS)


def test_imports_go_one_way():
    level = {name: number for number, name in enumerate(LAYERS)}
    wrong = [
        where(name, target)
        for name, targets in EDGES.items()
        for target in targets
        if target != "invdesign"
        and layer(target) != layer(name)
        and level[layer(target)] > level[layer(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_circle():
    graph = {name: {t for t in targets if t not in {"invdesign", name}} for name, targets in EDGES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # graphlib names what is imported first
        pytest.fail("\n".join(where(*pair) for pair in pairwise(circle)))


def test_nothing_but_train_imports_the_training():
    wrong = [
        where(name, target)
        for name, targets in EDGES.items()
        for target in targets
        if target.startswith("invdesign.training") and not name.startswith(TRAINS)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_root_is_imported_by_no_module():
    wrong = [where(name, "invdesign") for name, targets in EDGES.items() if "invdesign" in targets]
    assert not wrong, "\n".join(wrong)


def test_no_folder_is_crowded():
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]
    crowded = {str(folder): n for folder in folders if (n := len(list(folder.glob("*.py")))) > CROWDED}
    assert crowded == {}


def test_files_and_functions_are_short():
    long = [f"{module.path}: {module.lines} lines" for module in MODULES.values() if module.lines > LONG_FILE]
    long += [
        f"{module.path}:{node.lineno} {node.name}: {length} lines"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and (length := lines_of_code(node)) > LONG_FUNCTION
    ]
    assert not long, "\n".join(long)


def lines_of_code(node):
    """Lines of the body, without the docstring."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return node.end_lineno - first.lineno + 1


def test_what_is_imported_is_declared():
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = [entry for group in project["optional-dependencies"].values() for entry in group]
    declared = {re.match(r"[\w-]+", entry)[0].lower() for entry in (*project["dependencies"], *extras)}
    used = {target.split(".")[0] for module in MODULES.values() for target, _ in module.imports}
    ours = used - sys.stdlib_module_names - {"invdesign", "", "_typeshed"}
    assert {DISTRIBUTION.get(name, name) for name in ours} <= declared


def test_a_class_has_a_name_of_its_own():
    homes = defaultdict(list)
    for name, module in MODULES.items():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_a_test_file_is_named_by_what_it_tests():
    """Test files mirror the package: ``test_<module, or folder>.py``, or with ``_<what>`` after it."""
    wrong = []
    for path in TESTS.rglob("test_*.py"):
        folder, name = path.parent.relative_to(TESTS), path.stem.removeprefix("test_")
        if folder.parts and folder.parts[0] not in OUTSIDE:
            names = [folder.name, *(entry.stem for entry in PACKAGE.joinpath(folder).glob("*"))]
            if not any(name == known or name.startswith(f"{known}_") for known in names):
                wrong.append(str(path.relative_to(TESTS)))
    assert not wrong, "\n".join(wrong)
