"""Progress where there is no terminal: some lines, not one a step."""

from importlib import import_module

import pytest

SHOWN = import_module("invdesign.io.progress")


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the progress reads; the test moves them."""
    now = [0.0]
    monkeypatch.setattr(SHOWN.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_tenth(clock, capsys):
    with SHOWN.shown_progress() as progress:
        for done in range(1, 1001):
            progress(done / 1000, f"{done} of 1000")
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) <= 11
    assert lines[0] == "10% 100 of 1000"
    assert lines[-1] == "100% 1000 of 1000"


def test_a_line_every_half_minute(clock, capsys):
    with SHOWN.shown_progress() as progress:
        for done in range(1, 61):
            clock[0] += 1.0
            progress(done / 10_000, f"{done} of 10000")
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert lines == ["0% 30 of 10000", "1% 60 of 10000"]


def test_silence_where_none_is_wanted(capsys):
    with SHOWN.shown_progress(show=False) as progress:
        progress(0.5, "half")
    assert capsys.readouterr().err == ""
