"""``import invdesign`` and ``invdesign --help`` are quick because they load nothing heavy."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import invdesign

HEAVY = {"torch", "pymatgen", "ase", "scipy", "matplotlib", "pandas", "smact", "chgnet", "diffusers", "matgl"}


@pytest.mark.parametrize(
    ("module", "not_even"),
    [
        ("invdesign", {"numpy", "pydantic", "typer"}),
        ("invdesign.cli", {"numpy", "pydantic"}),
        ("invdesign.core.target", set()),
        ("invdesign.campaign", set()),
    ],
)
def test_nothing_heavy_is_loaded(module, not_even):
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (HEAVY | not_even) & set(run.stdout.split())


def test_every_module_can_be_imported():
    names = [found.name for found in pkgutil.walk_packages(invdesign.__path__, "invdesign.")]
    assert len(names) > 40
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)


def test_root_offers_what_it_says():
    for name in invdesign.__all__:
        assert getattr(invdesign, name)
        assert name in dir(invdesign)
    with pytest.raises(AttributeError, match="no attribute 'desing'"):
        _ = invdesign.desing
