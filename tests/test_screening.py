from __future__ import annotations

import pytest

from invdesign.errors import InputError
from invdesign.screening import screen


def test_rows_say_balance_and_known() -> None:
    rows = [screened.row() for screened in screen(["CuInS2", "NaCl2", "Cu5Zn8", "NaN"])]
    assert [row["balanced"] for row in rows] == [True, False, True, True]
    assert [row["known"] for row in rows] == ["yes", "no", "yes", "no"]
    assert "Cu1+" in str(rows[0]["charge"])


def test_nonsense_is_an_input_error() -> None:
    with pytest.raises(InputError, match="Xq"):
        list(screen(["NaCl", "Xq2"]))
