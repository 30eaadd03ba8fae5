"""Damaged inputs are read or refused in a sentence, within seconds and a GiB.

pytest tests/fuzz --fuzz 10000    # that many of each kind; the default runs in CI
"""

from pathlib import Path

import pytest
from fuzzing import fuzz, read_sound
from subjects import subjects


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_damaged_input_is_read_or_refused(subject, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tally = fuzz(subject, range(request.config.getoption("--fuzz")), tmp_path / "folder")
    assert tally.faults == []
    assert tally.outcomes["refused"]


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_sound_input_is_read(subject, tmp_path: Path) -> None:
    """Else the damage would only ever meet the first check."""
    assert "read" in read_sound(subject, tmp_path / "folder")
