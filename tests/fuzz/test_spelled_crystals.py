"""Files whose right reading is known: they are read right, or refused in a sentence."""

from pathlib import Path

import pytest
from answers import answer
from spelled_crystals import CRYSTALS, spellings

SPELLINGS = list(spellings())


@pytest.mark.parametrize("name", [crystal.name for crystal in CRYSTALS])
def test_every_spelling_is_read_right(name: str, tmp_path: Path) -> None:
    faults = {}
    for spelling in SPELLINGS:
        if spelling.crystal and spelling.crystal.name == name:
            found, why = answer(spelling, tmp_path, {})
            if found != "right":
                faults[spelling.name] = (found, why)
    assert not faults


@pytest.mark.parametrize("spelling", [s for s in SPELLINGS if s.crystal is None], ids=lambda s: s.name)
def test_what_contradicts_itself_is_refused(spelling, tmp_path: Path) -> None:
    assert answer(spelling, tmp_path, {})[0] == "refused"
