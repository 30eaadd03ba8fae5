import pytest

from invdesign.errors import InputError
from invdesign.io.lock import locked_folder


def refused(out):
    with pytest.raises(InputError, match="a wrong option"), locked_folder(out, "result"):
        raise InputError("a wrong option")


def test_a_refusal_leaves_no_folder(tmp_path):
    refused(tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_before_anything_is_stored_leaves_no_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked_folder(tmp_path / "run", "result"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_stays_empty(tmp_path):
    refused(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_stored_stays(tmp_path):
    (tmp_path / "result.csv").write_text("a")
    refused(tmp_path)
    assert (tmp_path / "result.csv").read_text() == "a"
