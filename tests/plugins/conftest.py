"""The example plug-ins of this folder, as if they had been installed with pip."""

import sys
import tomllib
from pathlib import Path

import pytest

from invdesign.io.plugins import installed

HERE = Path(__file__).parent


@pytest.fixture
def install_plugin(tmp_path, monkeypatch):
    """Put a folder of ``tests/plugins`` on the path, with the metadata that pip would write."""

    def install(folder):
        project = tomllib.loads((HERE / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        metadata = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        sections = [
            f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in entries.items())
            for group, entries in project["entry-points"].items()
        ]
        (metadata / "entry_points.txt").write_text("\n".join(sections))
        before = set(sys.modules)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.syspath_prepend(HERE / folder)
        loaded.append((folder, before))
        installed.cache_clear()

    loaded = []
    yield install
    installed.cache_clear()
    for folder, before in loaded:
        for name in set(sys.modules) - before:
            if str(HERE / folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
