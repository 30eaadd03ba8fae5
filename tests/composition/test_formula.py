from __future__ import annotations

import gzip
import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hangs import no_hang
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from invdesign.composition.formula import composition_key, formula_amounts, read_compositions, reduced_amounts
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError, ReadAs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("formula", "amounts"),
    [
        ("NaN", {"Na": 1, "N": 1}),
        ("InF", {"In": 1, "F": 1}),
        ("Ca3(PO4)2", {"Ca": 3, "P": 2, "O": 8}),
        ("K4[Fe(CN)6]", {"K": 4, "Fe": 1, "C": 6, "N": 6}),
        ("Li0.5CoO2", {"Li": 0.5, "Co": 1, "O": 2}),
        ("CsMnCr(CN)6", {"Cs": 1, "Mn": 1, "Cr": 1, "C": 6, "N": 6}),
    ],
)
def test_formula_amounts(formula: str, amounts: dict[str, float]) -> None:
    assert formula_amounts(formula) == amounts


@pytest.mark.parametrize("bad", ["", "nacl", "Xy2", "Na(Cl", "NaCl)", "Na0Cl", "Na-Cl", "42", "()"])
def test_nonsense_is_an_input_error(bad: str) -> None:
    with pytest.raises(InputError, match="formula"):
        formula_amounts(bad)


def test_a_float_is_not_a_formula() -> None:
    with pytest.raises(InputError, match="sodium nitride"):
        composition_key(float("nan"))  # type: ignore[arg-type]


amounts = st.dictionaries(st.sampled_from(SYMBOLS[1:]), st.integers(1, 40), min_size=1, max_size=6)


@given(amounts, st.integers(1, 5))
def test_key_ignores_order_multiple_and_spelling(amounts: dict[str, int], factor: int) -> None:
    formula = "".join(f"{e}{n * factor}" for e, n in reversed(amounts.items()))
    charged = Composition({f"{e}+": n for e, n in amounts.items()})
    keys = {composition_key(amounts), composition_key(formula), composition_key(charged)}
    keys.add(composition_key(Composition(formula).reduced_formula))
    assert len(keys) == 1


@given(amounts)
def test_reduction_keeps_the_ratio_in_smallest_numbers(amounts: dict[str, int]) -> None:
    reduced = reduced_amounts(amounts)
    assert list(reduced) == sorted(reduced)
    parts = [reduced[e] * sum(amounts.values()) == amounts[e] * sum(reduced.values()) for e in amounts]
    assert all(parts)
    assert math.gcd(*reduced.values()) == 1


def test_fractional_amounts() -> None:
    assert reduced_amounts("Li0.5CoO2") == {"Co": 2, "Li": 1, "O": 4}
    assert reduced_amounts("La0.67Ca0.33MnO3") == {"Ca": 33, "La": 67, "Mn": 100, "O": 300}
    with pytest.raises(InputError, match="small whole numbers"):
        reduced_amounts("Li0.37Na0.1428CoO2")


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"formula,gap,note\nNaN,1.5,x\nInF,,y\n"))
    table = read_compositions(path)
    assert table.formulas == ["NaN", "InF"]
    np.testing.assert_equal(table.columns, {"gap": np.array([1.5, np.nan])})


