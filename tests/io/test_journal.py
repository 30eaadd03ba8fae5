import errno
import os
from pathlib import Path

import pytest

from invdesign.errors import InputError
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder


def journal(path: Path, seed: int = 0) -> Journal:
    return Journal(path, "test", {"seed": seed, "range": (1, 2)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "journal.jsonl"
    own = journal(path)
    for number in range(3):
        own.append({"number": number, "text": "Å\u2028"})
    return path


def test_entries_come_back(path: Path) -> None:
    assert [entry["number"] for entry in journal(path).entries] == [0, 1, 2]
    assert journal(path).entries[0]["text"] == "Å\u2028"


def test_opening_touches_nothing(path: Path) -> None:
    before = path.read_bytes()
    os.utime(path, (1, 1))
    journal(path)
    with pytest.raises(InputError, match=r"another test \(seed\)"):
        journal(path, seed=1)
    assert path.stat().st_mtime == 1
    assert path.read_bytes() == before


def test_half_a_line_is_cut_off(path: Path) -> None:
    before = path.read_bytes()
    path.write_bytes(before + b'{"number": 3, "te')
    own = journal(path)
    assert path.read_bytes() == before
    own.append({"number": 3})
    assert [entry["number"] for entry in journal(path).entries] == [0, 1, 2, 3]


@pytest.mark.parametrize("left", [b"", b'{"test": {"se'])
def test_a_kill_before_the_first_line_ended(left: bytes, path: Path) -> None:
    path.write_bytes(left)
    journal(path).append({"number": 0})
    assert len(journal(path).entries) == 1


def test_a_full_disk_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = journal(path).entries

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"disk .* is full"), locked_folder(path.parent, path.name):
        journal(path).append({"number": 3})
    assert journal(path).entries[:3] == before


def test_a_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shortlist.csv").write_text("rank\n")
    with (
        pytest.raises(InputError, match=r"other files \(shortlist.csv\)"),
        locked_folder(tmp_path, "mine.jsonl"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["shortlist.csv"]
    (tmp_path / "mine.jsonl").touch()
    with locked_folder(tmp_path, "mine.jsonl"):
        assert (tmp_path / ".lock").exists()
