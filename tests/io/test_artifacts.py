"""Released folders and a user's own."""

import pytest

from invdesign.errors import InputError
from invdesign.io.artifacts import find, root
from invdesign.io.provenance import folder_hashes


def test_a_folder_in_the_working_directory_does_not_hide_a_released_one(tmp_path, monkeypatch):
    (tmp_path / "mp-hull").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find("validators", "mp-hull") == root("validators") / "mp-hull"
    assert find("validators", "./mp-hull").resolve() == tmp_path / "mp-hull"


def test_missing_and_empty_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="one of"):
        find("models", "no-such-model")
    (tmp_path / "w.safetensors").touch()
    with pytest.raises(InputError, match="lacks w"):
        find("models", tmp_path, needs=("w.safetensors",))


def test_the_card_and_its_metrics_are_not_hashed(tmp_path):
    for name in ("hull.npz", "metrics.json", "README.md", "recipe.yaml"):
        (tmp_path / name).write_text(name)
    assert list(folder_hashes(tmp_path)) == ["hull.npz"]