@pytest.mark.parametrize(
    ("text", "reason"), [("gap\n1\n", "formula column"), ("formula\n", "no rows"), ("", "no rows")]
)
def test_bad_tables(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_compositions(path)
    with pytest.raises(InputError, match="no such file"):
        read_compositions(tmp_path / "absent.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"formula,gap\nNaCl,5\n" * 100)[:-12])
    with pytest.raises(InputError, match="to its end"):
        read_compositions(tmp_path / "cut.csv.gz")


READ = {
    "CuSO4": [
        "CuSO4",
        "Cu S O4",
        "CuSO₄",
        "Cu1S1O4",
        "CuSO_4",
        "CuSO$_4$",
        "CuSO$_{4}$",
        "CuSO<sub>4</sub>",
        "ＣｕＳＯ４",
        *(
            "\\ce{CuSO4}",
            r"$\mathrm{CuSO_4}$",
            "CuSO~4~",
            '"CuSO4"',
            "'CuSO4'",
            "“CuSO4”",
            "CuSO4,",
            "CuSO4;",
        ),
        "(Cu S O4)",
    ],
    "CuSO9H10": [
        *(
            "CuSO4·5H2O",
            "CuSO4•5H2O",
            "CuSO4⋅5H2O",
            "CuSO4*5H2O",
            "CuSO4.5H2O",
            "CuSO4 · 5 H2O",
            "CuSO4×5H2O",
        ),
        *("CuSO4 x 5H2O", "CuSO4(H2O)5", "CuSO4·5D2O", "CuSO₄·5H₂O", "CuSO4 * 5 H2O"),
        *("CuSO4.5(H2O)", "CuSO4.5[H2O]", "CuSO4.5 (D2O)", "CuSO4. 5H2O", "CuSO4 . 5 H2O", "CuSO4.(H2O)5"),
    ],
    "FeCl5H14O6": ["FeCl3·6H2O·2HCl", "FeCl3.6H2O.2HCl", "FeCl3.6(H2O).2(HCl)"],
    "AuCl4H9O4": ["AuCl3.HCl.4H2O"],
    "Ca2S2O9H2": ["2CaSO4.H2O", "2CaSO4·H2O"],
    "KAlS2O20H24": ["KAl(SO4)2.12(H2O)"],
    "Li0.5Mn2O4": ["Li0.5(Mn2O4)"],
    "La0.7Sr0.3MnO3": ["La0.7(Sr0.3)MnO3"],
    "Fe0.5O2H2": ["Fe.5(OH)2"],
    "Ba0.5TiO3": ["Ba0.5(TiO3)"],
    "H2OLi0.5": ["Li0.5(H2O)"],
    "H4O2": ["2H2O"],
    "Sr2Fe1.5MoO6": ["Sr2Fe1.5(MoO6)"],
    "LaNi4.5AlO3": ["LaNi4.5(AlO3)"],
    "Na3V2.5P3O12": ["Na3V2.5(PO4)3"],
    "Ba0.5Sr0.5TiO3": ["Ba1/2Sr1/2TiO3"],
    "Li1.333333333Ti1.666666667O4": ["Li[Li1/3Ti5/3]O4"],
    "PbMg0.333333333Nb0.666666667O3": ["Pb(Mg1/3Nb2/3)O3"],
    "CuSO5H2": ["CuSO4.H2O", "CuSO4·H2O"],
    "CaSO4.5H": [
        "CaSO4·0.5H2O",
        "CaSO4·½H2O",
        "CaSO4·1/2H2O",
        "CaSO4.0.5H2O",
        "CaSO4·.5H2O",
        "CaSO4.1/2H2O",
        "CaSO4.0.5(H2O)",
    ],
    "MgCl2H12O6": ["MgCl2.6H2O", "MgCl2·6H2O"],
    "CaN2O10H8": ["Ca(NO3)2.4H2O", "Ca(NO3)2·4H2O"],
    "CoN6H18Cl3": ["Co(NH3)6Cl3", "CoCl3·6NH3", "CoCl3.6NH3"],
    "Ca3Al2O6": ["3CaO·Al2O3", "3CaO.Al2O3", "(CaO)3Al2O3"],
    "CaSiO3": ["CaO.SiO2", "CaO·SiO2", "CaSiO3"],
    "H2O": ["H2O", "D2O", "T2O", "HTO", "HDO"],
    "LiH": ["LiH", "LiD", "LiT"],
    "Fe0.5O": ["Fe.5O", "Fe0.5O"],
    "VI3": ["VI3"],
    "FeO2H": ["FeO(OH)", "FeOOH"],
}


@pytest.mark.parametrize(("plain", "spelled"), [(plain, one) for plain, all_ in READ.items() for one in all_])
def test_spellings_of_one_formula(plain, spelled):
    assert formula_amounts(spelled) == pytest.approx(formula_amounts(plain))


REFUSED = {
    "oxidation state": [
        *(
            "Tl(I)I",
            "Nb(V)2O5",
            "Fe(III)2O3",
            "Fe(iii)2O3",
            "Cu(II)O",
            "Pb(IV)O2",
            "Mn(VII)2O7",
            "Pd(0)",
            "K(I)3",
        ),
        *("Fe(II,III)3O4", "Fe(II/III)3O4", "Fe(+3)2O3", "Fe(3+)2O3", "Cs2Au(I)Au(III)I6", "Fe (III) Cl3"),
    ],
    "variable x": [
        "Li1-xCoO2",
        "LixCoO2",
        "Li1−xCoO2",
        "Li1+xMn2O4",
        "TiO2-x",
        "WOx",
        "Ba1-xSrxTiO3",
        "Li_xCoO2",
    ],
    "variable n": ["SiO2·nH2O", "(CH2)n", "SiO2.nH2O"],
    "variable δ": ["YBa2Cu3O7-δ", "YBa2Cu3O7−δ", "YBa2Cu3O6+δ"],
    "variable d": ["YBa2Cu3O7-d", "YBa2Cu3O7-delta"],
    "leave out '(rutile)'": ["TiO2 (rutile)", "TiO2(rutile)"],
    "leave out '(s)'": ["NaCl(s)", "NaCl (s)"],
    "leave out '(aq)'": ["NaCl(aq)"],
    "leave out '(P63mc)'": ["ZnS (P63mc)"],
    "leave out '(mp-149)'": ["Si (mp-149)"],
    "leave out 'α'": ["α-Al2O3", "α - Al2O3", "Al2O3-α"],
    "leave out 'beta'": ["beta-Ga2O3"],
    "leave out 'w'": ["w-ZnO"],
    "leave out 'zb'": ["zb-GaAs"],
    "leave out '4H'": ["4H-SiC", "SiC-4H"],
    "leave out 'rutile'": ["rutile TiO2", "TiO2 rutile", "TiO2-rutile", "TiO2_rutile"],
    "charge": ["SO4^2-", "NH4+", "SO42-", "Fe3+", "Na+Cl-", "SO₄²⁻", "[Fe(CN)6]4-", "Cl-", "O2−"],
    "isotope": ["²H2O", "¹⁸O2"],
    "chemical system": ["Li-Fe-O", "Na-Cl"],
    "has T; write 'TiO2'": ["TIO2"],
    "has T; write 'BaTiO3'": ["BaTIO3", "BATIO3"],
    "has T; write 'PbTiO3'": ["PBTIO3"],
    "has T; write 'Pt'": ["PT"],
    "has T; write the element": ["LiTFSI", "BT", "T", "NaT", "Ca(OT)2", "CaTO3", "BAT"],
    "write Dy, or H for deuterium": ["DY2O3"],
    "write 'NaCl'": ["NACL"],
    "write BN for two elements": ["Bn"],
    "solid solution at '(Ba,Sr)'": ["(Ba,Sr)TiO3", "Pb(Ba,Sr)TiO3"],
    "solid solution at '(Te,Se)'": ["Sb2(Te,Se)3"],
    "solid solution at '(Ba/Sr)'": ["(Ba/Sr)TiO3"],
    "write 'CuSO4·5H2O'": ["CuSO4 5H2O"],
    "write 'CaSO4·1/2(H2O)'": ["CaSO4 1/2 (H2O)"],
    "write Al2O3": ["Al 2O 3"],
    "decimal comma": ["Al1,5O3", "CuSO4·0,5H2O"],
    "table of amounts; write 'Na1Cl1'": ['{"Na":1,"Cl":1}', "Na:1,Cl:1", "{'Na': 1, 'Cl': 1}"],
    "has a dash": ["0.5Li2O-0.5B2O3", "BaTiO3-SrTiO3", "Fe1-0.05O"],
    "is several or has a fraction": ["LiCoO2/2LiFePO4", "TiO2/3Al2O3", "Ba4/2O"],
    "leave out the brackets or B": ["TiO2(B)", "VO2 (B)"],
    "two numbers at": ["Cu S O4 5 H2 O", "H2 0.5 O", "Ti O2 2"],
    "whole number and a fraction": ["K2CO3·1½H2O", "K2CO3·1 ½ H2O"],
    "dopant": ["CaF2:Eu", "Ca F2 : Eu"],
    "one a line": ["NaCl KCl", "LiCoO2, LiFePO4", "LiCoO2/LiFePO4", "LiCoO2;LiFePO4"],
    "fraction or a hydrate": [
        *("Na1.5H2O", "Li0.5H2O", "Na.5H2O", "TiO1.5H2O", "TiO1.5(H2O)", "WO2.72(H2O)", "WO2.72H2O"),
        *("UO2.05H2O", "Na0.35CoO2.2H2O", "N.5Mn.5(NH3)", "LiNi.5(H2O)"),
    ],
    "fraction or two": ["Al2O3.3SiO2", "Ca(NO3)2.3NaO", "Al2O3.3(SiO2)", "NaCl.2(AgI)", "CaO.6Al2O3.H2O"],
    "dot without": ["CuSO4·", "·5H2O", "CuSO4··5H2O", "CuSO4·5"],
    "divides by zero": ["CaSO4·1/0H2O", "CaSO4.1/0H2O", "Ba1/0O"],
    "beyond any sense": [
        "Fe" + "9" * 60,
        "Fe99999999",
        "(" * 9 + "Fe" + "99)" * 9 + "9",
        "Fe0." + "0" * 50 + "1",
    ],
    "longer than 1000": ["Fe" * 3000, "(" * 5000, "9" * 10_000],
    "capital letter": ["Fe1e400", "nacl"],
    "cyrillic capital letter es": ["СО2"],
    "write UO for two elements": ["Uo2"],
}


@pytest.mark.parametrize(
    ("told", "text"), [(told, text) for told, texts in REFUSED.items() for text in texts]
)
def test_what_would_be_misread_is_refused_at_once(told, text):
    with no_hang(), pytest.raises(InputError, match=re.escape(told)) as caught:
        formula_amounts(text)
    assert len(str(caught.value)) < 300


groups = st.recursive(
    st.tuples(st.sampled_from(SYMBOLS[1:]), st.integers(1, 12)).map(lambda one: [one]),
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda parts: st.integers(2, 6).map(lambda n: [(parts, n)])
    ),
    max_leaves=6,
)


def written(group) -> str:
    return "".join(
        f"{one}{n if n > 1 else ''}" if isinstance(one, str) else f"({''.join(map(written, one))}){n}"
        for one, n in group
    )


def counted(group, times=1) -> dict[str, int]:
    total: dict[str, int] = {}
    for one, n in group:
        inner = [{one: 1}] if isinstance(one, str) else [counted(part) for part in one]
        for amounts in inner:
            for symbol, m in amounts.items():
                total[symbol] = total.get(symbol, 0) + m * n * times
    return total


@given(st.lists(groups, min_size=1, max_size=4))
def test_brackets_in_brackets(parts):
    text = "".join(map(written, parts))
    expected: dict[str, int] = {}
    for part in parts:
        for symbol, n in counted(part).items():
            expected[symbol] = expected.get(symbol, 0) + n
    try:
        assert formula_amounts(text) == expected
    except InputError as error:
        # iodine or vanadium behind a symbol, alone in brackets
        assert "oxidation state" in str(error)  # noqa: PT017


@given(amounts, st.integers(1, 12), st.sampled_from(["·", "•", " · ", "*", "⋅"]))
def test_any_hydrate(amounts, n, dot):
    text = "".join(f"{e}{m}" for e, m in amounts.items())
    expected = {**amounts, "H": amounts.get("H", 0) + 2 * n, "O": amounts.get("O", 0) + n}
    assert formula_amounts(f"{text}{dot}{n if n > 1 else ''}H2O") == expected


SALTS = ["CuSO4", "MgCl2", "NaCl", "Na2S", "Al2(SO4)3", "KAl(SO4)2", "[Co(NH3)6]Cl3", "Na2CO3"]
GUESTS = ["H2O", "D2O", "NH3", "HCl", "CO2"]


@given(
    st.sampled_from(SALTS),
    st.lists(st.tuples(st.integers(2, 30), st.sampled_from(GUESTS)), min_size=1, max_size=3),
    st.sampled_from(["{}", "({})", "[{}]"]),
    st.sampled_from([".", "·", " . "]),
)
def test_a_plain_dot_is_the_dot_of_a_hydrate(salt, guests, brackets, dot):
    text = salt + "".join(f"{dot}{n}{brackets.format(guest)}" for n, guest in guests)
    assert formula_amounts(text) == formula_amounts(salt + "".join(f"({guest}){n}" for n, guest in guests))


@given(
    st.sampled_from(["Li", "Na", "Ba", "Fe"]),
    st.integers(1, 99),
    st.sampled_from(["MnO2", "TiO3", "H2O", "NH3", "OH"]),
)
def test_a_decimal_before_a_bracket_stays_one(element, hundredths, group):
    assert formula_amounts(f"{element}0.{hundredths:02}({group})") == {
        element: hundredths / 100,
        **formula_amounts(group),
    }


@given(st.integers(1, 12), st.integers(2, 12))
def test_an_amount_as_a_fraction(above, below):
    text = f"Ba{above}/{below}Sr1/2TiO3"
    if above % below:
        expected = {"Ba": above / below, "Sr": 0.5, "Ti": 1, "O": 3}
        assert formula_amounts(text) == pytest.approx(expected)
    else:
        with pytest.raises(InputError, match="has a fraction"):
            formula_amounts(text)


@pytest.mark.parametrize(
    ("formula", "meant"),
    [
        *(("HFO2", "HfO2"), ("INSB", "InSb"), ("CU2O", "Cu2O"), ("PBO", "PbO"), ("COO", "CoO")),
        *(("CO3O4", "Co3O4"), ("CUSO4·5H2O", "CuSO4·5H2O")),
    ],
)
def test_capitals_that_may_be_other_elements_are_reported(formula, meant):
    with pytest.warns(ReadAs, match=f"write '{meant}' if that is meant"):
        formula_amounts(formula)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "formula",
    ["K2CO3", "UO2CO3", "HCOOH", "CH3COOH", "KHF2", "KNO3", "CO", "NO", "CS2", "H2SO4", "KSCN", "COS"],
)
def test_usual_formulas_in_capitals_are_read_without_a_word(formula):
    assert set("".join(formula_amounts(formula))) <= set(formula)


@given(st.text(max_size=40) | st.text(alphabet="LiFeO()[]0123456789.·*+-^xδ_ {}", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        assert min(formula_amounts(text).values()) > 0
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_subscripts_and_spaced_elements_are_read():
    assert formula_amounts("Li₂FeSiO₄") == {"Li": 2, "Fe": 1, "Si": 1, "O": 4}
    assert formula_amounts("Ba1 Ti1 O3") == {"Ba": 1, "Ti": 1, "O": 3}
