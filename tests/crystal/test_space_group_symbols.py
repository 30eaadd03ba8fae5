import re
import warnings

import gemmi
import pytest
from hangs import no_hang
from moyopy import HallSymbolEntry, SpaceGroupType

from invdesign.core.target import parse_target
from invdesign.crystal.space_group_symbols import divided, space_group_number, standard_symbol
from invdesign.errors import InputError, ReadAs

SPELLED = {
    225: [
        "Fm-3m",
        "F m -3 m",
        "Fm3m",
        "F m 3 m",
        "F 4/m -3 2/m",
        "fm-3m",
        "-F 4 2 3",
        "Fm\u22123m",
        "225",
        "Fm-3m (225)",
        "Fm-3m:1",
    ],
    14: [
        "P2_1/c",
        "P21/c",
        "P21/n",
        "P2_1/n",
        "P 21/n",
        "P 1 21/c 1",
        "P 1 21/n 1",
        "P21/a",
        "P2_{1}/c",
        "P2₁/c",
        "P 1 1 21/b",
    ],
    62: ["Pnma", "Pbnm", "P n m a", "Pnam", "Pmcn", "P 21/n 21/m 21/a", "P2_1/n2_1/m2_1/a", "No. 62"],
    166: ["R-3m", "R-3m:H", "R-3m:R", "R -3 m H", "R -3 m :R", "R-3mh", "R -3 2/m"],
    227: [
        "Fd-3m",
        "F d -3 m",
        "Fd3m",
        "Fd-3m:1",
        "Fd-3m:2",
        "F d -3 m Z",
        "F d -3 m S",
        "Fd-3mO2",
        "F d -3 m :2",
    ],
    164: ["P-3m1", r"P\bar{3}m1", "P3\u0304m1", "P -3 2/m 1", "P -3 m 1"],
    194: ["P63/mmc", "P6_3/mmc", "P 63/m m c", "$P6_{3}/mmc$"],
    64: ["Cmce", "Cmca", "Bbcm"],
    5: ["C2", "C 1 2 1", "B2", "B 1 1 2"],
    7: ["Pc", "Pn", "Pa", "P 1 n 1", "Pb"],
    12: ["C2/m", "I2/m", "B2/m"],
    155: ["R32", "R 3 2", "R32:H", "H32", "H 3 2"],
    1: ["P1", "P 1"],
    2: ["P-1", "P -1", "p-1"],
}


@pytest.mark.filterwarnings("ignore::invdesign.errors.ReadAs")
@pytest.mark.parametrize(("number", "symbol"), [(n, one) for n, all_ in SPELLED.items() for one in all_])
def test_a_group_in_many_spellings(number, symbol):
    assert space_group_number(symbol) == number
    assert parse_target([f"space_group={symbol}"]).space_groups == {number}
    assert parse_target(space_group=[symbol, "1"]).space_groups == {number, 1}


@pytest.mark.filterwarnings("ignore::invdesign.errors.ReadAs")
def test_all_settings_of_both_tables():
    entries = [HallSymbolEntry(n) for n in range(1, 531)]
    for entry in entries:
        for symbol in (entry.hm_short, entry.hm_full, entry.hm_short.replace(" ", "")):
            assert space_group_number(symbol) == entry.number
    for group in gemmi.spacegroup_table():
        assert space_group_number(group.xhm()) == group.number


@pytest.mark.filterwarnings("ignore::invdesign.errors.ReadAs")
def test_hall_symbols_are_read_or_refused_where_they_are_other_symbols_too():
    refused = 0
    for group in gemmi.spacegroup_table():
        if group.hall == "C 2":  # no. 3 in a cell that no table has; everyone means C 1 2 1
            continue
        try:
            assert space_group_number(group.hall) == group.number
        except InputError as error:
            assert "as Hall's symbol" in str(error)  # noqa: PT017
            refused += 1
    assert refused < 12


def test_standard_symbols_are_read_without_a_word_and_settings_are_reported():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(1, 231):
            group = SpaceGroupType(number)
            for symbol in (str(number), group.hm_short, group.hm_full, standard_symbol(number)):
                assert space_group_number(symbol) == number
    with pytest.warns(ReadAs, match=r"P21/n is a setting or older symbol of P2_1/c, no. 14"):
        space_group_number("P21/n")
    with pytest.warns(ReadAs, match=r"Pbnm is a setting or older symbol of Pnma, no. 62"):
        parse_target("space_group=Pbnm")


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("Fm-4m", "did you mean Fm-3m (225)"),
        ("Pnmma", "did you mean Pnma (62)"),
        ("231", "none of the 230"),
        ("0", "none of the 230"),
        ("hello", "none of the 230"),
        ("Pnma:Fm-3m", "none of the 230"),
        ("Pnma (225)", "is no. 62, not 225"),
        ("Pnma (No. 63)", "is no. 62, not 63"),
        ("Oh^5", "Schoenflies"),
        ("O_h^5", "Schoenflies"),
        ("D2h16", "Schoenflies"),
        ("C_{2h}^{5}", "Schoenflies"),
        ("cubic", "write space_group=195..230"),
        ("", "none of the 230"),
        ("9" * 10_000, "none of the 230"),
        ("Fm-3m" * 2_000, "none of the 230"),
    ],
)
def test_what_is_none_is_reported_with_what_is_close(symbol, told):
    with no_hang(), pytest.raises(InputError, match=re.escape(told)) as caught:
        space_group_number(symbol)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "number"),
    [("P31 2 1", 152), ("P312 1", 152), ("P21 21 21", 19), ("#225", 225), ("sg225", 225), ("SG 62", 62)],
)
def test_groups_with_blanks_and_signs_of_a_number(text, number):
    assert parse_target(f"space_group={text}").space_groups == {number}


def test_several_groups():
    assert divided("225, P2_1/c;F m -3 m") == ["225", "P2_1/c", "F m -3 m"]
    for one in ("P31 2 1", "P312 1", "P21 21 21", "P 31 2 1", "P4 3 2"):
        assert divided(one) == [one]
    assert divided("Pnnm Pbca") == ["Pnnm", "Pbca"]
    assert divided("225 62") == ["225", "62"]
    assert divided("Pnma Fm-3m 195..206") == ["Pnma", "Fm-3m", "195..206"]
    with pytest.raises(InputError, match="divide several by commas"):
        divided("P2 3")
    for wrong in ("200..300", "5..2", "0..3"):
        with pytest.raises(InputError, match="no range"):
            parse_target(f"space_group={wrong}")
